"""A run is over when everything that it started is over; a worker with a leak is not used again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.running import Service, wait_until_ended, watched


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that polls nothing by itself."""
    flags = ("--interval=3600", "--max-concurrent=2")
    with Service(tmp_path_factory.mktemp("leaks") / "data", *flags) as running:
        yield running


@pytest.mark.parametrize(
    ("mode", "note"),
    [("leave_task", "the task is over"), ("leave_thread", "the thread is over")],
)
def test_what_a_run_started_belongs_to_it(service: Service, mode: str, note: str) -> None:
    """A run ends after its tasks and threads, and has what they wrote."""
    gate = service.gate()
    charm = service.add(values={"mode": mode, "folder": str(gate.folder)})
    answer = service.later("POST", f"{charm.path}/run")
    gate.wait_for_run()
    assert 1 == charm.show()["waiting_jobs"]
    gate.let_go()
    assert "success" == answer.result()["run"]["status"]
    assert note == charm.get("note")


def test_child_process_is_waited_for(service: Service) -> None:
    """A run ends after the programs that it started."""
    gate = service.gate()
    charm = service.add(values={"mode": "leave_child", "folder": str(gate.folder)})
    answer = service.later("POST", f"{charm.path}/run")
    gate.wait_for_run()
    gate.let_go()
    assert "success" == answer.result()["run"]["status"]
    assert "the child is over\n" == Path(gate.folder, "child").read_text()


def test_worker_with_a_leak_is_retired(service: Service) -> None:
    """A run that leaves a daemon thread succeeds; its worker serves no other charm."""
    other = service.add()
    charm = service.add(values={"mode": "leave_daemon_thread"})
    workers = service.worker_pids()
    with watched(*workers) as processes:
        run = charm.run()
        assert "success" == run["status"]
        wait_until_ended([processes[workers.index(run["worker"])]])
    assert 1 == charm.get("counter")
    assert "success" == other.run()["status"]
