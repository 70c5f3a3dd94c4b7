"""Who runs the service: whoever runs the tests, and an ordinary user where that can be had.

An ordinary user needs a Python and libraries that it can read. Those of the tests may lie in
somebody's home; then the distribution's Python is taken, and the libraries are copied.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

from tests.process.running import ROOT, Runner

#: A user that every machine has and that owns nothing.
NOBODY = 65534

_CANDIDATES = (sys.executable, f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}")


@contextmanager
def ordinary_user() -> Iterator[Runner | str]:
    """Give a runner that is an ordinary user, or why there is none here."""
    if os.geteuid() != 0:
        yield "only root can start a process as another user"
        return
    identity = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    folder = Path(tempfile.mkdtemp(prefix="libraries-"))
    try:
        folder.chmod(0o755)
        libraries = folder / "site-packages"
        _copy_libraries(libraries)
        for python in _CANDIDATES:
            runner = Runner(python, identity, {"PYTHONPATH": str(libraries)})
            if _works(runner):
                yield runner
                return
        yield f"user {NOBODY} can run none of {', '.join(_CANDIDATES)} with the libraries needed"
    finally:
        shutil.rmtree(folder)


def _works(runner: Runner) -> bool:
    try:
        done = subprocess.run(
            [runner.python, "-c", "import bg_charm_service.cli"],
            env={**runner.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            cwd="/",
            capture_output=True,
            check=False,
            **runner.identity,
        )
    except OSError:
        return False
    return done.returncode == 0


def _copy_libraries(target: Path) -> None:
    """Copy the package, and every library that it needs, to where anybody can read them."""
    for each in _needed("bg_charm_service"):
        for file in each.files or ():
            source = Path(str(each.locate_file(file)))
            if ".." not in file.parts and "__pycache__" not in file.parts and source.is_file():
                copy = target / file
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, copy)
    shutil.copytree(
        ROOT / "bg_charm_service",
        target / "bg_charm_service",
        ignore=shutil.ignore_patterns("__pycache__"),
        dirs_exist_ok=True,
    )
    for path in [target, *target.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


@cache
def _needed(name: str) -> frozenset[Distribution]:
    """A distribution, those that it needs to run, and those that these need."""
    found: dict[str, Distribution] = {}
    wanted = [name]
    while wanted:
        each = wanted.pop()
        if each in found:
            continue
        try:
            found[each] = distribution(each)
        except PackageNotFoundError:
            continue
        for text in found[each].requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                wanted.append(requirement.name)
    return frozenset(found.values())
