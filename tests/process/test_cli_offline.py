"""The promises of the command line while no service runs: it opens the directory itself."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from bg_charm_service.domain.identity import Identity, space_did
from bg_charm_service.storage.data_directory import DATABASE_NAME, user_name
from tests.process.program import COMMAND, COUNTER, Program


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The program on a directory that is not there yet."""
    return Program(tmp_path / "data")


@pytest.fixture
def file(tmp_path: Path) -> str:
    """The path of a charm's file."""
    (tmp_path / "counter.py").write_text(COUNTER)
    return str(tmp_path / "counter.py")


def test_a_charm_from_its_file_to_its_state(program: Program, file: str) -> None:
    """A charm that is added can be run and read, by a space's name or DID, without a service."""
    ref = program.output("charm", "add", file, "--space", "demo", "--set", "counter=5")
    did, charm_id = ref.split("/")
    assert space_did("demo") == did
    assert "counter = 6" in program.output("charm", "run", ref)
    assert "6" == program.output("charm", "get", f"demo/{charm_id}", "counter", "--json")
    state = program.value("charm", "get", ref)
    assert (6, "", {"$stream": True}) == (state["counter"], state["error"], state["bgUpdater"])
    (run,) = program.value("charm", "logs", ref)
    assert ("success", ["counter"]) == (run["status"], run["writes"])
    assert "was 5" in run["log"]
    listed = program.output("charm", "list")
    assert charm_id in listed
    assert max(map(len, listed.splitlines())) <= 100


def test_a_failing_run_exits_with_1(program: Program, file: str) -> None:
    """A run that fails shows the charm's own traceback, and the exit code tells it too."""
    ref = program.output("charm", "add", file, "--space", "demo")
    program.output("charm", "set", ref, "error", '"boom"')
    failed = program.run("charm", "run", ref)
    assert 1 == failed.returncode
    assert "in bg_updater\n" in failed.stdout
    assert "Error: The run ended as failure (error): ValueError: boom\n" in failed.stderr
    reported = json.loads(program.run("charm", "run", ref, "--json").stdout)
    assert ("failure", "error", {}) == (
        reported["run"]["status"],
        reported["run"]["cause"],
        reported["writes"],
    )
    shown = program.value("charm", "show", ref)
    assert 0 == shown["charm"]["consecutive_failures"]
    assert [2, 1] == [run["number"] for run in shown["history"]]


def test_what_cannot_be_loaded_is_told_by_file_and_line(program: Program, tmp_path: Path) -> None:
    """A charm that does not compile is not added; the line says where the mistake is."""
    file = tmp_path / "broken.py"
    file.write_text("from bg_charm_service import Charm\n\nclass Broken(Charm:\n    pass\n")
    error = program.error("charm", "add", str(file), "--space", "demo")
    assert "broken.py:3: SyntaxError" in error
    assert [] == program.value("charm", "list")


def test_events_wait_for_the_service(program: Program, file: str) -> None:
    """An event sent while nothing runs is kept, and the answer says so."""
    ref = program.output("charm", "add", file, "--space", "demo")
    assert "runs when the service starts" in program.output("charm", "send", ref, '{"delta": 3}')
    assert 1 == program.value("charm", "show", ref)["waiting_jobs"]


def test_an_import_tells_each_line(program: Program, file: str, tmp_path: Path) -> None:
    """Good lines are added, bad ones are told by number; an export is an import again."""
    lines = [
        *({"file": file, "space": "demo", "cause": f"c{n}"} for n in range(20)),
        {"file": "counter.py"},
        {"file": "counter.py", "space": "demo", "cause": "z", "set": {"counter": "many"}},
        {"source": COUNTER, "space": "demo", "set": {"counter": 7}, "register": True},
    ]
    (tmp_path / "charms.jsonl").write_text("\n".join(map(json.dumps, lines)))
    done = program.run("charm", "import", str(tmp_path / "charms.jsonl"))
    assert 1 == done.returncode
    assert "21 added, 2 failed.\n" == done.stdout
    first, second = (line for line in done.stderr.splitlines() if line.startswith("Error: "))
    assert "Error: line 21: space: Field required" == first
    assert second.startswith("Error: line 22: ")
    assert "counter" in second

    exported = program.output("charm", "export")
    assert 21 == len(exported.splitlines())
    copy = Program(tmp_path / "copy")
    assert "21 added." == copy.output("charm", "import", "-", given=exported)
    assert exported == copy.output("charm", "export")
    assert "0 added, 21 were there already." == copy.output("charm", "import", "-", given=exported)


