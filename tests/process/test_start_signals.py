"""Signals while a service starts: it ends with 0, says no more than that, and leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import pytest

from bg_charm_service.storage.data_directory import DATABASE_NAME, LOCK_NAME, DataDirectory
from tests.process.program import PATIENCE_SECONDS, Program, wait_until

#: Modules in the order in which a start loads them: from the first that comes after signals are
#: held to what only a service needs, and the key, which is read when all is loaded.
MODULES = (
    "bg_charm_service.cli",
    "bg_charm_service.cli.root",
    "bg_charm_service.service.bootstrap",
    "bg_charm_service.daemon.process",
    "nacl.signing",
)

#: What appears while the service opens.
FILES = (LOCK_NAME, "service.sock")


class Start:
    """A start that tells of each module as it is loaded, by what Python has for that."""

    def __init__(self, data_dir: Path) -> None:
        program = Program(data_dir)
        self.data_dir = data_dir
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-X", "importtime", "-m", "bg_charm_service"),
                *("--no-api", f"--data-dir={data_dir}", "--sandbox=off", "--log-format=json"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=program.environment,
            text=True,
        )
        self.events: list[str] = []
        self.errors: list[str] = []
        self._news = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read_log, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def wait_for(self, told: str) -> None:
        """Wait until a module is loaded, or an event logged."""
        with self._news:
            self._news.wait_for(lambda: {told, ""} & {*self.events}, PATIENCE_SECONDS)
            assert told in self.events, self.errors

    def end(self) -> int:
        """Wait for the end; gives the exit code."""
        code = self.process.wait(PATIENCE_SECONDS)
        for reader in self._readers:
            reader.join(PATIENCE_SECONDS)
        return code

    def _read_log(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._tell(json.loads(line)["event"])

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.startswith("import time:"):
                self._tell(line.rpartition("|")[2].strip())
            else:
                self.errors.append(line)
        # Nothing more will come.
        self._tell("")

    def _tell(self, event: str) -> None:
        with self._news:
            self.events.append(event)
            self._news.notify_all()


@contextmanager
def started(data_dir: Path) -> Iterator[Start]:
    """Start a service that is killed at the end, if it lives still."""
    start = Start(data_dir)
    with start.process:
        try:
            yield start
        finally:
            start.process.kill()
            start.end()


def check_left(data_dir: Path) -> None:
    """Fail unless there is no directory, or a whole one that nobody has."""
    if data_dir.exists():
        assert (data_dir / DATABASE_NAME).exists()
        assert not (data_dir / "service.sock").exists()
        DataDirectory.open(data_dir).close()


def loaded(module: str) -> Callable[[Start], object]:
    """Make a moment: the one when a module was loaded, or an event was logged."""
    return lambda start: start.wait_for(module)


def made(name: str) -> Callable[[Start], object]:
    """Make a moment: the one when a file of the data directory is there."""
    return lambda start: wait_until(lambda: (start.data_dir / name).exists())


MOMENTS = {
    **{module: loaded(module) for module in MODULES},
    **{name: made(name) for name in FILES},
    "started": loaded("started"),
}


@pytest.mark.parametrize(
    ("number", "moment"),
    list(zip(cycle([signal.SIGTERM, signal.SIGINT]), MOMENTS, strict=False)),
    ids=MOMENTS,
)
def test_a_stop_at_any_moment(tmp_path: Path, number: signal.Signals, moment: str) -> None:
    """From the first line of the program on, a start that is told to stop does so, with 0."""
    with started(tmp_path / "data") as start:
        MOMENTS[moment](start)
        start.process.send_signal(number)
        assert 0 == start.end()
        assert [] == start.errors
    check_left(tmp_path / "data")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_before_the_program_is_there(tmp_path: Path, number: signal.Signals) -> None:
    """Before that, the signal itself may end it; there is nothing yet that could be left."""
    command = [sys.executable, "-m", "bg_charm_service", "--no-api", f"--data-dir={tmp_path / 'd'}"]
    with subprocess.Popen(
        ["env", "--block-signal=INT,TERM,HUP", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=Program(tmp_path).environment,
    ) as process:
        process.send_signal(number)
        if number is signal.SIGHUP:
            # That opens the log anew, if it comes so late that somebody is there to do it, and
            # under nohup it is not seen before: then this one ends it.
            process.terminate()
        assert process.wait(PATIENCE_SECONDS) in {0, -number, -signal.SIGTERM}
        assert process.stderr is not None
        assert b"" == process.stderr.read()
    check_left(tmp_path / "d")


@pytest.mark.parametrize("moment", [MODULES[0], "nacl.signing", "service.sock"])
def test_signals_that_are_for_a_running_service(tmp_path: Path, moment: str) -> None:
    """HUP and USR1 wait for the service that they are for, and do not end the start."""
    with started(tmp_path / "data") as start:
        MOMENTS[moment](start)
        start.process.send_signal(signal.SIGHUP)
        start.process.send_signal(signal.SIGUSR1)
        start.wait_for("started")
        # The next signals are served after those, which a start keeps.
        start.process.terminate()
        assert 0 == start.end()
        assert [] == start.errors
    check_left(tmp_path / "data")


def test_a_command_is_ended_by_the_signal_itself(tmp_path: Path) -> None:
    """A command that did nothing yet does not end with 0, as if it had."""
    key = tmp_path / "key"
    os.mkfifo(key)
    environment = {**Program(tmp_path).environment, "IDENTITY": str(key)}
    command = [sys.executable, "-m", "bg_charm_service", "identity", "did"]
    # Whoever reads the key has come as far as the command; there it waits for us.
    with subprocess.Popen(command, env=environment) as process, key.open("wb"):
        process.terminate()
        assert -signal.SIGTERM == process.wait(PATIENCE_SECONDS)


def test_a_start_that_waits_for_its_key_can_be_ended(tmp_path: Path) -> None:
    """Reading what somebody else has to write is no reason not to stop."""
    key = tmp_path / "key"
    os.mkfifo(key)
    program = Program(tmp_path / "data", IDENTITY=str(key))
    with program.start() as process, key.open("wb"):
        process.terminate()
        assert 0 == process.wait(PATIENCE_SECONDS)
    assert not (tmp_path / "data").exists()
