"""Promises of what is shipped: a wheel and an archive of the source, built without a network."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: What a build reads.
INPUTS = (
    *("setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "Makefile"),
    *("constraints.txt", "ruff.toml", "bin", "charms", "integrations", "bg_charm_service"),
)

BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, sys.argv[1])(sys.argv[2]))
"""


def build(kind: str, folder: Path) -> Path:
    """Build `kind` from a copy of the checkout; returns the file."""
    copy = folder / "checkout"
    copy.mkdir()
    for name in INPUTS:
        if (ROOT / name).is_dir():
            shutil.copytree(
                *(ROOT / name, copy / name),
                symlinks=True,
                ignore=shutil.ignore_patterns("__pycache__", ".*"),
            )
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, copy / name)
    built = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BUILD, f"build_{kind}", str(folder)],
        cwd=copy,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert built.returncode == 0, built.stdout
    return folder / built.stdout.splitlines()[-1]


def package_files() -> set[str]:
    """Return the names that the built package must have: modules, charms, integrations, pages."""
    wanted = {"bg_charm_service/py.typed"}
    for folder in ("bg_charm_service", "charms", "integrations"):
        prefix = "" if folder == "bg_charm_service" else "bg_charm_service/"
        wanted |= {prefix + str(p.relative_to(ROOT)) for p in (ROOT / folder).rglob("*.py")}
    for folder in ("api/static", "api/templates"):
        files = (ROOT / "bg_charm_service" / folder).rglob("*.*")
        wanted |= {str(path.relative_to(ROOT)) for path in files}
    return wanted


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """A wheel of the checkout."""
    with zipfile.ZipFile(build("wheel", tmp_path_factory.mktemp("wheel"))) as archive:
        yield archive


def requirements() -> list[str]:
    """Return the name of every declared dependency, in one spelling."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"].values()
    declared = "\n".join([config["options"]["install_requires"], *extras])
    return [plain(line) for line in declared.splitlines() if line]


def plain(requirement: str) -> str:
    """Return the distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!~\[; ]", requirement)[0]).lower()


def test_wheel_holds_code_charms_integrations_and_types(wheel: zipfile.ZipFile) -> None:
    """Everything that works in a checkout is in the wheel: the symlinked folders too."""
    assert set() == package_files() - set(wheel.namelist())


def test_wheel_holds_nothing_but_the_package(wheel: zipfile.ZipFile) -> None:
    """No tests, and no top-level package called charms or integrations, reach a user's machine."""
    tops = {name.partition("/")[0] for name in wheel.namelist()}

    assert {"bg_charm_service"} == {top for top in tops if not top.endswith(".dist-info")}


def test_wheel_installs_the_command(wheel: zipfile.ZipFile) -> None:
    """The command `bg-charm-service` is a console script of the entry module."""
    (entry_points,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))

    text = wheel.read(entry_points).decode()
    assert "bg-charm-service = bg_charm_service.__main__:main" in text


def test_source_archive_holds_what_a_wheel_needs(tmp_path: Path) -> None:
    """The archive of the source has real files where the checkout has symlinks."""
    with tarfile.open(build("sdist", tmp_path)) as archive:
        files = {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}

    assert set() == package_files() - files


def test_pyproject_holds_the_build_backend_only() -> None:
    """Metadata has one place, setup.cfg."""
    assert {"build-system"} == tomllib.loads((ROOT / "pyproject.toml").read_text()).keys()


def test_every_dependency_is_pinned_once() -> None:
    """constraints.txt pins each declared dependency exactly, and nothing twice."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line]
    pinned = [plain(line) for line in lines]

    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    assert len(set(pinned)) == len(pinned)
    assert set() == set(requirements()) - set(pinned)


def test_folders_are_reached_through_relative_symlinks() -> None:
    """Integrations and charms are one set of files, wherever the checkout lies."""
    for name in ("integrations", "charms"):
        assert Path("..", name) == (ROOT / "bg_charm_service" / name).readlink()
