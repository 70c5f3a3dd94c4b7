"""The importer of calendars that ships with the service, against scripted servers.

Real ones are in tests/process/test_calendar_importer.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import httpx2
import pytest

from bg_charm_service import Items, ProviderDown, SignInNeeded, Stop, Wait
from bg_charm_service.sdk import http_client
from bg_charm_service.workers.runtime.charm_binding import load_class
from tests.fakes.http_server import Answer, FakeServer, Seen, answer
from tests.fakes.wire import XML, dav_error, multistatus
from tests.unit.little_room import LittleRoom

SOURCE = Path(__file__).parents[2] / "charms" / "calendar_importer.py"

CalendarImporter: type[Any] = load_class(SOURCE.read_text(), SOURCE.name)

#: A day in the window of a charm that runs today.
DAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=10)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """A server of calendars."""
    monkeypatch.setattr(http_client, "_PAUSES_SECONDS", (0.0, 0.0))
    with FakeServer() as found:
        yield found


def event(uid: str, lines: str = "", day: datetime = DAY) -> str:
    """An event at ten o'clock of a day."""
    return (
        f"BEGIN:VEVENT\nUID:{uid}\nSUMMARY:{uid}\nDTSTART:{day:%Y%m%d}T100000Z\n{lines}END:VEVENT\n"
    )


def calendar(*events: str, head: str = "") -> str:
    """A calendar of events."""
    return f"BEGIN:VCALENDAR\nVERSION:2.0\n{head}{''.join(events)}END:VCALENDAR\n"


def poll(charm: Any) -> None:
    """Have it look once."""
    asyncio.run(charm.bg_updater({}))


def summaries(charm: Any) -> list[str]:
    """What it has, in the order of its keys."""
    (*pages,) = charm.events.pages(1000)
    return [one.summary for page in pages for one in page.values()]


def skipped(charm: Any) -> list[str]:
    """What it could not read."""
    return [reason for page in charm.skipped.pages(1000) for reason in page.values()]


# One address.


def test_a_file_is_kept_as_it_is(server: FakeServer) -> None:
    """What came, changed and went; a copy that has not changed is not sent again."""
    first = calendar(
        event("a"), event("b", "LOCATION:here\n"), event("c", "DURATION:1H\n"), head="NAME:Work\n"
    )
    second = calendar(event("b", "LOCATION:there\n"), event("d"))
    answers = iter([answer(200, first, ETag='"1"'), answer(304), answer(200, second)])
    server.on("/work.ics", lambda _: next(answers))
    charm = CalendarImporter(url=f"{server.url}/work.ics")
    poll(charm)
    assert ["a", "b"] == sorted(summaries(charm))
    assert ["c: '1H' is no duration"] == skipped(charm)
    assert ["Work"] == [one.name for one in charm.calendars]
    poll(charm)
    assert ["a", "b"] == sorted(summaries(charm))
    poll(charm)
    assert ["b", "d"] == sorted(summaries(charm))
    assert {"", "there"} == {one.location for page in charm.events.pages() for one in page.values()}
    assert [] == skipped(charm)
    asked = [seen.headers.get("if-none-match") for seen in server.asked("/work.ics")]
    assert [None, '"1"', '"1"'] == asked
    assert {"GET"} == {seen.method for seen in server.seen}


def test_another_window_is_read_anew(server: FakeServer) -> None:
    """Without asking whether the file has changed; what is outside now is gone."""
    text = calendar(event("near"), event("far", day=DAY + timedelta(days=300)))
    server.on("/work.ics", answer(200, text, ETag='"1"'))
    charm = CalendarImporter(url=f"{server.url}/work.ics")
    poll(charm)
    assert ["near", "far"] == summaries(charm)
    charm.days_ahead = 20
    poll(charm)
    assert ["near"] == summaries(charm)
    assert [None, None] == [seen.headers.get("if-none-match") for seen in server.seen]


def test_another_address_is_another_calendar(server: FakeServer) -> None:
    """Nothing of the one before stays."""
    server.on("/a.ics", answer(200, calendar(event("a")), ETag='"1"'))
    server.on("/b.ics", answer(200, calendar(event("b")), ETag='"1"'))
    charm = CalendarImporter(url=f"{server.url}/a.ics")
    poll(charm)
    charm.url = f"{server.url}/b.ics"
    poll(charm)
    assert ["b"] == summaries(charm)