def test_a_charm_with_times_of_its_own_can_be_too_slow_for_them(
    program: Program, file: str
) -> None:
    """Its last run took longer than it is from one of its times to the next."""
    ref = program.output("charm", "add", file, "--space", "demo", "--register")
    program.output("charm", "schedule", ref, "*/5 * * * *")
    charms = {}
    for seconds in (299, 301):
        with closing(sqlite3.connect(program.data_dir / DATABASE_NAME)) as connection, connection:
            connection.execute("UPDATE health SET last_ms = ?", (seconds * 1000,))
        charms[seconds] = program.value("charm", "show", ref)["charm"]["runs_late"]
    assert {299: False, 301: True} == charms


def test_another_operator_is_let_in_by_the_owner(program: Program, tmp_path: Path) -> None:
    """Who opens an empty store owns its system space; the refusal names the command that helps."""
    stranger = Program(program.data_dir, OPERATOR_PASS="a stranger")
    did = Identity.from_passphrase("a stranger").did()
    assert "admin charm did:key:" in program.output("add-admin-charm")
    error = stranger.error("status")
    assert f"add-admin-charm --grant {did}" in error
    assert program.output("identity", "did") in error
    program.output("add-admin-charm", "--grant", did)
    assert did == stranger.value("status", code=3)["operator"]
    owners = {space["name"]: space["owners"] for space in stranger.value("space", "list")}
    assert did in owners["toolshed-system"]


def test_status_and_integrations_of_a_stopped_service(program: Program) -> None:
    """A stopped service has a status; its integrations can be listed and initialised."""
    program.output("--integration=gcal", "--initialize")
    assert program.value("status", code=3)["running"] is False
    names = {each["integration_id"] for each in program.value("integration", "list")}
    assert {"gmail", "gcal", "discord", "manual"} <= names
    assert "Unknown integration: nonsense. Available: " in program.error(
        "--integration=nonsense", "--initialize"
    )


@pytest.mark.parametrize(
    "command",
    [
        *(["status"], ["charm", "list"], ["charm", "export"], ["space", "list"], ["audit"]),
        *(["integration", "list"], ["dead-letters"], ["token", "list"], ["doctor"], ["open"]),
        *(["charm", "show", "demo/x"], ["charm", "enable", "demo/x"], ["limits", "demo"]),
        *(["backup", "copy.db"], ["register", "demo/x"], ["token", "revoke", "x"]),
    ],
    ids=" ".join,
)
def test_a_directory_that_is_not_there_is_not_made(program: Program, command: list[str]) -> None:
    """Nothing is found in a directory that nobody began, and looking does not begin it."""
    error = program.error(*command)
    assert f"{program.data_dir} has no database: no service was ever started with it" in error
    assert not program.data_dir.exists()


def test_an_empty_directory_stays_empty(program: Program) -> None:
    """A directory of something else is not taken for an empty data directory, nor closed."""
    program.data_dir.mkdir(mode=0o755)
    assert "has no database" in program.error("charm", "list")
    assert ([], 0o755) == (
        list(program.data_dir.iterdir()),
        program.data_dir.stat().st_mode & 0o777,
    )


def test_an_unusable_directory_is_one_line(tmp_path: Path) -> None:
    """A directory that is a file, or lies in one, is told with what to do."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        assert "--data-dir" in Program(path).error("charm", "list")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use every directory")
def test_a_forbidden_directory_is_one_line(program: Program) -> None:
    """A directory that this user may not enter is told with the user's name."""
    program.data_dir.mkdir(mode=0)
    assert user_name(os.geteuid()) in program.error("status")


def test_keys(program: Program, tmp_path: Path) -> None:
    """A new key's file is for its owner only, is never replaced, and is used when named."""
    key = tmp_path / "key.pem"
    did = program.output("identity", "new", str(key))
    assert 0o600 == key.stat().st_mode & 0o777
    assert did == Program(program.data_dir, IDENTITY=str(key)).output("identity", "did")
    assert "File exists" in program.error("identity", "new", str(key))
    printed = program.run("identity", "new")
    assert Identity.from_pem(printed.stdout.encode()).did() == printed.stderr.strip()
    phrase = program.value("identity", "new", "--mnemonic")
    assert phrase["did"] == Identity.from_mnemonic(phrase["mnemonic"]).did()
    assert not program.data_dir.exists()


@pytest.mark.parametrize(
    ("flags", "code"), [(("--interval=soon",), 2), (("charm", "show", "no/charm"), 1)]
)
def test_an_error_in_the_journal_has_its_priority(
    tmp_path: Path, flags: tuple[str, ...], code: int
) -> None:
    """Where the errors go into the journal, one is a single line with the mark of an error."""
    with open(tmp_path / "journal", "w+") as journal:
        found = os.fstat(journal.fileno())
        environment = {**os.environ, "JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        done = subprocess.run(
            [*COMMAND, f"--data-dir={tmp_path / 'data'}", *flags],
            stderr=journal,
            stdout=subprocess.PIPE,
            env=environment,
            check=False,
        )
        journal.seek(0)
        (line,) = journal.read().splitlines()
    assert (code, b"") == (done.returncode, done.stdout)
    assert line.startswith("<3>Error: ")
