"""Pause and resume, jobs that are listed and cancelled, events that are purged or sent later."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bg_charm_service.domain.identity import space_did
from tests.process.running import Refused, RunningCharm, Service

MINDER = '''\
from bg_charm_service import Charm

class Minder(Charm):
    """Asks to be reminded, and keeps what it is reminded of."""
    woken: list[str] = []
    def bg_updater(self, event: dict) -> None:
        pass
    def ask(self, event: dict) -> None:
        for name in event.get("forget", []):
            self.forget(name)
        for name in event.get("names", []):
            self.remind("wake", {"text": name}, after=event["after"], name=name)
        if event.get("fail"):
            raise ValueError("it asked, and failed")
    def wake(self, event: dict) -> None:
        self.woken = [*self.woken, event["text"]]
'''


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A running service that polls only what is new."""
    folder = tmp_path_factory.mktemp("pausing")
    with Service(folder / "data", "--interval=3600", "--max-retries=0") as found:
        yield found


def waiting(service: Service, charm: RunningCharm) -> list[dict[str, Any]]:
    """The jobs of a charm that wait."""
    space, charm_id = charm.path.split("/")[-2:]
    path = f"/api/jobs?space={space}&charm={charm_id}&status=pending"
    jobs: list[dict[str, Any]] = service.request("GET", path)["jobs"]
    return jobs


def log_of(charm: RunningCharm) -> list[tuple[str, str]]:
    """Stream and end of each run, the oldest first."""
    return [(run["stream"], run["status"]) for run in charm.runs()[::-1]]


@pytest.mark.parametrize("what", ["charm", "space", "everything"])
def test_pause_outlasts_a_kill(tmp_path: Path, what: str) -> None:
    """What is paused is so after `kill -9`: events wait, runs by hand pass; then they run."""
    with Service(tmp_path / "data", "--interval=3600") as service:
        charm = service.add(MINDER, cause="minder")
        charm.register()
        charm.wait_for("run.succeeded")
        path = {
            "charm": charm.path,
            "space": f"/api/spaces/{space_did('test')}",
            "everything": "/api",
        }[what]
        service.request("POST", f"{path}/pause")
        charm.send("wake", text="one")
        second = charm.send("wake", text="two")
        service.kill()
        service.start()
        view = charm.view()
        assert (what, "operator", None) == (view["paused"], view["paused_by"], view["next_due"])
        status = service.status()
        counts = (status["paused_at"] > 0, status["spaces_paused"], status["charms_paused"])
        expected = {"charm": (False, 0, 1), "space": (False, 1, 0), "everything": (True, 0, 0)}
        assert expected[what] == counts
        assert status["healthy"]
        assert "success" == charm.run()["status"]
        found = [(job["stream"], job["waits_for"]) for job in waiting(service, charm)]
        assert [("wake", "resume"), ("wake", "resume")] == found
        service.request("POST", f"{path}/resume")
        charm.wait_until_settled(second)
        assert ["one", "two"] == charm.get("woken")
        with pytest.raises(Refused, match="is not paused"):
            service.request("POST", f"{path}/resume")


def test_charm_that_is_paused_with_its_space_says_so(service: Service) -> None:
    """Resuming the charm alone is refused, with the command that helps."""
    charm = service.add(MINDER, cause="minder", space="paused")
    space = space_did("paused")
    service.request("POST", f"/api/spaces/{space}/pause")
    with pytest.raises(Refused, match=f"its space is: `bg-charm-service resume {space}`"):
        charm.post("resume")
    (pause,) = service.request("GET", "/api/pauses")
    assert (space, "paused", None) == (pause["space"], pause["space_name"], pause["charm_id"])
    listed = service.cli("charm", "list", "--space", "paused").stdout
    assert "paused" in listed
    charm.remove()
    service.request("POST", f"/api/spaces/{space}/resume")
    assert [] == service.request("GET", "/api/pauses")