@pytest.mark.parametrize(
    ("found", "error", "why"),
    [
        (answer(200, "<html>Sign in</html>"), ValueError, "work.ics is a web page.*for CalDAV"),
        (
            answer(200, '<a href="/a.ics?x=1&amp;y"><a href=webcal://b/c><a href="/d">'),
            ValueError,
            r"links to these: http://127.0.0.1:\d+/a.ics\?x=1&y, webcal://b/c$",
        ),
        (answer(200, "Sign in"), ValueError, "work.ics is no calendar"),
        (answer(200, calendar(event("a"))[:-20]), ValueError, "cut off"),
        (answer(404), httpx2.HTTPStatusError, "404"),
        (answer(401), SignInNeeded, "work.ics"),
        (answer(410), Stop, "work.ics is gone for good"),
        (answer(502), ProviderDown, "502"),
    ],
)
def test_what_is_no_answer_changes_nothing(
    server: FakeServer, found: Answer, error: type[Exception], why: str
) -> None:
    """It is an error that says where; what was there stays."""
    answers = [answer(200, calendar(event("a"))), *[found] * 3]
    server.on("/work.ics", lambda _: answers.pop(0))
    charm = CalendarImporter(url=f"{server.url}/work.ics")
    poll(charm)
    with pytest.raises(error, match=why):
        poll(charm)
    assert ["a"] == summaries(charm)


def test_an_address_without_caldav_is_a_file(server: FakeServer) -> None:
    """Whatever its name; who it is said to be is asked once."""
    server.on(
        "/export", lambda seen: answer(200 if seen.method == "GET" else 405, calendar(event("a")))
    )
    server.on("/.well-known/caldav", answer(404))
    charm = CalendarImporter(url=f"{server.url}/export")
    poll(charm)
    poll(charm)
    assert ["a"] == summaries(charm)
    assert ["PROPFIND", "PROPFIND", "GET", "GET"] == [seen.method for seen in server.seen]


# An account.


def found(*responses: str) -> Answer:
    """An answer of WebDAV about addresses."""
    body = (
        '<?xml version="1.0"?><d:multistatus xmlns:d="DAV:" '
        f'xmlns:c="urn:ietf:params:xml:ns:caldav">{"".join(responses)}</d:multistatus>'
    )
    return answer(207, body, content_type=XML)


def place(href: str, inner: str) -> str:
    """What is said of an address."""
    return (
        f"<d:response><d:href>{href}</d:href><d:propstat><d:prop>{inner}</d:prop>"
        "<d:status>HTTP/1.1 200 OK</d:status></d:propstat><d:propstat><d:prop><d:owner/></d:prop>"
        "<d:status>HTTP/1.1 404 Not Found</d:status></d:propstat></d:response>"
    )


def named(href: str, name: str, kind: str = "VEVENT") -> str:
    """A calendar."""
    return place(
        href,
        f"<d:resourcetype><d:collection/><c:calendar/></d:resourcetype><d:displayname>{name}"
        f'</d:displayname><c:supported-calendar-component-set><c:comp name="{kind}"/>'
        "</c:supported-calendar-component-set>",
    )


PRINCIPAL = "<d:current-user-principal><d:href>/me/</d:href></d:current-user-principal>"
HOME = "<c:calendar-home-set><d:href>/home/</d:href></c:calendar-home-set>"


class Account:
    """A person's calendars on a scripted server: their items by path, each an etag and a text."""

    def __init__(self, server: FakeServer) -> None:
        self.server = server
        self.items: dict[str, tuple[str, str]] = {}
        self.calendars = {"/home/work/": "Work", "/home/my%20own/": "Own"}
        self.broken: set[str] = set()
        server.on("/", found(place("/", PRINCIPAL)))
        server.on("/me/", found(place("/me/", HOME)))
        server.on("/home/", lambda _: found(*self._listed(), named("/home/tasks/", "T", "VTODO")))
        for path in self.calendars:
            server.on(path, self._served)

    def _listed(self) -> list[str]:
        return [named(path, name) for path, name in self.calendars.items()]

    def _served(self, seen: Seen) -> Answer:
        path = seen.path.partition("?")[0]
        if path not in self.calendars:
            return answer(404)
        mine = {name: item for name, item in self.items.items() if name.startswith(path)}
        if b"multiget" in seen.body:
            asked = {name: item for name, item in mine.items() if name.encode() in seen.body}
            etags: dict[str, str | int] = {
                name: 500 if name in self.broken else etag for name, (etag, _) in asked.items()
            }
            return multistatus(etags, texts={name: text for name, (_, text) in asked.items()})
        if b"sync-collection" in seen.body:
            return dav_error(403, "supported-report")
        return multistatus({name: etag for name, (etag, _) in mine.items()})

    def charm(self, **values: Any) -> Any:
        """An importer of it."""
        return CalendarImporter(url=f"{self.server.url}/", user="me", password="x", **values)


