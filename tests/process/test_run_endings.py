"""Runs that end neither well nor badly, with the real program and providers that really fail."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from bg_charm_service.storage.data_directory import DATABASE_NAME
from tests.process.program import wait_until
from tests.process.running import CHARMS, RunningCharm, Service
from tests.providers import (
    NO_HOST,
    Deed,
    Provider,
    answer,
    refused_url,
    reset,
    self_signed,
)

ASKING = (CHARMS / "asking.py").read_text()

WELL = answer("200 OK")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that polls nothing by itself but what is registered, once an hour."""
    folder = tmp_path_factory.mktemp("endings")
    flags = ("--interval=3600", "--failures=1", "--max-retries=0", "--max-concurrent=2")
    with Service(folder / "data", *flags) as running:
        yield running


@pytest.fixture(scope="module")
def providers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Provider]]:
    """Providers that fail, each in its way."""
    context = self_signed(tmp_path_factory.mktemp("tls"))
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    deeds: dict[str, tuple[Deed, Any]] = {
        "reset": (reset, None),
        "tls": (WELL, context),
        "503": (answer("503 Busy"), None),
        "503 with a time": (answer("503 Busy", "Retry-After: 1800"), None),
        "429 with a time": (answer("429 Too Many Requests", "Retry-After: 3600"), None),
        "503 with a date": (answer("503 Busy", f"Retry-After: {in_an_hour}"), None),
        "429": (answer("429 Too Many Requests"), None),
        "404": (answer("404 Not Found"), None),
    }
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(Provider(deed, tls)) for name, (deed, tls) in deeds.items()
        }


def add(service: Service, *, space: str = "endings", **values: Any) -> RunningCharm:
    """Add a charm that is polled."""
    return service.add(ASKING, values=values, register=True, space=space)


def first_run(charm: RunningCharm) -> dict[str, Any]:
    """The record of its first poll."""
    # One whose provider is down has no line of its own in the log.
    runs: list[dict[str, Any]] = wait_until(charm.runs)
    return runs[-1]


@pytest.mark.parametrize(
    ("kind", "cause", "client"),
    [
        *(("refused", "down", client) for client in ("httpx2", "urllib", "asyncio")),
        *(("no name", "down", client) for client in ("httpx2", "urllib", "asyncio")),
        *(("reset", "down", client) for client in ("httpx2", "urllib")),
        *(("tls", "tls", client) for client in ("httpx2", "urllib")),
        *(("503", "down", client) for client in ("httpx2", "urllib")),
    ],
)
def test_provider_that_fails_costs_its_charm_nothing(
    service: Service, providers: dict[str, Provider], kind: str, cause: str, client: str
) -> None:
    """It waits for half a minute, with the host and the reason; nothing is a failure or stored."""
    urls = {"refused": refused_url(), "no name": f"http://{NO_HOST}/"}
    url = urls.get(kind) or providers[kind].url
    charm = add(service, url=url, client=client)
    run = first_run(charm)
    assert ("down", cause) == (run["status"], run["cause"])
    if cause == "tls":
        assert "TLS with localhost: self-signed certificate" == run["error"]
    view = charm.view()
    host = NO_HOST if kind == "no name" else "localhost"
    assert ("down", host) == (view["waiting"]["kind"], view["waiting"]["host"])
    assert 20 < view["waiting"]["until"] - run["finished_at"] < 31
    assert view["next_due"] == pytest.approx(view["waiting"]["until"], abs=1)
    assert (True, 0, 0, 1) == (
        view["enabled"],
        view["failures"],
        view["consecutive_failures"],
        view["downs"],
    )
    assert (0, 0) == (charm.show()["dead_letter_count"], charm.get("answers"))
    charm.remove()


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [
        ("429 with a time", 3590, 3601),
        ("503 with a time", 1790, 1801),
        ("503 with a date", 1800, 3601),
        ("429", 20, 31),
    ],
)
def test_provider_that_asks_for_patience_is_obeyed(
    service: Service, providers: dict[str, Provider], kind: str, least: float, most: float
) -> None:
    """Asked once, and not again before the time that it named; or before half a minute."""
    asked = providers[kind].asked
    charm = add(service, url=providers[kind].url)
    run = first_run(charm)
    view = charm.view()
    assert ("waiting", "wait") == (run["status"], run["cause"])
    assert least < view["waiting"]["until"] - run["finished_at"] < most
    assert (1, 0, 1) == (view["waits"], view["failures"], providers[kind].asked - asked)
    charm.remove()


