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


def test_what_retires_a_worker_is_said(service: Service) -> None:
    """In the run's record, the log, the status, on the charm's page, and by the commands."""
    charm = service.add(values={"mode": "leave_daemon_thread"})
    run = charm.run()
    why = run["retired"]
    assert why.startswith("it left thread ")

    said = f"Its worker was replaced after this run: {why}"
    assert [why] == [each["retired"] for each in charm.runs()]
    line = service.wait_for("worker.retired", charm=charm.charm_id)
    assert said[1:] in line["message"]
    shown = next(one for one in service.status()["retiring"] if charm.charm_id == one["charm_id"])
    assert (1, run["run_id"], why) == (shown["workers"], shown["run_id"], shown["why"])
    assert said in service.cli("charm", "logs", charm.ref).stdout
    assert (
        f"last after run {run['run_id']}: {why}" in service.cli("charm", "show", charm.ref).stderr
    )
    assert "1 worker replaced after its runs" in service.cli("status").stdout


def test_a_run_that_leaves_nothing_retires_nobody(service: Service) -> None:
    """The record of such a run says nothing of its worker."""
    assert "" == service.add().run()["retired"]


#: Keeps an executor, as some libraries do, which has done something, or is still at it.
KEEPER = """
import threading
from concurrent.futures import ThreadPoolExecutor
from bg_charm_service import Charm

EXECUTOR = ThreadPoolExecutor(2)

class Keeper(Charm):
    done: int = 0

    def bg_updater(self, event):
        self.done += EXECUTOR.submit(int, 1).result()

    def begin(self, event):
        EXECUTOR.submit(threading.Event().wait, 0.5).add_done_callback(self.note)

    def note(self, future):
        self.done += 10
"""


def test_an_executor_that_waits_is_let_be(service: Service) -> None:
    """Threads of an executor that has nothing to do are not waited for, and cost no worker."""
    charm = service.add(source=KEEPER)
    runs = [charm.run() for _ in range(3)]
    assert [("success", "")] * 3 == [(run["status"], run["retired"]) for run in runs]
    assert 1 == len({run["worker"] for run in runs})
    assert 3 == charm.get("done")


def test_what_an_executor_does_belongs_to_the_run(service: Service) -> None:
    """A run ends after what it gave an executor to do, and has what that wrote."""
    charm = service.add(source=KEEPER)
    assert "success" == charm.perform("begin")["status"]
    assert 10 == charm.get("done")