def test_job_that_waits_is_taken_back(service: Service) -> None:
    """It is gone, the one behind it runs, and its charm has no run and no failure of it."""
    charm = service.add(MINDER, cause="waiting")
    charm.post("pause")
    first, second = charm.send("wake", text="one"), charm.send("wake", text="two")
    done = service.cli("jobs", "cancel", str(first))
    assert f"Job {first} was taken back." in done.stdout
    again = service.cli("jobs", "cancel", str(first), str(second), str(first))
    assert (1, 2) == (again.returncode, again.stderr.count(f"There is no job {first}"))
    third = charm.send("wake", text="three")
    charm.post("resume")
    charm.wait_until_settled(third)
    assert ["three"] == charm.get("woken")
    assert [("wake", "success")] == log_of(charm)
    with pytest.raises(Refused, match="has ended already"):
        service.request("POST", f"/api/jobs/{third}/cancel")


def test_run_under_way_is_stopped_at_no_cost(service: Service) -> None:
    """It is recorded as cancelled and counts nowhere; what it would have written is refused."""
    gate = service.gate()
    charm = service.add(cause="under way", values={"folder": str(gate.folder)})
    job = charm.send(mode="wait", number=1)
    gate.wait_for_run()
    cancelled = service.request("POST", f"/api/jobs/{job}/cancel")
    assert ("processing", job) == (cancelled["status"], cancelled["job_id"])
    view = charm.view()
    assert (0, 0) == (view["failures"], view["consecutive_failures"])
    assert [("bgUpdater", "cancelled")] == log_of(charm)
    assert [] == charm.get("numbers")


def test_events_of_one_stream_are_purged(service: Service) -> None:
    """Those of other streams stay in their order, and reminders to the stream go too."""
    charm = service.add(MINDER, cause="purged")
    charm.post("pause")
    for text in ("one", "two"):
        charm.send("wake", text=text)
        charm.send("ask", names=[], after=0)
    space, charm_id = charm.path.split("/")[-2:]
    service.cli("charm", "send", f"{space}/{charm_id}", "--stream=wake", "--after=1h")
    assert {"purged": 3} == service.request("POST", f"{charm.path}/purge", {"stream": "wake"})
    assert ["ask", "ask"] == [job["stream"] for job in waiting(service, charm)]
    assert [] == service.request("GET", f"{charm.path}/reminders")
    with pytest.raises(Refused, match="has no stream nothing"):
        service.request("POST", f"{charm.path}/purge", {"stream": "nothing"})
    charm.post("resume")
    charm.wait_for("run.succeeded", times=2)


def test_jobs_are_listed_by_what_they_are(service: Service) -> None:
    """By charm, space, state and stream; page by page; with what each waits for."""
    charm = service.add(MINDER, cause="listed", space="listed")
    charm.post("pause")
    ids = [charm.send(stream, text="x") for stream in ("wake", "ask", "wake")]
    space = space_did("listed")

    def listed(more: str = "") -> list[int]:
        answer = service.request("GET", f"/api/jobs?space={space}{more}")
        return [job["job_id"] for job in answer["jobs"]]

    assert ids == listed()
    assert ids == listed("&status=pending")
    assert [] == listed("&status=processing")
    assert [ids[0], ids[2]] == listed("&stream=wake")
    page = service.request("GET", f"/api/jobs?space={space}&limit=2")
    assert (ids[:2], ids[1]) == ([job["job_id"] for job in page["jobs"]], page["next"])
    assert ids[2:] == listed(f"&cursor={page['next']}")
    shown = service.cli("jobs", "list", "--space", "listed", "--state", "pending").stdout
    assert 3 == shown.count("resume")
    service.cli("jobs", "cancel", *map(str, ids))
    assert [] == listed("&status=pending")


def test_charm_is_reminded_once(service: Service) -> None:
    """What it asked for comes as an event; what it took back, or asked for in vain, does not."""
    charm = service.add(MINDER, cause="reminded")
    charm.perform("ask", names=["late", "gone", "soon"], after=3600)
    charm.perform("ask", names=["soon"], after=0)
    charm.wait_for("run.succeeded", times=3)
    assert ["soon"] == charm.get("woken")
    charm.perform("ask", forget=["gone", "never"])
    failed = charm.send("ask", names=["in vain"], after=0, fail=True)
    charm.wait_until_settled(failed)
    (left,) = service.request("GET", f"{charm.path}/reminders")
    assert ("late", "wake") == (left["name"], left["stream"])
    shown = charm.show()
    assert (1, "late") == (shown["reminders_waiting"], shown["reminders"][0]["name"])
    assert 3000 < left["remind_at"] - time.time() < 3600