def test_other_answers_are_failures(service: Service, providers: dict[str, Provider]) -> None:
    """A page that is not there is the charm's own business."""
    charm = add(service, url=providers["404"].url)
    run = first_run(charm)
    assert ("failure", "error") == (run["status"], run["cause"])
    assert "failures" == charm.view()["disabled_by"]
    charm.remove()


def test_charms_that_wait_for_a_host_are_one_line(service: Service) -> None:
    """The status names each host once, and the service is healthy; a run by hand passes."""
    charms = [add(service, ending="down", space=f"space {number % 2}") for number in range(3)]
    for charm in charms:
        first_run(charm)
    status = service.status()
    (line,) = [one for one in status["hosts_down"] if one["host"] == "api.example.org"]
    assert (3, True) == (line["charms"], status["healthy"])
    told = [line for line in service.lines if line.get("event") == "host"]
    assert 1 == sum(line["host"] == "api.example.org" for line in told)
    shown = service.cli("status").stdout
    assert 1 == shown.count("api.example.org is down since")
    charms[0].set("ending", "")
    assert "success" == charms[0].run()["status"]
    service.wait_for("host", host="api.example.org", change="up")
    # The other one of its space does not wait for its time.
    asked = len(charms[2].runs())
    wait_until(lambda: len(charms[2].runs()) > asked or charms[2].view()["downs"] > 1)
    for charm in charms:
        charm.remove()


def test_events_keep_their_place(service: Service, providers: dict[str, Provider]) -> None:
    """Those behind the one that waits wait too, and run in order when the provider is back."""
    provider = providers["503 with a time"]
    charm = service.add(ASKING, values={"url": provider.url})
    jobs = [charm.send(stream="add", number=number) for number in (1, 2, 3)]
    run = first_run(charm)
    assert ("waiting", f"{jobs[0]}.1") == (run["status"], run["run_id"])
    assert 3 == charm.show()["waiting_jobs"]
    provider.deed = WELL
    assert "success" == charm.run()["status"]
    for job in jobs:
        charm.wait_until_settled(job)
    assert [1, 2, 3] == charm.get("events")
    provider.deed = answer("503 Busy", "Retry-After: 1800")
    charm.remove()


def test_event_behind_one_that_was_taken_back_waits_on(service: Service) -> None:
    """Jobs say what they wait for; what is first in line now waits with its charm."""
    charm = service.add(ASKING, values={"ending": "down"})
    jobs = [charm.send(stream="add", number=number) for number in (1, 2)]
    space, charm_id = charm.ref.split("/")
    first_run(charm)

    def waiting() -> list[tuple[int, str]]:
        listed = service.request("GET", f"/api/jobs?charm={charm_id}&space={space}")
        return [(job["job_id"], job["waits_for"]) for job in listed["jobs"] if job["waits_for"]]

    is_down = "api.example.org is down"
    assert wait_until(lambda: waiting() == [(jobs[0], is_down), (jobs[1], "earlier event")])
    assert "api.example.org is down" in service.cli("jobs", "list").stdout
    service.request("POST", f"/api/jobs/{jobs[0]}/cancel")
    assert wait_until(lambda: waiting() == [(jobs[1], is_down)])
    charm.remove()


def test_times_that_are_set_end_no_waiting(service: Service) -> None:
    """An operator's schedule counts once what is waited for is over, also after a restart."""
    charm = add(service, ending="wait")
    first_run(charm)
    until = charm.view()["waiting"]["until"]
    for method, path, body in (
        ("PUT", "schedule", {"cron": "* * * * *"}),
        ("PUT", "interval", {"seconds": 5}),
        ("DELETE", "schedule", None),
    ):
        service.request(method, f"{charm.path}/{path}", body)
        view = charm.view()
        assert until == pytest.approx(view["waiting"]["until"], abs=1)
        assert until == pytest.approx(view["next_due"], abs=1)
    service.request("PUT", f"{charm.path}/schedule", {"cron": "* * * * *"})
    service.stop()
    service.start()
    assert until == pytest.approx(charm.view()["next_due"], abs=1)
    charm.remove()


def test_sign_in_is_waited_for(service: Service) -> None:
    """Red, with a link and a command; it runs again once its secret is set."""
    charm = add(service, ending="sign in")
    assert "sign_in" == first_run(charm)["status"]
    view = charm.view()
    assert (False, "sign_in", "https://accounts.example.org/oauth", None) == (
        view["enabled"],
        view["disabled_by"],
        view["waiting"]["url"],
        view["next_due"],
    )
    listed = service.request("GET", "/api/charms")["charms"]
    assert [charm.charm_id] == [
        one["charm_id"] for one in listed if one["disabled_by"] == "sign_in"
    ]
    shown = service.cli("charm", "show", charm.ref).stdout
    assert "Sign in again: the token was revoked" in " ".join(shown.split())
    assert "charm set" in shown
    charm.set("token", "renewed")
    charm.wait_for("run.succeeded")
    assert (True, None) == (charm.view()["enabled"], charm.view()["waiting"])
    charm.remove()


