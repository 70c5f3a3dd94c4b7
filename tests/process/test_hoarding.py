"""Memory that a charm keeps, and talk that never ends: the others do not pay for it."""

from __future__ import annotations

from pathlib import Path

from tests.process.running import Service

#: Keeps or takes so many megabytes, quicker than anybody looks.
HOARD = """\
from bg_charm_service import Charm

KEPT = []

class Hoard(Charm):
    def bg_updater(self, event: dict) -> None:
        taken = b"x" * (event["take"] * 1024 * 1024)
        if event.get("keep"):
            KEPT.append(taken)
"""

#: Answers on the worker's own socket, for ever, with what means nothing.
CHATTER = """\
import os
import stat

from bg_charm_service import Charm
from bg_charm_service.workers.protocol.messages import FROM_WORKER, LogText

class Chatter(Charm):
    def bg_updater(self, event: dict) -> None:
        frames = FROM_WORKER.encode(LogText("none", "x")) * 1000
        sockets = [fd for fd in range(3, 64) if _is_socket(fd)]
        while True:
            for fd in sockets:
                os.write(fd, frames)

def _is_socket(fd: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False
"""


def test_memory_that_a_charm_keeps_is_its_own_loss(tmp_path: Path) -> None:
    """A worker in which a charm left much memory makes no run of another one."""
    flags = ("--interval=3600", "--max-concurrent=1", "--worker-memory=64M")
    with Service(tmp_path / "data", *flags) as service:
        hoarder, victim = service.add(HOARD), service.add(HOARD)
        for _ in range(5):
            assert "success" == hoarder.perform(take=36, keep=True)["status"]
            run = victim.perform(take=36)
            assert ("success", "") == (run["status"], run["error"])


def test_worker_that_never_stops_talking_holds_up_nobody(tmp_path: Path) -> None:
    """While a worker floods its socket, others run; it is ended, and its charm pays."""
    flags = ("--interval=3600", "--max-concurrent=2", "--timeout=30", "--max-retries=0")
    with Service(tmp_path / "data", *flags) as service:
        chatter, other = service.add(CHATTER), service.add(space="other")
        job = chatter.send()
        assert "success" == other.perform()["status"]
        chatter.wait_until_settled(job)
        (run,) = chatter.runs()
        assert "protocol" == run["cause"]