def test_more_reminders_than_a_charm_may_have(service: Service) -> None:
    """The run that asks for one too many fails and leaves none of them; others stay."""
    charm = service.add(MINDER, cause="many")
    charm.perform("ask", names=[f"n{n}" for n in range(1000)], after=3600)
    over = charm.send("ask", names=["one more"], after=3600)
    charm.wait_until_settled(over)
    assert "may have 1,000" in charm.view()["last_error"]
    charm.perform("ask", names=["n7"], after=7200)
    assert 1000 == charm.show()["reminders_waiting"]


def test_event_is_sent_later_by_a_person(service: Service) -> None:
    """It is named, shown, kept over a restart of the command, and taken back by its name."""
    charm = service.add(MINDER, cause="later")
    space, charm_id = charm.path.split("/")[-2:]
    ref = f"{space}/{charm_id}"
    said = service.cli("charm", "send", ref, '{"text": "x"}', "--stream=wake", "--after=2h").stdout
    name = said.split("reminder ")[1].rstrip(".\n")
    assert f"{name}: to wake in 1h" in service.cli("charm", "show", ref).stdout
    assert "Forgot" in service.cli("charm", "forget", ref, name).stdout
    gone = service.cli("charm", "forget", ref, name)
    assert (1, True) == (gone.returncode, "has no reminder" in gone.stderr)
    both = service.cli("charm", "send", ref, "--at=08:00", "--after=1h")
    assert (2, True) == (both.returncode, "not both" in both.stderr)
    with pytest.raises(Refused, match="passed"):
        service.request("POST", f"{charm.path}/send", {"at": 1.0})
    with pytest.raises(Refused, match="366 days"):
        service.request("POST", f"{charm.path}/send", {"after": 1e9})
    service.request(
        "POST", f"{charm.path}/send", {"stream": "wake", "event": {"text": "y"}, "after": 0.01}
    )
    charm.wait_for("run.succeeded")
    assert ["y"] == charm.get("woken")


STILL = '''\
from bg_charm_service import Charm

class Still(Charm):
    """Should change, and does not."""
    expects = {"items": EXPECTED}
    items: list[str] = []
    polls: int = 0
    def bg_updater(self, event: dict) -> None:
        self.polls += 1
        self.items = [*self.items, *event.get("new", [])]
'''


def test_charm_whose_state_stands_still_is_stale(service: Service) -> None:
    """However many runs succeed, the field that should change is what counts."""
    charm = service.add(STILL.replace("EXPECTED", "0.001"), cause="still", space="stale")
    other = service.add(STILL.replace("EXPECTED", "'1d'"), cause="moving", space="stale")
    for one in (charm, other):
        one.perform()
    assert (True, False) == (charm.view()["stale_since"] > 0, other.view()["stale_since"] > 0)
    assert 1 == service.status()["charms_stale"]
    listed = service.cli("charm", "list", "--stale").stdout
    assert (True, False) == (charm.charm_id in listed, other.charm_id in listed)
    assert "stale" in service.cli("charm", "show", charm.ref).stdout
    assert "items changes every 1d" in service.cli("charm", "show", other.ref).stdout
    before = other.show()["expects"][0]["stale_at"]
    other.perform(new=["x"])
    assert before < other.show()["expects"][0]["stale_at"]
    changed = charm.show()["expects"][0]["stale_at"] - 0.001
    charm.update(STILL.replace("EXPECTED", "'1h'"))
    assert 3600 == pytest.approx(charm.show()["expects"][0]["stale_at"] - changed)
    assert 0 == service.status()["charms_stale"]


SLOW = """\
import time
from bg_charm_service import Charm

class Slow(Charm):
    def bg_updater(self, event: dict) -> None:
        time.sleep(1.05)
"""


def test_charm_that_takes_longer_than_its_interval_says_so(service: Service) -> None:
    """It cannot be as often as it is to be; once it has more time, it can."""
    charm = service.add(SLOW, cause="slow", register=True)
    charm.wait_for("run.succeeded")
    assert not charm.view()["runs_late"]
    service.request("PUT", f"{charm.path}/interval", {"seconds": 1})
    assert charm.view()["runs_late"]
    assert "runs late" in service.cli("charm", "show", charm.ref).stdout
    service.request("PUT", f"{charm.path}/interval", {"seconds": 3600})
    assert not charm.view()["runs_late"]
