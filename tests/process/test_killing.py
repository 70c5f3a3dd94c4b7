"""KILL at the worst moment, to each kind of process: nothing is lost, and nothing counts twice."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.fakes.http_server import NO_ANSWER, Answer, FakeServer, Seen, answer
from tests.process.running import CHARMS, Service, wait_until_ended, watched, watched_descendants

ASKING = """\
import os
from typing import Any
from bg_charm_service import Charm

class Asking(Charm):
    url: str = ""

    async def bg_updater(self, event: dict[str, Any]) -> None:
        async with self.http(base_url=self.url) as http:
            await http.get("first")
            print("before the second")
            await http.get("second", params={"pid": os.getpid()})
"""

LINKED = (CHARMS / "linked.py").read_text()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """An empty data directory."""
    return tmp_path / "data"


def test_killed_worker_fails_one_attempt(data_dir: Path) -> None:
    """KILL of a worker in mid-run: that attempt failed, the next one counts once, others go on."""
    with Service(data_dir, "--interval=3600") as service:
        gate, others_gate = service.gate(), service.gate()
        victim = service.add(values={"folder": str(gate.folder)})
        other = service.add(space="other", values={"folder": str(others_gate.folder)})
        polled = service.add(space="other", register=True)
        polled.wait_for("run.succeeded")
        due = polled.view()["next_due"]
        job, others_job = victim.send(mode="wait", number=1), other.send(mode="wait")
        others_run = others_gate.wait_for_run()
        begun = gate.wait_for_run()
        os.kill(begun["pid"], signal.SIGKILL)
        failed = victim.wait_for("run.failed", job=job, attempt=1)
        assert ("signal", begun["pid"]) == (failed["cause"], failed["worker"])
        assert begun["run_id"] != gate.wait_for_run()["run_id"]
        gate.let_go()
        victim.wait_until_settled(job, attempt=2)
        assert [1] == victim.get("numbers")
        newest, oldest = victim.runs()
        assert ("success", 2) == (newest["status"], newest["attempt"])
        assert ("failure", "signal", 1) == (oldest["status"], oldest["cause"], oldest["attempt"])
        assert "SIGKILL" in oldest["error"]
        others_gate.let_go()
        other.wait_until_settled(others_job)
        assert others_run["run_id"] == other.runs()[0]["run_id"]
        assert (1, 0) == (other.get("counter"), other.view()["failures"])
        view = polled.view()
        assert (1, 0) == (view["executions"], view["failures"])
        # Calculated anew from two clocks each time: the same moment, not the same number.
        assert pytest.approx(due, abs=60) == view["next_due"]


def test_killed_run_keeps_what_it_had_asked_for(data_dir: Path) -> None:
    """KILL of a worker in mid-run: its record has the requests until then, as it has the log."""
    with Service(data_dir, "--interval=3600", "--max-retries=0") as service, FakeServer() as server:

        def kill(seen: Seen) -> Answer:
            os.kill(int(seen.query["pid"][0]), signal.SIGKILL)
            return NO_ANSWER

        server.on("/first", answer(body="hello")).on("/second", kill)
        charm = service.add(ASKING, values={"url": server.url})
        run = charm.run()
        assert ("failure", "signal", "before the second\n") == (
            *(run["status"], run["cause"]),
            run["log"],
        )
        assert [("/first", 200, 5, ""), ("/second", 0, 0, "unfinished")] == [
            (one["path"], one["status"], one["received_bytes"], one["fault"])
            for one in run["requests"]
        ]
        said = service.cli("charm", "logs", charm.ref, "--requests").stdout
        assert re.search(r"GET 127.0.0.1/second  no answer  .*  unfinished\n", said)


def test_killed_idle_worker_is_nobodys_fault(data_dir: Path) -> None:
    """KILL of workers between runs: they are replaced, and no charm pays."""
    with Service(data_dir, "--interval=3600", "--max-concurrent=2") as service:
        charm = service.add()
        charm.perform()
        pids = service.worker_pids()
        with watched(*pids) as handles:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            wait_until_ended(handles)
        run = charm.perform()
        assert "success" == run["status"]
        assert run["worker"] not in pids
        assert 0 == charm.view()["failures"]


def test_killed_zygote_costs_nothing(data_dir: Path) -> None:
    """KILL of the process that forks workers: its workers end, runs are run again, none failed."""
    with Service(data_dir, "--interval=3600") as service:
        gate = service.gate()
        charm = service.add(values={"folder": str(gate.folder)})
        job = charm.send(mode="wait", number=1)
        begun = gate.wait_for_run()
        with watched(*service.worker_pids()) as handles:
            os.kill(service.zygote_pid(), signal.SIGKILL)
            wait_until_ended(handles)
        service.wait_for("zygote_lost")
        assert begun["run_id"] == gate.wait_for_run()["run_id"]
        gate.let_go()
        charm.wait_until_settled(job)
        assert [1] == charm.get("numbers")
        assert (1, 0) == (charm.view()["executions"], charm.view()["failures"])


def test_charm_that_ends_the_zygote_is_found_out(data_dir: Path) -> None:
    """A job that one zygote after the other died with has failed: it is not repeated for ever."""
    with Service(data_dir, "--interval=3600", "--max-retries=0") as service:
        gate = service.gate()
        charm = service.add(values={"folder": str(gate.folder)})
        job = charm.send(mode="wait")
        for deaths in range(1, 5):
            gate.wait_for_run()
            os.kill(service.zygote_pid(), signal.SIGKILL)
            service.wait_for("zygote_lost", times=deaths)
        charm.wait_until_settled(job)
        assert ["failure"] == [run["status"] for run in charm.runs()]
        assert gate.is_quiet()
        assert "success" == charm.run()["status"]


def test_killed_service_loses_and_repeats_nothing(data_dir: Path) -> None:
    """KILL of the service in mid-run, again and again: each run's writes are there exactly once.

    Polls and sends of several spaces are under way each time. No process outlives its service.
    """
    with Service(data_dir, "--interval=1", "--max-concurrent=4") as service:
        gate = service.gate()
        held = service.add(values={"folder": str(gate.folder)})
        job = held.send(mode="wait", number=0)
        charms = [service.add(space=f"space {n % 3}", register=True) for n in range(9)]
        receiver = service.add(space="space 1")
        sender = service.add(LINKED, space="space 1", links={"out": f"{receiver.ref}/bgUpdater"})
        sent = 0
        for life in range(3):
            gate.wait_for_run()
            for _ in range(10):
                for charm in charms[:3]:
                    charm.send(number=sent)
                sender.send(send=[{"number": 2 * sent}, {"number": 2 * sent + 1}])
                sent += 1
            service.wait_for("run.succeeded", times=5 + life)
            with watched_descendants(service) as handles:
                service.kill()
                wait_until_ended(handles)
            service.start()
        gate.wait_for_run()
        gate.let_go()
        held.wait_until_settled(job)
        for charm in charms[:3]:
            last = charm.send(number=sent)
            charm.wait_until_settled(last)
            assert list(range(sent + 1)) == charm.get("numbers")
        receiver.wait_until_settled(receiver.send(number=2 * sent))
        assert list(range(2 * sent + 1)) == receiver.get("numbers")
        for charm in charms:
            charm.unregister()
        # Nothing runs any more, so that state and totals can be compared.
        assert 0 == service.stop()
        service.start()
        for charm in [*charms, held, receiver]:
            view = charm.view()
            assert view["successes"] == charm.get("counter")
            assert 0 == view["failures"]
            assert view["executions"] == view["successes"]
        assert [0] == held.get("numbers")


def test_charm_that_ends_the_service_is_found_out(data_dir: Path) -> None:
    """A job that four services in a row died with has failed: no charm can end them for ever."""
    with Service(data_dir, "--interval=3600", "--max-retries=0") as service:
        gate = service.gate()
        charm = service.add(values={"folder": str(gate.folder)})
        job = charm.send(mode="wait")
        for _ in range(4):
            gate.wait_for_run()
            service.kill()
            service.start()
        service.wait_for("job_rescued", level="ERROR", job=job)
        assert ["supervisor"] == [run["cause"] for run in charm.runs()]
        assert gate.is_quiet()
        assert "success" == charm.run()["status"]
