"""The charm that imports Google's calendars keeps what they have, whatever fails in between."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import random
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from bg_charm_service import Charm, OAuth, ProviderDown, SignInNeeded, Wait
from bg_charm_service.sdk import http_client
from tests.fakes.gcal_server import FakeCalendars
from tests.fakes.http_server import NO_ANSWER, answer
from tests.fakes.wire import google_error
from tests.unit.little_room import LittleRoom

SOURCE = Path(__file__).parents[2] / "charms" / "gcal_importer.py"
ME = "me@example.org"

spec = importlib.util.spec_from_file_location("gcal_importer", SOURCE)
assert spec is not None
assert spec.loader is not None
importer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(importer)

ITEMS = ("events", "skipped", "sources")

#: What the tests take for today: the clocks of Europe change on 29 March, those of New York did.
TODAY = datetime(2026, 3, 20, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails is asked for again at once, and it is always the same day."""
    monkeypatch.setattr(http_client, "_PAUSES_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(importer, "datetime", _Clock)
    _Clock.today_is = TODAY


class _Clock(datetime):
    """A clock that stands still."""

    today_is = TODAY

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return cls.today_is.astimezone(tz)


@pytest.fixture
def google() -> Iterator[FakeCalendars]:
    """An account with one calendar, in Berlin."""
    with FakeCalendars() as google:
        yield google


def at(text: str, zone: str = "") -> dict[str, str]:
    """A time, or a day, as Google gives it."""
    if "T" not in text:
        return {"date": text}
    return {"dateTime": text, **({"timeZone": zone} if zone else {})}


def charm_for(google: FakeCalendars, **values: Any) -> Any:
    """A charm that is made by hand, for an account."""
    auth = values.pop("auth", OAuth("a token", user={"email": ME}))
    return importer.GcalImporter(auth=auth, base=google.base, **values)


def poll(charm: Any) -> bool:
    """Run it once as the service does; gives whether it asks to go on at once."""
    names = importer.GcalImporter.__annotations__
    before = {name: getattr(charm, name) for name in names}
    before["calendars"] = [one.model_copy() for one in charm.calendars]
    kept = {name: dict(before[name]._values) for name in ITEMS}
    with mock.patch.object(Charm, "again") as again:
        try:
            asyncio.run(charm.calendar_updater({}))
        except BaseException:
            # Nothing is stored of a run that did not succeed.
            for name, value in before.items():
                if name in ITEMS:
                    getattr(charm, name)._values = kept[name]
                elif name != "auth":
                    setattr(charm, name, value)
            raise
    return bool(again.called)


def sync(charm: Any) -> int:
    """Run it until it has no more to do; gives how many runs that took."""
    for runs in itertools.count(1):
        if not poll(charm):
            return runs
        assert runs < 100
    raise AssertionError


def kept(charm: Any) -> list[str]:
    """Its events in their order: when, and what."""
    found = [one for page in charm.events.pages() for one in page.values()]
    keys = [key for page in charm.sources.pages() for one in page.values() for key in one.keys]
    assert sorted(keys) == sorted(charm.events._values)
    return [f"{one.start} {one.end} {one.summary}" for one in found]


def same(charm: Any, google: FakeCalendars) -> bool:
    """Whether it has what one has that is new."""
    fresh = charm_for(google)
    google.before = lambda asked: None
    sync(fresh)
    whole = [{**charm.events._values}, {**fresh.events._values}]
    assert whole[1] == whole[0]
    assert fresh.skipped._values == charm.skipped._values
    return True


def test_a_series_with_exceptions(google: FakeCalendars) -> None:
    """Each time is an event; one was moved, one is cancelled, and the clocks change."""
    zone = "Europe/Berlin"
    one = google.put(
        start=at("2026-03-16T10:00:00+01:00", zone),
        end=at("2026-03-16T11:00:00+01:00", zone),
        recurrence=["RRULE:FREQ=WEEKLY;COUNT=5;BYDAY=MO"],
    )
    original = {"recurringEventId": one, "iCalUID": f"{one}@google.com"}
    google.put(
        f"{one}_20260323T090000Z",
        start=at("2026-03-24T15:00:00+01:00", zone),
        end=at("2026-03-24T16:00:00+01:00", zone),
        originalStartTime=at("2026-03-23T10:00:00+01:00", zone),
        summary="Moved",
        **original,
    )
    gone = google.put(
        f"{one}_20260406T080000Z",
        start=at("2026-04-06T10:00:00+02:00", zone),
        end=at("2026-04-06T11:00:00+02:00", zone),
        originalStartTime=at("2026-04-06T10:00:00+02:00", zone),
        **original,
    )
    google.cancel(gone)
    charm = charm_for(google)
    assert 1 == sync(charm)
    assert [
        f"2026-03-16T10:00:00+01:00 2026-03-16T11:00:00+01:00 Event {one}",
        "2026-03-24T15:00:00+01:00 2026-03-24T16:00:00+01:00 Moved",
        f"2026-03-30T10:00:00+02:00 2026-03-30T11:00:00+02:00 Event {one}",
        f"2026-04-13T10:00:00+02:00 2026-04-13T11:00:00+02:00 Event {one}",
    ] == kept(charm)
    assert "4 events of 1 calendar" == charm.progress
    google.cancel(one)
    sync(charm)
    assert [] == kept(charm)


def test_a_time_is_of_its_zone_whatever_offset_it_comes_with(google: FakeCalendars) -> None:
    """Google gives times on the clock of the calendar; a series counts on its own."""
    zone = "America/New_York"
    # 15:00 in New York on both days, an hour later in Berlin on the second.
    google.put(
        start=at("2026-03-23T20:00:00+01:00", zone),
        end=at("2026-03-23T21:00:00+01:00", zone),
        recurrence=["RRULE:FREQ=WEEKLY;COUNT=2"],
        summary="Call",
    )
    charm = charm_for(google)
    sync(charm)
    assert [
        "2026-03-23T15:00:00-04:00 2026-03-23T16:00:00-04:00 Call",
        "2026-03-30T15:00:00-04:00 2026-03-30T16:00:00-04:00 Call",
    ] == kept(charm)


def test_days_and_times_that_are_there_twice(google: FakeCalendars) -> None:
    """Days stay days; the second 02:30 of a night in autumn is no first one."""
    google.put(start=at("2026-03-21"), end=at("2026-03-23"), summary="Trip")
    google.put(
        start=at("2026-10-25T02:30:00+01:00", "Europe/Berlin"),
        end=at("2026-10-25T03:00:00+01:00", "Europe/Berlin"),
        summary="Night",
    )
    google.put(
        start=at("2026-03-27"),
        end=at("2026-03-28"),
        recurrence=["RRULE:FREQ=DAILY;UNTIL=20260329", "EXDATE;VALUE=DATE:20260328"],
        summary="Fast",
    )
    charm = charm_for(google)
    sync(charm)
    assert [
        "2026-03-21 2026-03-23 Trip",
        "2026-03-27 2026-03-28 Fast",
        "2026-03-29 2026-03-30 Fast",
        "2026-10-25T01:30:00+00:00 2026-10-25T02:00:00+00:00 Night",
    ] == kept(charm)


def test_of_an_event_what_people_read_is_kept(google: FakeCalendars) -> None:
    """Its answer, who asks, and its description without the marks of an editor."""
    google.put(
        start=at("2026-03-21T10:00:00+01:00"),
        end=at("2026-03-21T11:00:00+01:00"),
        description="<b>Bring</b> cake<br>and tea",
        location="Kitchen",
        status="tentative",
        organizer={"email": "you@example.org", "displayName": "You"},
        attendees=[{"email": ME, "self": True, "responseStatus": "declined"}],
    )
    charm = charm_for(google)
    sync(charm)
    (event,) = next(charm.events.pages()).values()
    assert ("Me", "Kitchen", "TENTATIVE", False) == (
        event.calendar,
        event.location,
        event.status,
        event.busy,
    )
    assert ("declined", "You", "Europe/Berlin") == (event.answer, event.organizer, event.zone)
    assert "**Bring** cake" in event.description
    assert "<" not in event.description


def fill(google: FakeCalendars) -> None:
    """Events of all kinds."""
    for day in range(1, 8):
        google.put(start=at(f"2026-04-0{day}"), end=at(f"2026-04-0{day + 1}"))
    google.put(
        "series",
        start=at("2026-03-16T10:00:00+01:00", "Europe/Berlin"),
        end=at("2026-03-16T11:00:00+01:00", "Europe/Berlin"),
        recurrence=["RRULE:FREQ=DAILY;COUNT=9"],
    )


def test_changes_are_followed_by_their_token(google: FakeCalendars) -> None:
    """All pages of them; a poll with nothing new is one request a calendar, and writes nothing."""
    fill(google)
    google.add_calendar("holidays#x@group.v.calendar.google.com", "Holidays")
    charm = charm_for(google)
    sync(charm)
    assert 16 == len(kept(charm))
    for day in range(1, 6):
        google.put(f"e{day}", start=at("2026-05-01"), end=at("2026-05-02"), summary="Other")
    google.cancel("e6")
    google.put(
        calendar="holidays#x@group.v.calendar.google.com",
        start=at("2026-12-25"),
        end=at("2026-12-26"),
    )
    sync(charm)
    assert same(charm, google)
    google.seen.clear()
    with mock.patch.object(type(charm.events), "__setitem__") as written:
        assert 1 == sync(charm)
    assert 3 == len(google.seen)
    assert not written.called


def test_a_token_that_is_gone_lists_all_again(google: FakeCalendars) -> None:
    """Nothing is lost, nothing doubled, and what went meanwhile goes."""
    fill(google)
    charm = charm_for(google)
    sync(charm)
    google.cancel("e1")
    google.cancel("series")
    google.put("e2", start=at("2026-05-01"), end=at("2026-05-02"))
    google.put("new", start=at("2026-05-01"), end=at("2026-05-02"))
    # What is cancelled is told to nobody who comes later.
    del google.events[ME]["e1"], google.events[ME]["series"]
    google.forget_tokens()
    sync(charm)
    assert 7 == len(kept(charm))
    assert same(charm, google)


def test_a_page_that_is_known_no_more(google: FakeCalendars) -> None:
    """The list begins anew, and is whole."""
    fill(google)
    pages = itertools.count()

    def before(asked: str) -> None:
        if asked == ME and next(pages) == 1:
            google.forget_tokens()
            del google.events[ME]["e1"]

    charm = charm_for(google)
    google.before = before
    sync(charm)
    assert 15 == len(kept(charm))
    assert same(charm, google)


def test_it_goes_on_where_a_run_had_no_more_room(google: FakeCalendars) -> None:
    """Also in the middle of a page, and says how far it is."""
    fill(google)
    google.page_size = 100
    google.add_calendar("other", "Other")
    charm = charm_for(google)
    with mock.patch.object(Charm, "context", LittleRoom(2)):
        assert poll(charm)
        assert charm.progress.endswith("events so far, 0 of 2 calendars")
        assert 0 < len(kept(charm)) < 16
        sync(charm)
    assert same(charm, google)


def test_to_look_at_what_has_not_changed_takes_room_too(google: FakeCalendars) -> None:
    """There may be more series than one run can look at."""
    fill(google)
    charm = charm_for(google)
    sync(charm)
    google.forget_tokens()
    swept = set()
    with mock.patch.object(Charm, "context", LittleRoom(0)):
        while poll(charm):
            swept.add(charm.calendars[0].swept)
    assert swept >= {None, *charm.sources.first(2)}
    assert same(charm, google)


def test_one_that_cannot_be_read_is_named(google: FakeCalendars) -> None:
    """The others are there, and it is once it can be read."""
    fill(google)
    google.put("odd", start=at("2026-03-21T10:00:00+01:00", "Mars/Base"), end=at("soon"))
    google.put(
        "rule",
        start=at("2026-03-21T10:00:00+01:00", "Mars/Base"),
        end=at("2026-03-21T11:00:00+01:00", "Mars/Base"),
        recurrence=["RRULE:FREQ=DAILY"],
    )
    charm = charm_for(google)
    sync(charm)
    assert "16 events of 1 calendar, 2 cannot be read" == charm.progress
    assert any("Event rule: its zone 'Mars/Base'" in why for why in charm.skipped._values.values())
    google.put("odd", start=at("2026-03-21"), end=at("2026-03-22"))
    google.cancel("rule")
    sync(charm)
    assert not charm.skipped
    assert same(charm, google)


def test_a_calendar_that_is_refused_holds_up_no_other(google: FakeCalendars) -> None:
    """It is named; one that is taken out is let go with its events."""
    fill(google)
    google.add_calendar("other", "Other")
    google.put(calendar="other", start=at("2026-05-01"), end=at("2026-05-02"))
    google.faults["other"] = [google_error(403, "forbidden")]
    charm = charm_for(google)
    sync(charm)
    (why,) = charm.skipped._values.values()
    assert "Other: Google refuses with 403: about forbidden" == why
    assert 16 == len(kept(charm))
    sync(charm)
    assert 17 == len(kept(charm))
    assert not charm.skipped
    del google.calendars["other"]
    sync(charm)
    assert 16 == len(kept(charm))
    assert same(charm, google)


def test_only_some_calendars(google: FakeCalendars) -> None:
    """By their names; one that there is not is told with those that there are."""
    fill(google)
    google.add_calendar("other", "Other")
    google.put(calendar="other", start=at("2026-05-01"), end=at("2026-05-02"))
    charm = charm_for(google, only=["Other"])
    sync(charm)
    assert 1 == len(kept(charm))
    charm.only = ["Othre"]
    with pytest.raises(ValueError, match="no calendar 'Othre'; there are: Me, Other"):
        poll(charm)


def test_the_window_moves_on_by_itself(google: FakeCalendars) -> None:
    """Nothing is asked for that; what is to come comes in, and what is over goes."""
    google.put(
        start=at("2026-01-05T10:00:00+01:00", "Europe/Berlin"),
        end=at("2026-01-05T11:00:00+01:00", "Europe/Berlin"),
        recurrence=["RRULE:FREQ=WEEKLY"],
    )
    google.put(start=at("2026-03-10"), end=at("2026-03-11"), summary="Once")
    charm = charm_for(google, days_back=14, days_ahead=14)
    sync(charm)
    assert ["2026-03-09", "2026-03-10", "2026-03-16", "2026-03-23", "2026-03-30"] == [
        one[:10] for one in kept(charm)
    ]
    _Clock.today_is = TODAY + timedelta(14)
    sync(charm)
    assert ["2026-03-23", "2026-03-30", "2026-04-06", "2026-04-13"] == [
        one[:10] for one in kept(charm)
    ]
    # What was let go is listed again where more is wanted.
    charm.days_back = 30
    sync(charm)
    assert "2026-03-10 2026-03-11 Once" in kept(charm)


@pytest.mark.parametrize(
    ("fault", "ending", "told"),
    [
        (answer(429, retry_after=60), Wait, "answered 429"),
        (google_error(403, "rateLimitExceeded", "usageLimits"), Wait, "a limit"),
        (google_error(403, "accessNotConfigured", "usageLimits"), Wait, "is not switched on"),
        (answer(500), ProviderDown, "answered 500"),
        (answer(401), SignInNeeded, "answered 401"),
    ],
)
def test_what_holds_it_up_is_how_the_run_ends(
    google: FakeCalendars, fault: Any, ending: type[Exception], told: str
) -> None:
    """In the middle of pages what was read is kept, and later all is there."""
    from dataclasses import replace

    from bg_charm_service.domain.web.provider_limits import PROVIDERS

    fill(google)
    charm = charm_for(google)
    words = (replace(PROVIDERS[0], hosts=("127.0.0.1",)),)
    with mock.patch("bg_charm_service.domain.web.provider_limits.PROVIDERS", words):
        google.faults[ME] = [FakeCalendars._events(google, ME, {}), *[fault] * 9]
        assert poll(charm)
        assert kept(charm)
        with pytest.raises(ending, match=told):
            poll(charm)
        google.faults.clear()
        sync(charm)
    assert same(charm, google)


def test_a_box_that_was_not_ticked_is_told(google: FakeCalendars) -> None:
    """Google lets a person leave out what was asked for."""
    charm = charm_for(google, auth=OAuth("a token", scopes=("openid", "email")))
    with pytest.raises(SignInNeeded, match="tick the box for calendars"):
        poll(charm)
    assert not google.seen


#: What a run of the charm is told of its hook.
HOOK_URL = "https://hooks.example.org/hook/an-address"


def test_google_is_asked_to_tell_of_changes(google: FakeCalendars) -> None:
    """Once the secret is stored, a channel for each calendar; anew before its end, or elsewhere."""
    google.add_calendar("work", "Work")
    google.clock = lambda: _Clock.today_is.timestamp()
    charm, url = charm_for(google), [HOOK_URL]
    with mock.patch.object(importer.GcalImporter, "hook_url", side_effect=lambda stream: url[0]):
        assert poll(charm)
        assert ({}, 43) == (google.channels, len(charm.channel_secret))
        assert 1 == sync(charm)
        first = dict(google.channels)
        assert {"me@example.org", "work"} == {one["calendar"] for one in first.values()}
        for one in first.values():
            assert (HOOK_URL, charm.channel_secret) == (one["address"], one["token"])
            assert {"ttl": "604800"} == one["params"]
        _Clock.today_is += timedelta(days=5)
        sync(charm)
        assert first == google.channels
        _Clock.today_is += timedelta(days=1, hours=1)
        sync(charm)
        second = dict(google.channels)
        assert (2, set()) == (len(second), first.keys() & second.keys())
        url[0] = "https://hooks.example.org/hook/another-address"
        sync(charm)
        assert (2, set()) == (len(google.channels), second.keys() & google.channels.keys())
        assert {url[0]} == {one["address"] for one in google.channels.values()}


@pytest.mark.parametrize("url", [None, "http://127.0.0.1:8100/hook/an-address"])
def test_google_is_asked_for_nothing_where_it_cannot_come(
    google: FakeCalendars, url: str | None
) -> None:
    """It speaks to https alone, and to nobody where the service takes nothing from outside."""
    charm = charm_for(google)
    with mock.patch.object(importer.GcalImporter, "hook_url", return_value=url):
        assert 1 == sync(charm)
    assert ("", {}) == (charm.channel_secret, google.channels)


def test_a_calendar_is_polled_where_google_tells_nothing(
    google: FakeCalendars, caplog: pytest.LogCaptureFixture
) -> None:
    """What it says is in the log, and it is asked again the next day."""
    google.tells_nobody = True
    google.put(start=at("2026-04-01"), end=at("2026-04-02"))
    charm = charm_for(google)
    with mock.patch.object(importer.GcalImporter, "hook_url", return_value=HOOK_URL):
        sync(charm)
        sync(charm)
        [told] = caplog.messages
        assert "does not tell of changes of Me" in told
        assert 1 == len(kept(charm))
        google.tells_nobody = False
        _Clock.today_is += timedelta(days=1, hours=1)
        sync(charm)
    assert 1 == len(google.channels)


def test_another_account_is_read_anew(google: FakeCalendars) -> None:
    """Nothing of the one before stays."""
    fill(google)
    charm = charm_for(google)
    sync(charm)
    with FakeCalendars() as other:
        other.put(start=at("2026-05-01"), end=at("2026-05-02"), summary="Another's")
        charm.base = other.base
        with mock.patch.object(importer, "PORTION", 5):
            sync(charm)
        assert ["2026-05-01 2026-05-02 Another's"] == kept(charm)
        assert same(charm, other)


@pytest.mark.parametrize("seed", range(10))
def test_whatever_happens_it_has_what_one_has_that_is_new(seed: int) -> None:
    """Also when it happens between two requests, and after faults, which leave it as it was."""
    chance = random.Random(seed)
    with FakeCalendars() as google, mock.patch.object(Charm, "context", LittleRoom(5)):
        google.add_calendar("other", "Other", "America/New_York")

        def before(asked: str) -> None:
            if chance.random() < 0.1:
                happen(google, chance)

        charm = charm_for(google)
        for _ in range(chance.randint(1, 8)):
            for _ in range(chance.randint(1, 5)):
                happen(google, chance)
            if chance.random() < 0.5:
                fault = chance.choice([answer(429), answer(500), NO_ANSWER])
                google.faults[chance.choice([ME, "calendarList"])] = [fault] * 4
            google.before = before
            with suppress(ProviderDown, Wait):
                poll(charm)
            google.before = lambda asked: None
        google.faults.clear()
        sync(charm)
        sync(charm)
        kept(charm)
        assert same(charm, google)


def happen(google: FakeCalendars, chance: random.Random) -> None:
    """Let something happen to some event."""
    calendar = chance.choice(list(google.calendars))
    there = [one for one, event in google.events[calendar].items() if "start" in event]
    series = [one for one in there if "recurrence" in google.events[calendar][one]]
    start = datetime(2026, 3, chance.randint(10, 28), 10, tzinfo=UTC)
    when: dict[str, Any] = {"start": at(start.isoformat(), "Europe/Berlin")}
    when["end"] = at((start + timedelta(hours=1)).isoformat(), "Europe/Berlin")
    match chance.choice(["put", "series", "exception", "exception", "cancel", "forget", "change"]):
        case "put":
            google.put(calendar=calendar, **when)
        case "series":
            rule = f"RRULE:FREQ=DAILY;COUNT={chance.randint(2, 6)}"
            google.put(calendar=calendar, recurrence=[rule], **when)
        case "exception" if series:
            one = chance.choice(series)
            first = datetime.fromisoformat(google.events[calendar][one]["start"]["dateTime"])
            at_first = first + timedelta(days=chance.randint(0, 5))
            name = f"{one}_{at_first:%Y%m%dT%H%M%SZ}"
            original = at(at_first.isoformat(), "Europe/Berlin")
            google.put(name, calendar, recurringEventId=one, originalStartTime=original, **when)
            if chance.random() < 0.4:
                google.cancel(name, calendar)
        case "cancel" if there:
            google.cancel(chance.choice(there), calendar)
        case "change" if there:
            one = chance.choice(there)
            google.put(
                **{
                    **google.events[calendar][one],
                    "one": one,
                    "calendar": calendar,
                    "summary": f"Other {chance.randint(0, 9)}",
                }
            )
        case "forget":
            google.forget_tokens()
