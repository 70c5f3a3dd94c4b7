"""What is secret need stand on no command line: it comes by standard input."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.program import COMMAND, Program
from tests.process.running import PATIENCE_SECONDS, clean_environment

SECRETIVE = """\
from bg_charm_service import Charm, Secret

class Secretive(Charm):
    user: Secret[str] = ""
    token: Secret[str]
    plain: list[int] = []
    lengths: list[int] = []

    async def bg_updater(self, event: dict) -> None:
        self.lengths = [len(self.user), len(self.token)]
"""


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The program on a data directory of its own."""
    return Program(tmp_path / "data")


@pytest.fixture
def file(tmp_path: Path) -> str:
    """The file of a charm with secrets."""
    path = tmp_path / "secretive.py"
    path.write_text(SECRETIVE)
    return str(path)


ADD = ("--space", "test", "--set-secret", "user", "--set-secret", "token")


def test_secrets_come_a_line_each(program: Program, file: str) -> None:
    """In the order in which they are named; as they stand there, without quotes."""
    ref = program.output("charm", "add", file, *ADD, given='me\n"sword" fish \n').strip()

    program.run("charm", "run", ref)

    assert [2, 13] == program.value("charm", "get", ref, "lengths")
    assert {"$secret": True} == program.value("charm", "get", ref, "token")


def error(program: Program, file: str, *flags: str, given: str) -> str:
    """Add the charm in vain; gives the last line of what was said."""
    done = program.run("charm", "add", file, *flags, given=given)
    assert 0 != done.returncode, done.stdout
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize("given", ["", "me\n"])
def test_a_line_that_does_not_come_is_missed(program: Program, file: str, given: str) -> None:
    """No charm is added with an empty secret because a file was empty; an empty line is one."""
    told = error(program, file, *ADD, given=given)

    name = "token" if given else "user"
    assert f"Error: Standard input: it is over, and a line for {name} is missing." == told
    assert not program.data_dir.exists()
    program.output("charm", "add", file, *ADD, given="me\n\n")


def test_bytes_that_are_no_text_are_refused(program: Program, file: str) -> None:
    """Also in a locale in which Python takes them as halves of characters."""
    done = subprocess.run(
        [*COMMAND, f"--data-dir={program.data_dir}", "charm", "add", file, *ADD],
        input=b"\xff\nb\n",
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        env={**program.environment, "LC_ALL": "C"},
        check=False,
    )

    assert 0 != done.returncode
    assert b"Error: Standard input: this is not a text in UTF-8.\n" == done.stderr


@pytest.mark.parametrize("more", [("--set-secret", "user"), ("--set", 'token="x"')])
def test_a_secret_is_given_once(program: Program, file: str, more: tuple[str, str]) -> None:
    """Which of two texts would count is not left to chance."""
    told = error(program, file, *ADD, *more, given="me\na\nb\n")

    assert told.endswith("this field is given twice.")


def test_a_field_is_set_to_what_comes_in(program: Program, file: str) -> None:
    """JSON, over several lines; a hyphen stands for it."""
    ref = program.output("charm", "add", file, *ADD, given="me\nswordfish\n").strip()

    program.output("charm", "set", ref, "token", "-", given='"swordfishes"\n')
    program.output("charm", "set", ref, "plain", "-", given="[1,\n 2]\n")
    program.run("charm", "run", ref)

    assert [2, 11] == program.value("charm", "get", ref, "lengths")
    assert [1, 2] == program.value("charm", "get", ref, "plain")


@pytest.mark.parametrize("given", ["swordfish", "", '"swordfish', "\udcff"])
def test_what_is_no_json_is_not_repeated(program: Program, file: str, given: str) -> None:
    """It may well be the secret."""
    ref = program.output("charm", "add", file, *ADD, given="me\nswordfish\n").strip()
    command = [sys.executable, "-m", "bg_charm_service", "--data-dir", str(program.data_dir)]
    done = subprocess.run(
        [*command, "charm", "set", ref, "token", "-"],
        input=given.encode("utf-8", "surrogateescape"),
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        env=clean_environment(),
        check=False,
    )
    assert 1 == done.returncode
    told = done.stderr.decode()
    assert told.startswith("Error: Standard input: this is no")
    assert "swordfish" not in told


def test_a_person_is_asked_without_an_echo(tmp_path: Path, file: str) -> None:
    """On a terminal each is asked for by its name, and what is typed is not shown."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "bg_charm_service", "--data-dir", str(tmp_path / "data")]
    added = subprocess.Popen(
        [*command, "charm", "add", file, *ADD],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=clean_environment(),
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    try:
        for prompt, typed in ((b"user: ", b"me\n"), (b"token: ", b"swordfish\n")):
            while prompt not in shown:
                shown += os.read(ours, 1024)
            os.write(ours, typed)
        out, _ = added.communicate(timeout=PATIENCE_SECONDS)
    finally:
        added.kill()
        os.close(ours)
    assert 0 == added.returncode
    assert out.startswith(b"did:key:")
    assert b"swordfish" not in shown
