"""The zygote: it reports the end of every worker."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bg_charm_service.workers.pool.zygote_client import ZygoteClient, read_reports
from bg_charm_service.workers.protocol.messages import Exited, FromZygote, Spawned, WorkerSettings
from bg_charm_service.workers.runtime.boot import WorkerPreparation
from bg_charm_service.workers.sandbox import Wall
from tests.unit.descriptors import limit_leaving, limited_to

#: The longest that anything is waited for, in seconds.
PATIENCE_SECONDS = 20.0


class Workers:
    """A zygote and the workers asked of it."""

    def __init__(self) -> None:
        self.client = ZygoteClient()
        self.pids: dict[int, int] = {}
        self.exited: dict[int, int] = {}
        self._connections: dict[int, socket.socket] = {}
        self._null = os.open(os.devnull, os.O_WRONLY)

    def spawn(self) -> None:
        """Ask for one more worker."""
        ours, theirs = socket.socketpair()
        number = len(self._connections) + 1
        self._connections[number] = ours
        with theirs:
            fds = [theirs.fileno(), self._null, self._null, theirs.fileno()]
            assert self.client.spawn(number, WorkerSettings(), fds)

    def look(self, seconds: float) -> bool:
        """Take in the next reports; False when none came."""
        if not select.select([self.client.control], [], [], seconds)[0]:
            return False
        reports: list[FromZygote] = self.client.read() or []
        for report in reports:
            if isinstance(report, Spawned):
                self.pids[report.worker_no] = report.pid
            else:
                assert isinstance(report, Exited)
                self.exited[report.worker_no] = report.exit_code
                self._connections[report.worker_no].close()
        return True

    def close(self) -> None:
        """End it all."""
        self.client.close()
        for connection in self._connections.values():
            connection.close()
        os.close(self._null)


@pytest.fixture
def workers() -> Iterator[Workers]:
    """A zygote of one's own."""
    made = Workers()
    yield made
    made.close()


def test_no_end_of_a_worker_goes_unreported(workers: Workers) -> None:
    """Workers that end while others are born are reported too: none is waited for in vain."""
    killed: set[int] = set()
    for _ in range(4):
        workers.spawn()
    while len(killed) < 400:
        workers.look(0.01)
        for number, pid in workers.pids.items():
            if number not in killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(number)
                workers.spawn()
    while killed - workers.exited.keys() and workers.look(2):
        pass
    assert set() == killed - workers.exited.keys()


def test_it_loads_what_workers_need_and_no_more() -> None:
    """Every worker carries along what its zygote has loaded: no keys, no database, no server."""
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, bg_charm_service.workers.runtime.zygote; print(*sys.modules)",
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    for heavy in ("cryptography", "psutil", "sqlite3", "persistqueue", "aiohttp", "nacl"):
        assert heavy not in loaded


@pytest.mark.parametrize(
    "nonsense",
    [b"\xc1", b"x" * 70_000, msgspec.msgpack.encode({"type": "exited"}), b"\x91" * 60_000],
    ids=["garbage", "longer than any report", "a part of a report", "deep"],
)
def test_nonsense_ends_a_zygote(nonsense: bytes) -> None:
    """What it reported before is taken; then it is treated as one that is gone."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    report = Exited(1, 0)
    with ours, theirs:
        ours.setblocking(False)
        assert [] == read_reports(ours)
        for data in (msgspec.msgpack.encode(report), nonsense, msgspec.msgpack.encode(report)):
            theirs.send(data)
        assert [report] == (read_reports(ours) or [])[:1]
        while (reports := read_reports(ours)) is not None:
            assert all(one == report for one in reports)
        with pytest.raises(BrokenPipeError):
            theirs.send(b"more")


def test_endless_reports_are_read_in_turns() -> None:
    """A zygote that never stops reporting does not hold up the service."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        sent = 0
        data = msgspec.msgpack.encode(Spawned(1, 2))
        try:
            while True:
                theirs.send(data)
                sent += 1
        except BlockingIOError:
            pass
        turns = 0
        while reports := read_reports(ours):
            turns += 1
            sent -= len(reports)
        assert 0 == sent
        assert turns > 1


def test_no_room_for_a_worker(workers: Workers) -> None:
    """One that cannot be had was never there; those that live go on, and others come later."""
    workers.spawn()
    while not workers.pids:
        assert workers.look(PATIENCE_SECONDS)
    os.kill(workers.pids[1], signal.SIGKILL)
    while not workers.exited:
        assert workers.look(PATIENCE_SECONDS)
    # It reaps only once it has closed what that worker was given.
    pid = workers.client.pid
    little = limit_leaving(1, pid)
    workers.spawn()
    while len(workers.pids) < 2:
        assert workers.look(PATIENCE_SECONDS)
    with limited_to(little, pid):
        workers.spawn()
        while len(workers.exited) < 2:
            assert workers.look(PATIENCE_SECONDS)
        ended = {1: -signal.SIGKILL, 3: os.EX_OSERR}
        assert (ended, [1, 2]) == (workers.exited, list(workers.pids))
    workers.spawn()
    while len(workers.pids) < 3:
        assert workers.look(PATIENCE_SECONDS)
    assert ended == workers.exited


@pytest.mark.parametrize("has_walls", [False, True])
def test_what_a_worker_is_given_is_not_kept(tmp_path: Path, has_walls: bool) -> None:  # noqa: FBT001
    """A zygote's environment stays as it is: the system would keep each value for ever."""
    before = dict(os.environ), tempfile.tempdir
    missing = tuple(map(str, Wall)) if has_walls else ()
    WorkerPreparation(WorkerSettings(str(tmp_path), has_walls, missing_walls=missing)).close()
    assert before == (dict(os.environ), tempfile.tempdir)
