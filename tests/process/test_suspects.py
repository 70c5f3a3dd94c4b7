"""Who pays when the service dies again and again: a charm that ended it, and nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.running import Service

#: More deaths than any charm may cause, or a test needs.
MOST_DEATHS = 30

#: Ends the service, as a charm without walls can; the first times it takes its time.
KILLER = """\
import os, pathlib, time
from bg_charm_service import Charm

def parent_of(pid):
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

class Killer(Charm):
    folder: str
    usual_seconds: float
    later_seconds: float

    def bg_updater(self, event: dict) -> None:
        deaths = pathlib.Path(self.folder, "deaths")
        count = len(deaths.read_text()) if deaths.exists() else 0
        time.sleep(self.usual_seconds if count < 3 else self.later_seconds)
        with deaths.open("a") as file:
            file.write(".")
        os.kill(parent_of(os.getppid()), 9)
        time.sleep(60)
"""


def test_somebody_who_kills_the_service_makes_no_charm_pay(tmp_path: Path) -> None:
    """Killed with the same run under way, and then without it, twice over: nobody has failed."""
    with Service(tmp_path / "data", "--interval=3600", "--max-retries=0") as service:
        gate = service.gate()
        charm = service.add(values={"folder": str(gate.folder)})
        job = charm.send(mode="wait")
        for trial in ("without suspects", "without charms"):
            for _ in range(3):
                gate.wait_for_run()
                service.kill()
                service.start()
            assert trial in service.wait_for("suspects_wait")["message"]
            service.kill()
            service.start()
            service.wait_for("suspects_cleared")
        gate.wait_for_run()
        gate.let_go()
        charm.wait_until_settled(job)
        assert ["success"] == [run["status"] for run in charm.runs()]


def test_suspect_runs_once_the_service_has_lived_without_it(tmp_path: Path) -> None:
    """Where nothing happens without it, a suspect runs alone; then it is none any more."""
    with Service(tmp_path / "data", "--interval=3600") as service:
        gate = service.gate()
        charm = service.add(values={"folder": str(gate.folder)})
        job = charm.send(mode="wait")
        for _ in range(3):
            gate.wait_for_run()
            service.kill()
            service.start()
        service.wait_for("suspects_wait")
        assert "success" == service.add().run()["status"]
        assert gate.is_quiet()
        service.wait_for("suspects_tried")
        gate.wait_for_run()
        gate.let_go()
        charm.wait_until_settled(job)
        assert ["success"] == [run["status"] for run in charm.runs()]


@pytest.mark.parametrize("later_seconds", [0.5, 0.05])
def test_charm_that_ends_the_service_is_held(tmp_path: Path, later_seconds: float) -> None:
    """It pays once, and the second time it is held: also when it needs a tenth of the time then.

    Another charm, of another space, runs all along and never pays.
    """
    flags = ("--sandbox=off", "--interval=2", "--max-concurrent=2")
    with Service(tmp_path / "data", *flags) as service:
        gate = service.gate()
        other = service.add(space="elsewhere", register=True)
        values = {
            "folder": str(gate.folder),
            "usual_seconds": 0.5,
            "later_seconds": later_seconds,
        }
        charm = service.add(KILLER, values=values, register=True)
        held = 0
        for _ in range(MOST_DEATHS):
            service.wait()
            service.boot().wait_until(_started, times=1)
            held += service.count("job_rescued", level="ERROR")
            if held == 2:
                break
        service.wait_for("started")
        assert (False, "service") == (charm.view()["enabled"], charm.view()["disabled_by"])
        assert ["supervisor"] * 2 == [run["cause"] for run in charm.runs()]
        charm.register()
        assert not charm.view()["enabled"]
        service.wait_for("run.succeeded")
        assert {"success"} == {run["status"] for run in other.runs()}


def _started(lines: list[dict[str, object]]) -> list[dict[str, object]]:
    return [line for line in lines if line["event"] == "started"]
