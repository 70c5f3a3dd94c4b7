"""A build of the service: this checkout's, or that of a commit, installed in a folder of its own.

A build is known by the program that starts it. Nothing of another build is imported here: its
modules may lie elsewhere, so it is talked to by its command line, its API and the kernel's files.
Used by the command line, which gives a build to each bench.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.service_process import PROGRAM, ROOT

#: Where builds of commits are installed, below the checkout; git ignores it.
FOLDER = ".bench-before"

#: Stands in a build's folder once all of it is there: one that was interrupted has none.
_INSTALLED = ".installed"

#: So many digits of a commit name its folder.
_DIGITS = 12


class NoBuild(Exception):
    """The build that was asked for cannot be had; the text says why, in one line."""


@dataclass(frozen=True, slots=True)
class Build:
    """A build that can be started; tables call it by its name."""

    name: str
    program: Path


THIS_BUILD = Build("this service", PROGRAM)


def build_of(wanted: str, say: Callable[[str], None], root: Path = ROOT) -> Build:
    """Give the build of a commit, installed if it is not there yet; raises NoBuild."""
    commit = find_commit(wanted, root)
    folder = root / FOLDER / commit
    build = Build(commit[:7], folder / PROGRAM.relative_to(ROOT))
    if not (folder / _INSTALLED).exists():
        say(f"Installing {commit} into {folder.relative_to(root)}.")
        shutil.rmtree(folder, ignore_errors=True)
        unpack(commit, folder, root)
        if not build.program.exists():
            raise NoBuild(f"{wanted} has no {PROGRAM.relative_to(ROOT)} to start it with.")
        _install(folder, wanted)
        (folder / _INSTALLED).touch()
    return build


def find_commit(wanted: str, root: Path = ROOT) -> str:
    """Give the number of a commit that somebody named; raises NoBuild."""
    if shutil.which("git") is None:
        raise NoBuild(f"The build of {wanted} cannot be had: git is not installed.")
    top = _git(root, "rev-parse", "--show-toplevel")
    # A copy without history may lie in a checkout of something else.
    if top.returncode or Path(top.stdout.strip()).resolve() != root.resolve():
        raise NoBuild(f"The build of {wanted} cannot be had: {root} is no git checkout.")
    found = _git(
        root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{wanted}^{{commit}}"
    )
    if found.returncode:
        raise NoBuild(f"This checkout has no commit {wanted!r}.")
    return found.stdout.strip()[:_DIGITS]


def unpack(commit: str, folder: Path, root: Path = ROOT) -> None:
    """Write the files of a commit into a folder: what is tracked, and nothing that was changed."""
    folder.mkdir(parents=True)
    archive = folder / "commit.tar"
    done = _git(root, "archive", "--format=tar", f"--output={archive}", commit)
    if done.returncode:
        raise NoBuild(f"git gave no files of {commit}: {_last_line(done.stderr)}")
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    archive.unlink()


def _install(folder: Path, wanted: str) -> None:
    """Give a build the environment that its own `make venv` would, without what tests need."""
    environment = folder / ".venv"
    pip = [str(environment / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", str(environment)],
        [*pip, "--constraint", "constraints.txt", "--editable", "."],
    ):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoBuild(f"{wanted} could not be installed: {_last_line(done.stderr)}")


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it did not say why"])[-1]
