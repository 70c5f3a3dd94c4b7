"""Every file that the program reads, with what a file can hold: one clear line, nothing changed."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bg_charm_service.cli.root import root
from bg_charm_service.storage.data_directory import DATABASE_NAME, LOCK_NAME, SOCKET_NAME
from tests.bad_input.values import BODIES
from tests.process.program import COUNTER, Program

#: What a file can hold; those that never end are tried by name.
CONTENTS = {
    **BODIES,
    "source with a nul": COUNTER.encode() + b"\0",
    "source in latin-1": b"# caf\xe9\n" + COUNTER.encode(),
    "source that is too deep": b"x = " + b"(" * 5000 + b")" * 5000,
    "source without a charm": b"x = 1\n",
    "source that raises": b"raise SystemExit(3)\n",
    "source that ends the process": b"import os\nos._exit(0)\n",
    "source of long lines": b"x = '" + b"y" * 1_000_000 + b"'\n",
    "key of another kind": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
}


def make_directory(path: Path) -> None:
    """Put a directory there."""
    path.mkdir()


def make_dangling(path: Path) -> None:
    """Put a link to nowhere there."""
    path.symlink_to("nowhere")


def make_loop(path: Path) -> None:
    """Put a link to itself there."""
    path.symlink_to(path.name)


def make_device(path: Path) -> None:
    """Put a link to a device there that never ends."""
    path.symlink_to("/dev/zero")


def make_file(content: bytes, path: Path) -> None:
    """Put a file there."""
    path.write_bytes(content)


#: What can be there instead of a file.
THINGS: dict[str, Callable[[Path], object]] = {
    "directory": make_directory,
    "dangling link": make_dangling,
    "link to itself": make_loop,
    "endless device": make_device,
    **{what: partial(make_file, content) for what, content in CONTENTS.items()},
}
things = pytest.mark.parametrize("what", THINGS)


def check_refusal(result: Result, *codes: int) -> None:
    """Fail unless a command ended with one of these codes, and in one line."""
    assert result.exit_code in codes, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    assert "Internal error" not in result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert line == result.stderr.splitlines()[-1]
    assert line.isprintable()
    assert len(line) <= 1100


def check_empty(folder: Path) -> None:
    """Fail if a folder's data directory has a charm; it need not be there."""
    if (folder / "data" / DATABASE_NAME).exists():
        assert "[]" == run(folder, "charm", "list", "--json").stdout.strip()


def run(folder: Path, *arguments: str, **environment: str) -> Result:
    """Run a command in this process, on the data directory of a folder."""
    flag = f"--data-dir={folder / 'data'}"
    return CliRunner(env=environment).invoke(root, [flag, *arguments])


@things
def test_sources(tmp_path: Path, what: str) -> None:
    """What is no charm's source is not added."""
    THINGS[what](tmp_path / "charm.py")
    check_refusal(run(tmp_path, "charm", "add", str(tmp_path / "charm.py"), "--space", "x"), 1, 2)
    check_empty(tmp_path)


@things
def test_keys(tmp_path: Path, what: str) -> None:
    """What is no key is wrong usage, or a failure; no data directory is made for it."""
    THINGS[what](tmp_path / "key.pem")
    for command in (["identity", "did"], ["charm", "list"]):
        check_refusal(run(tmp_path, *command, IDENTITY=str(tmp_path / "key.pem")), 1, 2)
    assert not (tmp_path / "data").exists()


@things
def test_configurations(tmp_path: Path, what: str) -> None:
    """What is no configuration is wrong usage: of a start, a command, and the check itself."""
    file = tmp_path / "config.toml"
    THINGS[what](file)
    checked = CliRunner().invoke(root, ["config", "check", str(file)])
    assert checked.exit_code in (0, 2), checked.exception
    assert all(line.isprintable() for line in checked.stderr.splitlines())
    if checked.exit_code:
        for command in (["config", "show"], ["charm", "list"], []):
            check_refusal(CliRunner().invoke(root, [f"--config={file}", *command]), 2)


@things
def test_imports(tmp_path: Path, what: str) -> None:
    """Lines that are no charms are told by number; none is added."""
    THINGS[what](tmp_path / "charms.jsonl")
    result = run(tmp_path, "charm", "import", str(tmp_path / "charms.jsonl"))
    assert result.exit_code in (0, 1, 2), result.exception
    assert "Traceback" not in result.output
    assert "Internal error" not in result.output
    assert result.exit_code or "0 added.\n" == result.stdout
    assert all(line.isprintable() for line in result.stderr.splitlines())
    check_empty(tmp_path)


@things
def test_databases(tmp_path: Path, what: str) -> None:
    """What is no database is refused and left as it is; an empty file is a new one.

    SQLite takes a file of one byte for an empty one.
    """
    if what in ("nothing", "number", "dangling link"):
        pytest.skip("a database is made there")
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / DATABASE_NAME
    THINGS[what](path)
    before = path.read_bytes() if path.is_file() and what != "endless device" else None
    check_refusal(run(tmp_path, "charm", "list"), 1)
    if before is not None:
        assert before == path.read_bytes()


def test_a_database_of_another_program(tmp_path: Path) -> None:
    """A SQLite file that is not ours is refused, and its tables stay."""
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / DATABASE_NAME
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE charms (x)")
        other.commit()
    check_refusal(run(tmp_path, "charm", "list"), 1)
    with closing(sqlite3.connect(path)) as other:
        assert [("charms",)] == other.execute("SELECT name FROM sqlite_schema").fetchall()


@pytest.mark.parametrize("name", [LOCK_NAME, SOCKET_NAME])
@pytest.mark.parametrize("what", ["directory", "link to itself", "binary"])
def test_other_files_of_the_directory(tmp_path: Path, name: str, what: str) -> None:
    """A lock or socket that is something else is refused or replaced, never a traceback."""
    (tmp_path / "data").mkdir()
    THINGS[what](tmp_path / "data" / name)
    result = run(tmp_path, "charm", "list")
    if result.exit_code:
        check_refusal(result, 1)


@pytest.mark.parametrize("what", ["directory", "link to itself"])
def test_log_files(tmp_path: Path, what: str) -> None:
    """A log file that cannot be written ends the start with one line."""
    THINGS[what](tmp_path / "log")
    program = Program(tmp_path / "data")
    assert "log" in program.error(f"--log-file={tmp_path / 'log'}", "--no-api")


def test_bytes_of_a_real_command_line(tmp_path: Path) -> None:
    """Bytes that are no text, in arguments and variables of a real process, are one line too."""
    program = Program(tmp_path / "data")
    odd = os.fsdecode(b"\xff\xfe")
    program.error("charm", "get", f"demo/{odd}", code=1)
    program.error("token", "revoke", odd, code=1)
    program.error("space", "did", odd, code=2)
    bad = Program(tmp_path / "data", CYCLE_INTERVAL_MS=odd)
    assert "CYCLE_INTERVAL_MS=" in bad.error("status", code=2)