@pytest.fixture
def account(server: FakeServer) -> Account:
    """An account with an event in each of two calendars."""
    made = Account(server)
    made.items["/home/work/a.ics"] = ("1", calendar(event("a")))
    made.items["/home/my%20own/b.ics"] = ("1", calendar(event("b")))
    return made


def test_all_calendars_of_an_account_are_followed(account: Account) -> None:
    """From the address of its server; those of tasks are left out, and who asks is signed in."""
    charm = account.charm()
    poll(charm)
    assert [("Own", "b"), ("Work", "a")] == sorted(
        (one.calendar, one.summary) for page in charm.events.pages() for one in page.values()
    )
    assert all("authorization" in seen.headers for seen in account.server.seen)
    assert 0 == charm.left
    account.items["/home/work/a.ics"] = ("2", calendar(event("a2")))
    del account.items["/home/my%20own/b.ics"]
    poll(charm)
    assert ["a2"] == summaries(charm)


def test_a_calendar_that_is_gone_takes_its_events(account: Account) -> None:
    """The others are still there."""
    charm = account.charm()
    poll(charm)
    del account.calendars["/home/work/"]
    poll(charm)
    assert ["b"] == summaries(charm)
    assert ["Own"] == [one.name for one in charm.calendars]


def test_calendars_may_be_chosen(account: Account) -> None:
    """By their names; one that there is not is said with those that there are."""
    charm = account.charm(only=["Own"])
    poll(charm)
    assert ["b"] == summaries(charm)
    charm.only = ["Private"]
    with pytest.raises(ValueError, match="no calendar 'Private'; there are: Own, Work"):
        poll(charm)


def test_one_item_that_cannot_be_had_costs_itself(account: Account) -> None:
    """It is named, and asked for again with another window; so is one that is no calendar."""
    account.items["/home/work/c.ics"] = ("1", "<html>")
    account.broken = {"/home/work/a.ics"}
    charm = account.charm()
    poll(charm)
    assert ["b"] == summaries(charm)
    assert [
        "/home/work/a.ics: its server could not give it",
        "/home/work/c.ics: it is no calendar: it does not begin with BEGIN:VCALENDAR",
    ] == skipped(charm)
    account.broken = set()
    charm.days_ahead = 30
    poll(charm)
    assert ["a", "b"] == sorted(summaries(charm))
    assert 1 == len(skipped(charm))


def test_a_window_moves_without_asking_for_items(account: Account) -> None:
    """What comes into it is worked out from what is here; of a long text nothing is kept."""
    series = event("s", "RRULE:FREQ=WEEKLY\n")
    account.items["/home/work/a.ics"] = ("1", calendar(series))
    long = event("long", f"DESCRIPTION:{'x' * 300_000}\nRRULE:FREQ=WEEKLY;COUNT=8\n")
    account.items["/home/my%20own/b.ics"] = ("1", calendar(long))
    charm = account.charm(days_ahead=18)
    poll(charm)
    assert ["long", "long", "s", "s"] == sorted(summaries(charm))
    charm.days_ahead = 25
    account.server.seen.clear()
    poll(charm)
    assert ["long", "long", "long", "s", "s", "s"] == sorted(summaries(charm))
    fetched = [seen.body for seen in account.server.seen if b"multiget" in seen.body]
    assert ["b.ics"] == [name for name in ("a.ics", "b.ics") if name.encode() in b"".join(fetched)]
    charm.days_ahead = 11
    poll(charm)
    assert ["long", "s"] == sorted(summaries(charm))
    (*pages,) = charm.events.pages()
    assert 1000 == max(len(one.description) for page in pages for one in page.values())


