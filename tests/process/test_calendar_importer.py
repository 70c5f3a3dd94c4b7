"""The importer of calendars in a running service, against real servers of CalDAV.

What is stored is compared with what the server has, each time. Servers of tests/real_servers.py;
without them the tests skip.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bg_charm_service import calendar_events
from tests.process.program import wait_until
from tests.process.running import ROOT, RunningCharm, Service
from tests.real_servers import RealServer, radicale, xandikos

IMPORTER = (ROOT / "charms" / "calendar_importer.py").read_text()

#: A day in the window of a charm that runs today, and not near its ends.
DAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=10)
NAMES = ("one", "series", "days", "odd", "todo")


def item(name: str, *parts: str, kind: str = "VEVENT") -> str:
    """An item of a calendar, of a component for each part."""
    inner = "".join(
        f"BEGIN:{kind}\nUID:{name}\nDTSTAMP:20260101T000000Z\nSUMMARY:{name}\n{part}\nEND:{kind}\n"
        for part in parts
    )
    text = f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//tests//EN\n{inner}END:VCALENDAR\n"
    return text.replace("\n", "\r\n")


ITEMS = {
    "one": item("one", f"DTSTART:{DAY:%Y%m%d}T100000Z\nDURATION:PT1H"),
    "series": item(
        "series",
        f"DTSTART;TZID=Europe/Berlin:{DAY:%Y%m%d}T100000\nRRULE:FREQ=DAILY;COUNT=5",
        f"RECURRENCE-ID;TZID=Europe/Berlin:{DAY + timedelta(1):%Y%m%d}T100000\n"
        f"DTSTART:{DAY:%Y%m%d}T200000Z\nLOCATION:elsewhere",
    ),
    "days": item("days", f"DTSTART;VALUE=DATE:{DAY:%Y%m%d}"),
    "odd": item("odd", f"DTSTART:{DAY:%Y%m%d}T100000Z\nDTEND:{DAY:%Y%m%d}T090000Z"),
    "todo": item("todo", f"DTSTART:{DAY:%Y%m%d}T100000Z", kind="VTODO"),
}


class Calendar:
    """A calendar on a server, as another program sees it."""

    def __init__(self, running: RealServer, client: httpx2.Client) -> None:
        self.url, self._client = running.url, client

    def put(self, name: str, text: str) -> None:
        """Write an item."""
        headers = {"Content-Type": "text/calendar"}
        self._client.put(f"{self.url}{name}.ics", content=text, headers=headers).raise_for_status()

    def remove(self, name: str) -> None:
        """Delete an item."""
        self._client.delete(f"{self.url}{name}.ics").raise_for_status()

    def has(self, *names: str) -> list[tuple[str, str, str]]:
        """What takes place by the items of these names: summary, start and name of the time."""
        window = (DAY - timedelta(20), DAY + timedelta(200))
        texts = [self._client.get(f"{self.url}{name}.ics").raise_for_status() for name in names]
        found = [one for text in texts for one in calendar_events(text.content, *window).events]
        return sorted((one.summary, one.start.isoformat(), one.recurrence_id) for one in found)


@pytest.fixture(params=[radicale, xandikos])
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RealServer]:
    """A server with an empty calendar."""
    folder = tmp_path / "server"
    folder.mkdir()
    with request.param(folder) as server:
        yield server


@pytest.fixture
def calendar(running: RealServer) -> Iterator[Calendar]:
    """A calendar with items of each kind."""
    with httpx2.Client(auth=("me", "any")) as client:
        found = Calendar(running, client)
        for name, text in ITEMS.items():
            found.put(name, text)
        yield found


def stored(charm: RunningCharm, field: str = "events") -> dict[str, Any]:
    """The items of a collection."""
    answer = charm.service.request("GET", f"{charm.path}/items/{field}?limit=1000")
    return {one["key"]: one["value"] for one in answer["items"]}


def events(charm: RunningCharm) -> list[tuple[str, str, str]]:
    """What the charm has of events."""
    return sorted(
        (one["summary"], one["start"], one["recurrence_id"]) for one in stored(charm).values()
    )


def poll(charm: RunningCharm) -> dict[str, Any]:
    """Have it look once."""
    run = charm.perform()
    assert "success" == run["status"], run
    return run


def test_a_calendar_is_kept_as_its_server_has_it(
    running: RealServer, calendar: Calendar, tmp_path: Path
) -> None:
    """First sync, a poll with nothing new, changes, deletions, a dead token, an outage, kill -9."""
    flags = ("--interval=3600", "--sandbox=require", f"--charm-network={running.port},9")
    with Service(tmp_path / "data", *flags) as service:
        values = {"url": f"http://127.0.0.1:{running.port}/", "user": "me", "password": "any"}
        charm = service.add(IMPORTER, values=values)
        poll(charm)
        assert calendar.has("one", "series", "days") == events(charm)
        assert 7 == len(events(charm))
        (skipped,) = stored(charm, "skipped").values()
        assert "odd: it ends before it begins" == skipped

        quiet = poll(charm)
        assert ([], ["REPORT"]) == (quiet["writes"], [one["method"] for one in quiet["requests"]])

        calendar.put("one", ITEMS["one"].replace("T100000Z", "T110000Z"))
        calendar.put("new", item("new", f"DTSTART:{DAY:%Y%m%d}T120000Z"))
        calendar.put("odd", ITEMS["odd"].replace("T090000Z", "T110000Z"))
        calendar.remove("series")
        poll(charm)
        assert calendar.has("one", "new", "days", "odd") == events(charm)
        assert {} == stored(charm, "skipped")

        calendar.remove("new")
        calendar.put("days", ITEMS["days"].replace("SUMMARY:days", "SUMMARY:holiday"))
        (followed,) = charm.get("calendars")
        charm.set("calendars", [{**followed, "token": "http://example.org/nobodys"}])
        poll(charm)
        assert calendar.has("one", "days", "odd") == events(charm)

        charm.set("url", "http://127.0.0.1:9/")
        ended = charm.run()
        assert "down" == ended["status"], ended
        assert calendar.has("one", "days", "odd") == events(charm)
        charm.set("url", values["url"])
        assert "success" == charm.run()["status"]

        for name in ("later", "last"):
            calendar.put(
                name, item(name, f"DTSTART:{DAY:%Y%m%d}T130000Z\nRRULE:FREQ=DAILY;COUNT=9")
            )
            job = charm.send()
            service.kill()
            service.start()
            charm.wait_until_settled(job)
        assert calendar.has("one", "days", "odd", "later", "last") == events(charm)


#: The same, which notes and fetches a few items in a run: a first sync takes many.
SMALL = IMPORTER.replace("PORTION = 50", "PORTION = 4").replace("NOTED = 6000", "NOTED = 8")


def test_a_first_sync_that_is_killed_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """KILL of the service, and of its workers, in the middle of it, while the calendar changes."""
    folder = tmp_path / "server"
    folder.mkdir()
    with radicale(folder) as running, httpx2.Client(auth=("me", "any")) as client:
        calendar = Calendar(running, client)
        kept = folder / "collection-root" / "me" / "work"
        names = [f"n{number:02}" for number in range(60)]
        for name in names:
            text = item(name, f"DTSTART:{DAY:%Y%m%d}T100000Z\nRRULE:FREQ=DAILY;COUNT=2")
            (kept / f"{name}.ics").write_text(text, newline="")
        flags = ("--interval=3600", "--max-retries=9", f"--charm-network={running.port}")
        with Service(tmp_path / "data", *flags) as service:
            values = {"url": running.url, "user": "me", "password": "any"}
            charm = service.add(SMALL, values=values, register=True)
            for number in range(4):
                charm.wait_for("run.succeeded")
                if number % 2:
                    for pid in service.worker_pids():
                        os.kill(pid, signal.SIGKILL)
                else:
                    service.kill()
                calendar.remove(names.pop())
                names.append(f"new{number}")
                calendar.put(names[-1], item(names[-1], f"DTSTART:{DAY:%Y%m%d}T120000Z"))
                if not number % 2:
                    service.start()
            wait_until(lambda: 0 == charm.get("left") and charm.get("calendars")[0]["token"])
            poll(charm)
            assert calendar.has(*names) == events(charm)
            assert len(names) == len(stored(charm, "sources")) == len(stored(charm, "etags"))
