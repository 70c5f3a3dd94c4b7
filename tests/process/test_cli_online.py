"""The promises of the command line while the service runs: it asks over the socket."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.program import COMMAND, COUNTER, PATIENCE_SECONDS, Program, wait_until


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The program on a directory that is not there yet."""
    return Program(tmp_path / "data")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The program while its service runs, for tests that each take a space of their own."""
    program = Program(tmp_path_factory.mktemp("running") / "data")
    with program.service():
        yield program


@pytest.fixture
def file(tmp_path: Path) -> str:
    """The path of a charm's file."""
    (tmp_path / "counter.py").write_text(COUNTER)
    return str(tmp_path / "counter.py")


def charm_of(program: Program, ref: str) -> Any:
    """Give how a charm is doing."""
    return program.value("charm", "show", ref)["charm"]


def test_a_charm_added_to_a_running_service_is_polled(running: Program, file: str) -> None:
    """The same commands work on a running service, and it acts at once."""
    ref = running.output("charm", "add", file, "--space", "polled", "--register")
    wait_until(lambda: charm_of(running, ref)["successes"] > 0)
    running.output("charm", "disable", ref)
    before = int(running.output("charm", "get", ref, "counter", "--json"))
    assert f"counter = {before + 1}" in running.output("charm", "run", ref)
    assert not charm_of(running, ref)["enabled"]
    running.output("charm", "set", ref, "counter", "40")
    running.output("charm", "enable", ref)
    running.output("charm", "send", ref, '{"delta": 100}')
    wait_until(lambda: int(running.output("charm", "get", ref, "counter")) >= 141)
    assert ref.split("/")[1] in running.output("charm", "list", "--space", "polled")
    assert "process" in running.output("status")


def test_errors_cross_the_socket(running: Program, file: str, tmp_path: Path) -> None:
    """A refusal of the running service is the same one line as without it."""
    ref = running.output("charm", "add", file, "--space", "errors")
    assert "There is no charm" in running.error("charm", "get", f"{ref[:-4]}aaaa")
    error = running.error("charm", "get", ref, "nothing")
    assert "has no field nothing; it has counter, error" in error
    assert "counter" in running.error("charm", "set", ref, "counter", '"text"')
    assert "is not JSON" in running.error("charm", "set", ref, "counter", "text", code=2)
    (tmp_path / "other.py").write_text("import nothing_of_that_name\n")
    error = running.error("charm", "add", str(tmp_path / "other.py"), "--space", "errors")
    assert "other.py:1: ModuleNotFoundError" in error


def test_a_charm_is_polled_or_not_as_told(running: Program, file: str) -> None:
    """Whether, how often and under which label a charm is polled can be changed, and seen."""
    ref = running.output("charm", "add", file, "--space", "told", "--register")
    assert "manual" == charm_of(running, ref)["integration"]
    running.output("charm", "disable", ref)
    assert "hand" == charm_of(running, ref)["disabled_by"]
    running.output("charm", "enable", ref)
    running.output("charm", "interval", ref, "5")
    charm = charm_of(running, ref)
    assert (True, 5) == (charm["enabled"], charm["interval_seconds"])
    running.output("charm", "interval", ref, "default")
    assert 60 == charm_of(running, ref)["interval_seconds"]
    running.output("unregister", ref)
    assert not charm_of(running, ref)["registered"]
    running.output("register", ref, "--integration", "my-test")
    assert "my-test" == charm_of(running, ref)["integration"]
    assert [] == running.value("dead-letters")
    assert "has no dead letter" in running.error("charm", "requeue", ref)
    running.output("charm", "remove", ref)
    assert "There is no charm" in running.error("charm", "get", ref)