def test_sign_in_elsewhere_is_seen(service: Service) -> None:
    """A value that it has a link to is a credential too: what sets that lets it run."""
    account = service.add(
        "from bg_charm_service import Charm\n\n\nclass Account(Charm):\n    token: str = ''\n"
        "    other: int = 0\n\n    def forget(self, event: dict) -> None:\n        pass\n"
    )
    source = """
from bg_charm_service import Cell, Charm, SignInNeeded

class Reader(Charm):
    token: Cell[str]

    def bg_updater(self, event: dict) -> None:
        if not self.token.get():
            raise SignInNeeded("nobody is signed in", url="/login")
"""
    reader = service.add(source, register=True, links={"token": f"{account.ref}/token"})
    assert "sign_in" == first_run(reader)["status"]
    account.set("other", 1)
    assert "sign_in" == reader.view()["disabled_by"]
    account.set("token", "renewed")
    reader.wait_for("run.succeeded")
    assert reader.view()["enabled"]


def test_page_shows_who_waits(service: Service) -> None:
    """Each with its word, its reason and its link; whoever has to sign in under attention too."""
    charms = {ending: add(service, ending=ending) for ending in ("wait", "down", "sign in", "stop")}
    for charm in charms.values():
        first_run(charm)
    listed = service.page("/")
    for words in ("Sign in again", "Waiting until", "is down since", "Stopped"):
        assert words in listed
    assert 1 < listed.count("api.example.org")
    shown = {ending: service.page(f"/charms/{charm.ref}") for ending, charm in charms.items()}
    assert "the quota is used up" in shown["wait"]
    assert "events sent to it keep their place" in shown["down"]
    assert 'href="https://accounts.example.org/oauth"' in shown["sign in"]
    assert "Sign in at accounts.example.org" in shown["sign in"]
    assert "the parcel was delivered" in shown["stop"]
    assert "Sign in at accounts.example.org" in service.page("/attention")
    filtered = service.page("/?show=sign_in")
    assert charms["sign in"].charm_id in filtered
    assert charms["wait"].charm_id not in filtered
    for charm in charms.values():
        charm.remove()


def test_charm_that_is_done_stays_so(service: Service) -> None:
    """Until it is enabled, updated or registered anew; what is sent to it waits."""
    charm = add(service, ending="stop")
    assert "stopped" == first_run(charm)["status"]
    view = charm.view()
    assert ("stopped", "Stopped: the parcel was delivered") == (
        view["disabled_by"],
        view["status"],
    )
    job = charm.send(stream="add", number=1)
    charm.set("ending", "")
    assert "stopped" == charm.view()["disabled_by"]
    charm.post("enable")
    charm.wait_until_settled(job)
    assert [1] == charm.get("events")
    charm.remove()


def test_charm_names_its_next_run(service: Service) -> None:
    """A success that goes on: next in turn, or at the time that it names."""
    charm = add(service, ending="again at once")
    charm.wait_for("run.succeeded", times=5)
    assert 5 == charm.get("answers")
    later = add(service, ending="again")
    first_run(later)
    view = later.view()
    assert ("success", "again") == (later.runs()[0]["status"], view["waiting"]["kind"])
    assert view["next_due"] - time.time() == pytest.approx(5 * 3600, abs=60)
    for each in (charm, later):
        each.remove()


def test_waiting_outlives_the_service(service: Service) -> None:
    """What was named is obeyed after KILL and a new start; a command tells until when."""
    charm = add(service, ending="wait")
    first_run(charm)
    before = charm.view()["waiting"]
    service.kill()
    service.start()
    view = charm.view()
    assert before["until"] == pytest.approx(view["waiting"]["until"], abs=5)
    assert view["waiting"]["until"] == pytest.approx(view["next_due"], abs=1)
    assert ["waiting"] == [run["status"] for run in charm.runs()]
    listed = service.cli("charm", "list").stdout
    assert "Waiting until" in listed
    assert "the quota is used up" in listed
    charm.remove()


def test_database_has_no_rows_for_those_who_do_not_wait(service: Service) -> None:
    """What is over leaves nothing behind."""
    assert [] == [one for one in service.request("GET", "/api/charms")["charms"] if one["waiting"]]
    assert 0 == service.stop()
    with closing(sqlite3.connect(service.data_dir / DATABASE_NAME)) as connection:
        assert (0,) == connection.execute("SELECT count(*) FROM waits").fetchone()
