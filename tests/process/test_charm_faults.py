"""Whatever a charm does to its worker, one run fails, says why, and nobody else notices."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.process.running import RunningCharm, Service, wait_until_ended, watched

#: What a charm does -> the cause recorded, and words of the error.
FAULTS = {
    "fail": ("error", "ValueError: the script says so"),
    "exit_politely": ("error", "SystemExit: 3"),
    "exit_at_once": ("exit", "exit code 1"),
    "null": ("signal", "SIGSEGV"),
    "kill": ("signal", "SIGKILL"),
    "fill_memory": ("memory", "emory"),
    "talk_nonsense": ("protocol", "broke the protocol"),
    "nest": ("state", "anything"),
    "not_a_number": ("state", "anything"),
    "an_object": ("state", "anything"),
    "wrong_type": ("state", "note"),
    "failing_task": ("error", "the task failed"),
    "close_files": ("exit", "exit code 1"),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that polls nothing by itself."""
    flags = ("--interval=3600", "--max-concurrent=2", "--worker-memory=160M")
    with Service(tmp_path_factory.mktemp("faults") / "data", *flags) as running:
        yield running


@pytest.fixture(scope="module")
def bystander(service: Service) -> RunningCharm:
    """A charm of the same space that does nothing wrong."""
    return service.add()


@pytest.mark.parametrize("mode", FAULTS)
def test_fault_is_recorded_with_its_cause(
    service: Service, bystander: RunningCharm, mode: str
) -> None:
    """A fault fails its run with a cause and a reason, and none of its writes is applied."""
    charm = service.add(values={"mode": mode})
    run = charm.run()
    cause, words = FAULTS[mode]
    assert ("failure", cause) == (run["status"], run["cause"])
    assert words in run["error"]
    assert 0 == charm.get("counter")
    counted = bystander.get("counter")
    assert "success" == bystander.run()["status"]
    assert counted + 1 == bystander.get("counter")
    assert 0 == bystander.view()["failures"]


def test_traceback_shows_the_charm_alone(service: Service) -> None:
    """A failure's traceback has the author's own lines, and none of the service's."""
    run = service.add(values={"mode": "fail"}).run()
    assert "scripted.py" in run["traceback"]
    assert 'raise ValueError("the script says so")' in run["traceback"]
    assert "worker.py" not in run["traceback"]


def test_last_words_are_kept(service: Service) -> None:
    """What a charm printed before it took its worker down stays with the run."""
    run = service.add(values={"mode": "exit_at_once"}).run()
    assert "last words" in run["log"]


@pytest.mark.parametrize("mode", ["flood", "flood_raw"])
def test_flood_of_output_is_cut(service: Service, mode: str) -> None:
    """A run that prints 10 MB succeeds, and 64 kB of it are kept."""
    charm = service.add()
    run = charm.perform(mode=mode, megabytes=10)
    assert ("success", "") == (run["status"], run["error"])
    assert 60 * 1024 < len(run["log"]) < 80 * 1024
    assert "the rest was dropped" in run["log"]
    assert 1 == charm.get("counter")


@pytest.mark.parametrize("mode", ["flood", "flood_raw"])
def test_flood_of_output_without_end_is_stopped(service: Service, mode: str) -> None:
    """A run that would print a terabyte is ended for it, and keeps no more than others."""
    run = service.add().perform(mode=mode, megabytes=1_000_000)
    assert ("failure", "log") == (run["status"], run["cause"])
    assert len(run["log"]) < 80 * 1024


def test_fork_counts_once(service: Service) -> None:
    """A charm that goes on in two processes has run once."""
    charm = service.add(values={"mode": "fork"})
    assert "success" == charm.run()["status"]
    assert 1 == charm.get("counter")
    assert 1 == charm.view()["executions"]


def test_orphan_ends_with_its_worker(service: Service) -> None:
    """A program that a charm left in another session ends with the worker it came from."""
    gate = service.gate()
    charm = service.add(values={"mode": "leave_orphan", "folder": str(gate.folder)})
    answer = service.later("POST", f"{charm.path}/run")
    with watched(gate.wait_for_run()["child"]) as processes:
        wait_until_ended(processes)
    assert "exit" == answer.result()["run"]["cause"]


def test_sync_handlers_fail_in_the_same_way(service: Service) -> None:
    """A stream without an event loop has the same causes."""
    charm = service.add()
    assert "exit" == charm.perform("sync", mode="exit_at_once")["cause"]