def test_a_name_that_is_too_long_is_named(account: Account) -> None:
    """And costs itself only."""
    account.items[f"/home/work/{'x' * 500}.ics"] = ("1", calendar(event("x")))
    charm = account.charm()
    poll(charm)
    assert ["a", "b"] == sorted(summaries(charm))
    (reason,) = skipped(charm)
    assert reason.endswith("its name is longer than 500 bytes")


def test_many_changes_are_not_looked_up_one_by_one() -> None:
    """A whole calendar may have changed, and a run may ask for 20,000 keys at most."""
    there = {f"/home/work/{number}.ics": "1" for number in range(300)}
    etags = mock.MagicMock(wraps=Items({**there, "/home/other/a.ics": "1"}))
    etags.__getitem__.side_effect = there.__getitem__
    known_type = CalendarImporter._look.__globals__["Known"]
    known = known_type(etags, "/home/work/")
    assert there == {name: known[name] for name in there}
    assert (100, 1) == (etags.__getitem__.call_count, etags.pages.call_count)
    assert (None, None) == (known.get("/home/work/new.ics"), known.get("/home/other/a.ics"))


def test_a_calendar_may_become_empty(account: Account) -> None:
    """Nothing of it is left, in portions too; what comes after that is there."""
    account.items |= {
        f"/home/work/{number}.ics": ("1", calendar(event(str(number)))) for number in range(120)
    }
    charm = account.charm()
    while not summaries(charm) or charm.left:
        poll(charm)
    assert 122 == len(summaries(charm))
    account.items.clear()
    poll(charm)
    assert [[], 0, 0, 0, 0] == [
        summaries(charm),
        *(len(one) for one in (charm.sources, charm.etags, charm.wanted, charm.skipped)),
    ]
    account.items["/home/work/z.ics"] = ("1", calendar(event("z")))
    poll(charm)
    assert ["z"] == summaries(charm)


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_says_how_long_to_wait(account: Account, status: int) -> None:
    """Also when it does so in the middle; what was there stays."""
    charm = account.charm()
    poll(charm)
    account.items["/home/work/c.ics"] = ("1", calendar(event("c")))
    busy = answer(status, retry_after=77)
    account.server.on("/home/work/", *[busy] * 3, account._served)
    with pytest.raises(Wait) as waited:
        poll(charm)
    assert 77 == waited.value.until
    assert ["a", "b"] == sorted(summaries(charm))


# A server that reads all items before it answers.


