"""The charm that imports Google's calendars, in a real service, from a scripted server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.fakes.gcal_server import FakeCalendars
from tests.fakes.oauth_server import OAuthServer
from tests.process.program import wait_until
from tests.process.running import ROOT, RunningCharm, Service
from tests.process.test_sign_ins import set_client, sign_in

SOURCE = (ROOT / "charms" / "gcal_importer.py").read_text()

#: The same, which has room for a few events in a run, and signs in at a provider of tests.
SMALL = SOURCE.replace("MOST_KEYS = 18_000", "MOST_KEYS = 150").replace(
    'OAuth["google"', 'OAuth["fake"'
)


def imported(charm: RunningCharm) -> list[str]:
    """Its events in their order: when, and what; each time is there once."""
    found: list[Any] = []
    after: str | None = ""
    while after is not None:
        query = f"after={quote(after)}&limit=100"
        page = charm.service.request("GET", f"{charm.path}/items/events?{query}")
        found += [item["value"] for item in page["items"]]
        after = page["next"]
    names = [(one["uid"], one["recurrence_id"]) for one in found]
    assert len(names) == len(set(names))
    return [f"{one['start']} {one['summary']}" for one in found]


def test_a_service_that_is_killed_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Whenever that is: while calendars are read first, and when events come, change and go."""
    today = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0)
    expected: dict[str, list[str]] = {}

    def put(google: FakeCalendars, one: str, day: int, times: int, summary: str) -> None:
        """Put an event, or one for each of some days, and note what is to come of it."""
        start = today + timedelta(day)
        when = [{"dateTime": (start + timedelta(hours=hour)).isoformat()} for hour in (0, 1)]
        rule: dict[str, Any] = (
            {"recurrence": [f"RRULE:FREQ=DAILY;COUNT={times}"]} if times > 1 else {}
        )
        zone = {"timeZone": "UTC"}
        google.put(one, start=when[0] | zone, end=when[1] | zone, summary=summary, **rule)
        expected[one] = [
            f"{(start + timedelta(number)).isoformat()} {summary}" for number in range(times)
        ]

    with (
        FakeCalendars() as google,
        OAuthServer() as provider,
        Service(tmp_path / "data", "--interval=3600") as service,
    ):
        for number in range(30):
            put(google, f"e{number}", number, 1 + 5 * (number % 3), f"Event {number}")
        set_client(service, provider)
        charm = service.add(SMALL, values={"base": google.base})
        sign_in(service, provider)
        for number in range(2):
            # It may have nothing left to do by itself.
            service.later("POST", f"{charm.path}/run")
            charm.wait_for("run.succeeded")
            service.kill()
            google.cancel(f"e{number}")
            del expected[f"e{number}"]
            put(google, f"e{number + 10}", number, 2, "Other")
            put(google, f"new{number}", number, 3, "New")
            if number == 1:
                google.forget_tokens()
            service.start()
        wait_until(lambda: " so far" not in charm.get("progress"))
        while charm.run() and charm.get("goes_on"):
            pass
        assert sorted(one for times in expected.values() for one in times) == sorted(
            imported(charm)
        )
        assert service.count("run.failed") == 0