def test_changed_source_needs_an_update(running: Program, file: str) -> None:
    """The same cause with other source is refused and names the command that changes a charm."""
    ref = running.output("charm", "add", file, "--space", "changed")
    assert ref == running.output("charm", "add", file, "--space", "changed")
    Path(file).write_text(COUNTER.replace("counter: int = 0", "counter: str"))
    assert f"charm update {ref}" in running.error("charm", "add", file, "--space", "changed")
    assert "does not fit" in running.error("charm", "update", ref, file, "--dry-run")
    Path(file).write_text(COUNTER + '    more: str = "x"\n')
    report = running.value("charm", "update", ref, file, "--dry-run")
    assert (False, ["more"]) == (report["applied"], report["added_fields"])
    running.output("charm", "update", ref, file)
    assert "x" == running.output("charm", "get", ref, "more")


def test_many_charms_at_once(running: Program, file: str, tmp_path: Path) -> None:
    """An import of several batches into a running service is listed, exported and polled."""
    lines = [
        json.dumps({"file": file, "space": "many", "cause": f"c{n}", "register": n == 1199})
        for n in range(1200)
    ]
    (tmp_path / "charms.jsonl").write_text("\n".join(lines))
    imported = running.value("charm", "import", str(tmp_path / "charms.jsonl"))
    assert (1200, 0, 0) == (imported["added"], imported["existing"], imported["failed"])
    assert 1200 <= len(running.output("charm", "export").splitlines())
    listed = running.value("charm", "list", "--space", "many")
    assert imported["charms"] == [f"{charm['space']}/{charm['charm_id']}" for charm in listed]
    wait_until(lambda: charm_of(running, imported["charms"][-1])["successes"] > 0)


def test_logs_can_be_followed(running: Program, file: str) -> None:
    """New runs appear by themselves, each once and in order; Ctrl-C ends it without complaint."""
    ref = running.output("charm", "add", file, "--space", "followed")
    running.output("charm", "run", ref)
    with subprocess.Popen(
        [*COMMAND, f"--data-dir={running.data_dir}", "charm", "logs", ref, "--follow", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=running.environment,
        text=True,
        # Tests that a shell has put in the background ignore Ctrl-C, and what they start as well.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as follower:
        try:
            assert follower.stdout is not None
            seen = [json.loads(follower.stdout.readline())["number"]]
            running.output("charm", "run", ref)
            running.output("charm", "run", ref)
            seen += [json.loads(follower.stdout.readline())["number"] for _ in range(2)]
            follower.send_signal(signal.SIGINT)
            output, errors = follower.communicate(timeout=PATIENCE_SECONDS)
        finally:
            follower.kill()
    assert [1, 2, 3] == seen
    assert (0, "", "") == (follower.returncode, output, errors)


def test_a_service_that_starts_is_waited_for(program: Program) -> None:
    """A command given while the service has the directory, but no socket yet, gets its answer."""
    with program.start() as service:
        lock = program.data_dir / "lock"
        wait_until(lambda: lock.exists() and str(service.pid) in lock.read_text())
        assert service.pid == program.value("status")["pid"]


def test_a_killed_service_leaves_no_obstacle(program: Program, file: str) -> None:
    """The socket that a killed service left is not taken for a service."""
    with program.service() as service:
        ref = program.output("charm", "add", file, "--space", "demo")
        service.send_signal(signal.SIGKILL)
        service.wait()
    assert program.value("status", code=3)["running"] is False
    assert "counter = 1" in program.output("charm", "run", ref)
    with program.service() as service:
        assert service.pid == program.value("status")["pid"]
        assert "1" == program.output("charm", "get", ref, "counter")


def test_a_deep_directory_works(tmp_path: Path, file: str) -> None:
    """A socket's path may be longer than the system takes."""
    program = Program(tmp_path.joinpath(*["quite a deep directory"] * 6, "data"))
    program.data_dir.parent.mkdir(parents=True)
    assert len(str(program.data_dir)) > 107
    with program.service() as service:
        assert service.pid == program.value("status")["pid"]
        program.output("charm", "add", file, "--space", "demo")


def test_a_second_service_is_refused(program: Program) -> None:
    """Two services never have one directory; the second one says who has it."""
    with program.service() as service:
        assert str(service.pid) in program.error()