def test_a_server_that_reads_all_first_is_waited_for(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked again by and by, and nobody is told that it is down."""
    monkeypatch.setitem(CalendarImporter._look.__globals__, "PATIENCE_SECONDS", 0.05)
    # What only reads is tried again twice, where the run has time for that.
    silent = [answer(207, "x").stalled()] * 3
    account.server.on("/home/work/", *silent, account._served)
    charm = account.charm()
    with pytest.raises(Wait, match="some servers read all items first") as waited:
        poll(charm)
    assert 90 == waited.value.until
    # Nothing of that run is stored; what it had noted is kept here, and fetched first.
    poll(charm)
    poll(charm)
    assert ["a", "b"] == sorted(summaries(charm))


def test_a_long_first_look_is_two_runs(server: FakeServer) -> None:
    """The token of the first is kept, and what comes in between is not missed."""
    account = Account(server)
    account.calendars = {"/home/work/": "Work"}
    account.items["/home/work/a.ics"] = ("1", calendar(event("a")))
    tokens: list[bytes] = []

    def serve(seen: Seen) -> Answer:
        if b"sync-collection" not in seen.body:
            return account._served(seen)
        tokens.append(seen.body)
        there = {name: etag for name, (etag, _) in account.items.items()}
        return multistatus({} if b"token 1" in seen.body else there, token=f"token {len(tokens)}")

    server.on("/home/work/", serve)
    charm = account.charm()
    hurried = LittleRoom(100, seconds_left=10.0)
    with (
        mock.patch.object(CalendarImporter, "context", hurried),
        mock.patch.object(CalendarImporter, "again") as again,
    ):
        poll(charm)
    again.assert_called_once_with(after=0)
    assert ([], ["token 1"]) == (summaries(charm), [one.point for one in charm.calendars])
    account.items["/home/work/b.ics"] = ("1", calendar(event("b")))
    poll(charm)
    assert ["a", "b"] == sorted(summaries(charm))
    poll(charm)
    assert [True, True] == [b"token 1" not in tokens[0], b"token 1" in tokens[1]]
    assert [("token 2", "")] == [(one.token, one.point) for one in charm.calendars]


# Little room.


def runs_until_done(charm: Any) -> int:
    """Have it look until it asks for no more, with room for one thing each time; says how often."""
    cramped = LittleRoom(0, seconds_left=60.0, room=0)
    for run in range(1, 60):
        with (
            mock.patch.object(CalendarImporter, "context", cramped),
            mock.patch.object(CalendarImporter, "again") as again,
        ):
            poll(charm)
        if not again.called:
            return run
        again.assert_called_once_with(after=0)
    raise AssertionError("it comes to no end")


def test_an_account_comes_bit_by_bit(account: Account) -> None:
    """With room for one item in a run all come, change, move with the window and go."""
    series = event("s", "RRULE:FREQ=WEEKLY\n")
    account.items |= {f"/home/work/{name}.ics": ("1", calendar(series)) for name in "cde"}
    charm = account.charm(days_ahead=18)
    assert 4 < runs_until_done(charm)
    assert ["a", "b", *"ssssss"] == sorted(summaries(charm))
    charm.days_ahead = 25
    assert 4 < runs_until_done(charm)
    assert ["a", "b", *"sssssssss"] == sorted(summaries(charm))
    account.items = {"/home/my%20own/b.ics": ("2", calendar(event("b2")))}
    assert 4 < runs_until_done(charm)
    assert ["b2"] == summaries(charm)
    charm.url = f"{account.server.url}/me/"
    assert 1 < runs_until_done(charm)
    assert ["b2"] == summaries(charm)


def test_a_file_comes_bit_by_bit(server: FakeServer) -> None:
    """It is read again as often as that takes."""
    files = [calendar(*map(event, "abcd")), calendar(*map(event, "d"))]
    server.on("/work.ics", lambda _: answer(200, files[0], ETag=f'"{len(files)}"'))
    charm = CalendarImporter(url=f"{server.url}/work.ics")
    assert 4 == runs_until_done(charm)
    assert ["a", "b", "c", "d"] == sorted(summaries(charm))
    del files[0]
    assert 1 <= runs_until_done(charm)
    assert ["d"] == summaries(charm)


def test_an_item_that_is_too_much_is_named(account: Account) -> None:
    """It would be more than a run can write; the others are there."""
    many = event("many", "RRULE:FREQ=HOURLY\nDESCRIPTION:" + "x" * 900 + "\n")
    account.items["/home/work/many.ics"] = ("1", calendar(many))
    charm = account.charm()
    poll(charm)
    assert ["a", "b"] == sorted(summaries(charm))
    (reason,) = skipped(charm)
    assert "times in the window, which are too large together" in reason


# What an address leads to.


def test_a_server_says_where_its_calendars_are(server: FakeServer) -> None:
    """At the well-known address, on the way with a redirect (RFC 6764)."""
    server.on("/", answer(404))
    server.on("/.well-known/caldav", answer(301, Location="/dav/"))
    server.on("/dav/", found(place("/dav/", PRINCIPAL)))
    server.on("/me/", found(place("/me/", HOME)))
    server.on("/home/", found(place("/home/", "<d:resourcetype><d:collection/></d:resourcetype>")))
    with pytest.raises(ValueError, match="there is no calendar with events for 'me'"):
        poll(CalendarImporter(url=f"{server.url}/", user="me"))


def test_a_password_is_not_for_other_providers(server: FakeServer) -> None:
    """What an account names elsewhere is refused, with a sentence."""
    server.on("/", found(place("/", PRINCIPAL.replace("/me/", "https://example.org/me/"))))
    server.on("/.well-known/caldav", answer(404))
    with pytest.raises(ValueError, match=r"names https://example.org/me/, which is another"):
        poll(CalendarImporter(url=f"{server.url}/", user="me"))


def test_a_refused_password_says_what_to_do(server: FakeServer) -> None:
    """Who nobody is, and who is somebody else, is told apart."""
    server.on("/work.ics", answer(401))
    with pytest.raises(SignInNeeded, match="asks who you are: set user and password"):
        poll(CalendarImporter(url=f"{server.url}/work.ics"))
    with pytest.raises(SignInNeeded, match=r"refused user me and the password.*app password"):
        poll(CalendarImporter(url=f"{server.url}/work.ics", user="me", password="wrong"))
