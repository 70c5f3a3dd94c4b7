"""A run that does not end is stopped at its limit, with everything that it started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import wait

import pytest

from tests.process.running import RunningCharm, Service, wait_until_ended, watched

#: Ways of not ending: by waiting, by working, and by refusing to be interrupted.
ENDLESS = {
    "hang": "bgUpdater",
    "stubborn": "bgUpdater",
    "spin": "sync",
    "sleep": "sync",
    "deaf": "sync",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a short limit, and a worker for each charm of this module."""
    flags = (
        "--interval=3600",
        "--timeout=3",
        "--kill-grace=0.3",
        "--max-retries=0",
        "--max-concurrent=7",
    )
    with Service(tmp_path_factory.mktemp("limits") / "data", *flags) as running:
        yield running


@pytest.fixture(scope="module")
def endless(service: Service) -> dict[str, RunningCharm]:
    """A charm for each way of not ending; each has run into its limit, all at the same time."""
    charms = {mode: service.add(values={"mode": mode}) for mode in ENDLESS}
    jobs = {mode: charms[mode].send(stream) for mode, stream in ENDLESS.items()}
    for mode, job in jobs.items():
        charms[mode].wait_until_settled(job)
    return charms


@pytest.mark.parametrize("mode", ENDLESS)
def test_endless_run_is_stopped(endless: dict[str, RunningCharm], mode: str) -> None:
    """A run at its limit fails as timed out; nothing of it is applied; its worker is gone."""
    charm = endless[mode]
    (run,) = charm.runs()
    assert ("failure", "timeout") == (run["status"], run["cause"])
    assert "Timed out after 3 s" in run["error"]
    assert 0 == charm.get("counter")
    with pytest.raises(ProcessLookupError):
        os.kill(run["worker"], 0)


def test_timed_out_charm_runs_again(endless: dict[str, RunningCharm]) -> None:
    """A charm that timed out is run by another worker, and is well again."""
    charm = endless["deaf"]
    run = charm.perform(mode="ok")
    assert "success" == run["status"]
    assert charm.runs()[1]["worker"] != run["worker"]


def test_state_that_is_too_large(service: Service) -> None:
    """A run that leaves more than can be stored fails, and says how much it is."""
    run = service.add(values={"mode": "grow"}).run()
    assert ("failure", "state_size") == (run["status"], run["cause"])
    assert "It left 73,400,323 bytes to store, and may leave 16M" in run["error"]


def test_child_process_ends_with_the_run(service: Service) -> None:
    """A program that a run started and that does not end times the run out, and is killed."""
    gate = service.gate()
    charm = service.add(values={"folder": str(gate.folder)})
    job = charm.send(mode="leave_child_for_ever")
    with watched(gate.wait_for_run()["child"]) as processes:
        charm.wait_until_settled(job)
        wait_until_ended(processes)
    (run,) = charm.runs()
    assert "timeout" == run["cause"]
    assert "a child process" in run["error"]


def test_import_that_hangs_is_not_added(service: Service) -> None:
    """Adding a charm whose import never ends is refused, and the service works on meanwhile."""
    source = "import time\ntime.sleep(3600)\n"
    body = {"source": source, "space": "test", "file": "hanging.py"}
    other = service.add()
    answer = service.later("POST", "/api/charms", body)
    assert "success" == other.run()["status"]
    wait([answer])
    assert "hanging.py: loading it took longer than 3 s" in str(answer.exception())
