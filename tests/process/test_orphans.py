"""Processes that a charm starts and that hide from their worker: they end, whatever ends it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.process.program import wait_until
from tests.process.running import Service

#: Starts a family of processes, each of which leads a session of its own, and waits for ever.
RUNAWAY = """\
import subprocess
import threading

from bg_charm_service import Charm

class Runaway(Charm):
    async def bg_updater(self, event: dict) -> None:
        script = "setsid sh -c 'setsid sleep 3599 & setsid sleep 3599'"
        subprocess.Popen(["setsid", "sh", "-c", script])
        threading.Event().wait()
"""


def _kill_workers(service: Service) -> None:
    for pid in service.worker_pids():
        os.kill(pid, signal.SIGKILL)


def _stop_at_once(service: Service) -> None:
    service.signal(signal.SIGTERM)
    service.wait_for("stopping")
    service.signal(signal.SIGTERM)
    service.wait()


@pytest.mark.parametrize("end", [_kill_workers, _stop_at_once, Service.kill])
def test_runaway_processes_end(tmp_path: Path, end: Callable[[Service], None]) -> None:
    """However a worker ends, every generation of what it started ends too."""
    with Service(tmp_path / "data", "--interval=3600", "--max-retries=0") as service:
        charm = service.add(RUNAWAY)
        charm.send()

        def family() -> list[psutil.Process]:
            found = [one for one in service.descendants() if one.name() in ("sh", "sleep")]
            return found if sum(one.name() == "sleep" for one in found) == 2 else []

        runaways: list[psutil.Process] = wait_until(family)
        end(service)
        wait_until(lambda: not any(one.is_running() for one in runaways))
