"""A database that cannot be written for a while: nothing is lost, and work goes on afterwards."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest

from tests.process.running import Refused, Service

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits another process")


def test_run_that_ends_while_nothing_can_be_written(tmp_path: Path) -> None:
    """A run whose settlement cannot be stored is settled later, once; what is sent is refused."""
    with Service(tmp_path / "data", "--interval=3600") as service:
        gate = service.gate()
        charm = service.add(values={"folder": str(gate.folder)})
        job = charm.send(mode="wait", number=1)
        gate.wait_for_run()
        limit_files(service, 0)
        gate.let_go()
        service.wait_for("storage_problem")
        with pytest.raises(Refused) as refused:
            charm.send(number=2)
        assert 503 == refused.value.status
        status = service.status()
        assert not status["healthy"]
        assert "disk" in status["problems"][0]
        limit_files(service, resource.RLIM_INFINITY)
        charm.wait_until_settled(job)
        assert [1] == charm.get("numbers")
        charm.perform(number=3)
        assert [1, 3] == charm.get("numbers")
        assert service.status()["healthy"]


def test_kill_while_nothing_can_be_written(tmp_path: Path) -> None:
    """KILL of a service that cannot write: the run counts once, after the next start."""
    with Service(tmp_path / "data", "--interval=3600") as service:
        gate = service.gate()
        charm = service.add(values={"folder": str(gate.folder)})
        job = charm.send(mode="wait", number=1)
        gate.wait_for_run()
        limit_files(service, 0)
        gate.let_go()
        service.wait_for("storage_problem")
        service.kill()
        service.start()
        gate.wait_for_run()
        gate.let_go()
        charm.wait_until_settled(job)
        assert ([1], 1) == (charm.get("numbers"), charm.view()["executions"])


def limit_files(service: Service, size: int) -> None:
    """Let a running service's files grow to a size and no further."""
    resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
