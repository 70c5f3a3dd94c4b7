"""What has changed in a collection, however its server tells it, or does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import httpx2
import pytest

from bg_charm_service import CalDav, Charm, DavChanges, DavItem, ProviderDown
from bg_charm_service.sdk import http_client
from tests.fakes.http_server import Answer, FakeServer, Seen, answer
from tests.fakes.wire import dav_error, multistatus

PATH = "/me/my work/"
URL_PATH = "/me/my%20work/"
A, B, C = (f"{PATH}{name}.ics" for name in "abc")
KNOWN = {A: '"1"', B: '"2"'}
#: As it is now: one changed, one new, one gone.
NOW = {A: '"1a"', C: '"3"'}
CHANGED = DavChanges("next", NOW, frozenset({B}))


class Some(Charm):
    """A charm that asks."""

    def bg_updater(self, event: dict[str, Any]) -> None:
        """Do nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """A server of calendars."""
    monkeypatch.setattr(http_client, "_PAUSES_SECONDS", (0.0, 0.0))
    with FakeServer() as found:
        yield found


def quoted(members: dict[str, Any]) -> dict[str, Any]:
    """Members as servers write them: their addresses quoted, one of them whole."""
    return {name.replace(" ", "%20"): fact for name, fact in members.items()}


def listed(members: dict[str, str]) -> Answer:
    """The answer to PROPFIND: the collection itself is among it, and one inside of it."""
    own = {PATH: '"of the calendar"', f"{PATH}inside/": '"of another"'}
    return multistatus(quoted({**own, **members}))


def served(server: FakeServer, reports: Callable[[str], Answer], there: dict[str, str]) -> None:
    """Answer reports by the token that is asked with, and PROPFIND by what is there."""

    def script(seen: Seen) -> Answer:
        if seen.method == "PROPFIND":
            assert "1" == seen.headers["depth"]
            return listed(there)
        token = seen.body.decode().partition("<d:sync-token>")[2].partition("<")[0]
        return reports(token)

    server.on(URL_PATH, script)


def ask(server: FakeServer, deed: Callable[[CalDav], Coroutine[Any, Any, Any]], **kind: str) -> Any:
    """Let a charm look into the calendar."""

    async def inner() -> Any:
        async with Some().http() as http:
            return await deed(CalDav(http, f"{server.url}{URL_PATH}", **kind))

    return asyncio.run(inner())


def changes(server: FakeServer, since: str = "old") -> DavChanges:
    """What has changed since a token."""
    found: DavChanges = ask(server, lambda calendar: calendar.changes(since, KNOWN))
    return found


def methods(server: FakeServer) -> list[str]:
    """What was asked so far."""
    return [seen.method for seen in server.seen]


def test_a_report_says_what_has_changed(server: FakeServer) -> None:
    """In one request; what nobody knew of is not told to be gone."""
    told = multistatus(quoted({**NOW, B: 404, f"{PATH}never-known.ics": 404}), "next")
    served(server, lambda _: told, {})
    assert CHANGED == changes(server)
    assert ["REPORT"] == methods(server)
    (seen,) = server.seen
    assert ("0", "application/xml; charset=utf-8") == (
        seen.headers["depth"],
        seen.headers["content-type"],
    )


@pytest.mark.parametrize(
    "refusal",
    [
        dav_error(403, "valid-sync-token"),
        dav_error(409, "valid-sync-token"),
        dav_error(412, "valid-sync-token"),
        answer(410),
        answer(400),
        answer(507),
    ],
)
def test_a_token_that_is_known_no_more_is_no_loss(server: FakeServer, refusal: Answer) -> None:
    """Everything is compared, and a new token counts from there."""
    first = multistatus(quoted({**NOW, f"{PATH}removed-long-ago.ics": 404}), "next")
    served(server, lambda token: refusal if token == "old" else first, NOW)
    assert CHANGED == changes(server)
    assert ["REPORT", "REPORT", "PROPFIND"] == methods(server)


