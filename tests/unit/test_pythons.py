"""Promises of .ci/pythons: the tests run on every Python that is named and there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / ".ci" / "pythons"

SETUP = """
[metadata]
classifiers =
    Programming Language :: Python :: 3 :: Only
    Programming Language :: Python :: 3.11
    Programming Language :: Python :: 3.12
    Programming Language :: Python :: 3.14
"""

#: An interpreter that tells its version, makes an environment with itself in it, and notes what
#: else it was asked for.
INTERPRETER = """#!/bin/sh
case "$1 $2" in
"-c "*) echo {version} ;;
"-m venv") rm -rf "$4" && mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
*) echo "{version} $2 $3" >> {calls}; case "$2" in {failing}) exit 3 ;; esac ;;
esac
"""


class Machine:
    """A checkout, and the interpreters that are on the PATH and among those of pyenv."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._calls = folder, folder / "calls"
        self.checkout, self._on_path = folder / "checkout", folder / "path"
        (self.checkout / ".ci").mkdir(parents=True)
        self._on_path.mkdir()
        for tool in ("cp", "mkdir", "rm"):
            # Not their folder: the machine of the test may have interpreters there.
            (self._on_path / tool).symlink_to(shutil.which(tool) or tool)
        self._program = shutil.copy(PROGRAM, self.checkout / ".ci")
        (self.checkout / "setup.cfg").write_text(SETUP)
        for name in ("pyproject.toml", "constraints.txt"):
            (self.checkout / name).touch()

    def on_path(self, name: str, version: str, *, failing: str = "nothing") -> None:
        """Put an interpreter on the PATH."""
        self._add(self._on_path / name, version, failing)

    def shim(self, name: str) -> None:
        """Put on the PATH what pyenv puts there for a version that is not selected."""
        shim = self._on_path / name
        shim.write_text(f"#!/bin/sh\necho 'pyenv: {name}: command not found' >&2\nexit 127\n")
        shim.chmod(0o755)

    def in_pyenv(self, version: str) -> None:
        """Let pyenv have a version."""
        name = "python" + version.rpartition(".")[0]
        self._add(self._folder / "pyenv" / "versions" / version / "bin" / name, version)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the program there."""
        return subprocess.run(
            [sys.executable, self._program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={
                "PATH": str(self._on_path),
                "PYENV_ROOT": str(self._folder / "pyenv"),
                "HOME": str(self._folder),
            },
        )

    def calls(self) -> list[str]:
        """What the interpreters were asked for since the last look."""
        made = self._calls.read_text().splitlines() if self._calls.exists() else []
        self._calls.unlink(missing_ok=True)
        return made

    def _add(self, path: Path, version: str, failing: str = "nothing") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(INTERPRETER.format(version=version, calls=self._calls, failing=failing))
        path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine that has Python 3.11.7 of those that are named."""
    made = Machine(tmp_path)
    made.on_path("python3.11", "3.11.7")
    return made


def test_each_that_is_there_is_tried_and_the_others_are_named(machine: Machine) -> None:
    """Each gets an environment of its own, and the arguments are pytest's."""
    machine.on_path("python3.14", "3.14.10")
    ran = machine.run("--", "tests/unit", "-x")

    assert ["3.11.7: passed", "3.12: not on this machine", "3.14.10: passed"] == (
        ran.stdout.splitlines()[-3:]
    )
    assert 0 == ran.returncode
    assert [
        *("3.11.7 pip install", "3.11.7 pytest tests/unit"),
        *("3.14.10 pip install", "3.14.10 pytest tests/unit"),
    ] == machine.calls()
    assert {".venv-3.11", ".venv-3.14"} == {path.name for path in machine.checkout.glob(".venv*")}


def test_of_pyenv_the_newest_release_is_taken(machine: Machine) -> None:
    """One that is not selected is on the PATH, and does not start there; 10 is newer than 9."""
    machine.shim("python3.12")
    for version in ("3.12.9", "3.12.10", "3.1.12"):
        machine.in_pyenv(version)
    assert "3.12.10: passed" in machine.run().stdout.splitlines()


def test_another_version_of_that_name_is_not_taken(machine: Machine) -> None:
    """What a file is called is not what it is."""
    machine.on_path("python3.12", "3.1.2")
    assert "3.12: not on this machine" in machine.run().stdout.splitlines()


@pytest.mark.parametrize(
    ("failing", "end"),
    [("pytest", "pytest ended with 3"), ("pip", ".venv-3.11 could not be made")],
)
def test_one_that_fails_keeps_no_other_from_being_tried(
    machine: Machine, failing: str, end: str
) -> None:
    """Whatever fails, it is named at the end, and so is the code of the program."""
    machine.on_path("python3.11", "3.11.7", failing=failing)
    machine.on_path("python3.12", "3.12.1")
    ran = machine.run()

    assert [f"3.11.7: {end}", "3.12.1: passed"] == ran.stdout.splitlines()[-3:-1]
    assert 1 == ran.returncode


def test_an_environment_that_was_not_finished_is_made_anew(machine: Machine) -> None:
    """What broke off is not taken for whole by the next try."""
    machine.on_path("python3.11", "3.11.7", failing="pip")
    machine.run()
    machine.on_path("python3.11", "3.11.7")
    machine.calls()
    machine.run()
    assert ["3.11.7 pip install", "3.11.7 pytest "] == machine.calls()


def test_a_lacking_one_is_a_failure_where_every_one_is_asked_for(machine: Machine) -> None:
    """Before a release each that is named must have been tried."""
    assert 0 == machine.run().returncode
    assert 1 == machine.run("--every").returncode
    for version in ("3.12.1", "3.14.10"):
        machine.in_pyenv(version)
    assert 0 == machine.run("--every").returncode


def test_none_at_all_is_a_failure(machine: Machine) -> None:
    """Nothing was tried, so nothing passed."""
    machine.shim("python3.11")
    ran = machine.run()
    assert "3.11: not on this machine" in ran.stdout.splitlines()
    assert 1 == ran.returncode


def test_environments_stay_until_something_changes(machine: Machine) -> None:
    """They are made anew for other dependencies, and for another interpreter."""
    machine.run()
    assert ["3.11.7 pip install", "3.11.7 pytest "] == machine.calls()
    machine.run()
    assert ["3.11.7 pytest "] == machine.calls()

    later = (machine.checkout / ".venv-3.11" / ".installed").stat().st_mtime + 60
    os.utime(machine.checkout / "constraints.txt", (later, later))
    machine.run()
    assert ["3.11.7 pip install", "3.11.7 pytest "] == machine.calls()

    os.utime(machine.checkout / "constraints.txt", (later - 120, later - 120))
    machine.on_path("python3.11", "3.11.8")
    machine.run()
    assert ["3.11.8 pip install", "3.11.8 pytest "] == machine.calls()