def test_a_first_look_names_what_is_there(server: FakeServer) -> None:
    """Not what was removed long ago, though it stands in the report."""
    served(server, lambda _: multistatus(quoted({A: '"1a"', C: '"3"', B: 404}), "next"), NOW)
    assert DavChanges("next", NOW) == ask(server, lambda calendar: calendar.changes("", {}))


def test_a_report_that_is_cut_goes_on(server: FakeServer) -> None:
    """From its token, until one is whole; what came back in between is there."""
    own = {PATH.replace(" ", "%20"): 507}
    reports = {
        "old": multistatus(own | quoted({A: '"1a"', C: 404}), "half"),
        "half": multistatus(quoted({C: '"3"', B: 404}), "next"),
    }
    served(server, reports.__getitem__, {})
    assert CHANGED == changes(server)
    # One that comes no further is none.
    reports["old"] = multistatus(own, "old")
    reports[""] = multistatus({}, "next")
    served(server, reports.__getitem__, NOW)
    assert CHANGED == changes(server)


def test_a_report_that_is_cut_without_a_word_loses_nothing(server: FakeServer) -> None:
    """A first report is compared with what is there, since it may end anywhere."""
    served(server, lambda _: multistatus(quoted({A: '"1a"'}), "next"), NOW)
    assert CHANGED == changes(server, "")


@pytest.mark.parametrize("status", [403, 405, 415, 501, 507])
def test_a_server_without_reports_is_compared_with(server: FakeServer, status: int) -> None:
    """Each time, and without a token."""
    served(server, lambda _: answer(status), NOW)
    assert DavChanges("", NOW, frozenset({B})) == changes(server, "")


def test_who_may_not_read_is_told(server: FakeServer) -> None:
    """A refusal is no end of a token where everything is refused."""
    server.on(URL_PATH, answer(403))
    with pytest.raises(httpx2.HTTPStatusError, match=r"PROPFIND .*/me/my work/ answered 403"):
        changes(server)
    server.on(URL_PATH, answer(404))
    with pytest.raises(httpx2.HTTPStatusError, match="answered 404"):
        changes(server)
    server.on(URL_PATH, answer(500))
    with pytest.raises(ProviderDown):
        changes(server)


@pytest.mark.parametrize("kind", ["caldav", "carddav"])
def test_items_come_by_their_names(server: FakeServer, kind: str) -> None:
    """A hundred at a time; what is gone by now, and what nobody asked for, is left out."""
    data = {"caldav": "calendar", "carddav": "address"}[kind]

    def script(seen: Seen) -> Answer:
        assert f"urn:ietf:params:xml:ns:{kind}" in seen.body.decode()
        names = seen.body.decode().split("<d:href>")[1:]
        assert len(names) <= 100
        found = multistatus(
            quoted({A: '"1a"', B: 404, C: '"3"'}), texts=quoted({A: "BEGIN & END", C: "not asked"})
        )
        body = found.body.replace(b"caldav", kind.encode()).replace(
            b"calendar-data", f"{data}-data".encode()
        )
        return answer(207, body)

    server.on(URL_PATH, script)
    names = {A, B, *(f"{PATH}{number}.ics" for number in range(150))}
    found = ask(server, lambda calendar: calendar.fetch(names), kind=kind)
    assert {A: DavItem('"1a"', "BEGIN & END")} == found
    assert 2 == len(server.seen)
    assert b"<d:href>/me/my%20work/0.ics</d:href>" in server.seen[0].body


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (answer(207, "<html>"), "answered with no XML"),
        (answer(207, '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'), "its XML defines entities"),
        (answer(200, "<a/>"), "answered 200: no WebDAV"),
    ],
)
def test_what_is_no_answer_says_so(server: FakeServer, found: Answer, words: str) -> None:
    """With the address."""
    server.on(URL_PATH, found)
    with pytest.raises(ValueError, match=rf"REPORT 127.0.0.1:\d+/me/my work/.*{words}"):
        changes(server)


def test_only_two_kinds_are_known() -> None:
    """Said at once."""
    with pytest.raises(ValueError, match="kind is caldav or carddav, not 'webdav'"):
        CalDav(Some().http(), "https://example.org/", kind="webdav")
