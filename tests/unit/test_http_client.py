"""`self.http`: what a provider does becomes what a run ends with, against a real server."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bg_charm_service import (
    BodyTooLarge,
    Charm,
    HttpClient,
    ProviderDown,
    SignInNeeded,
    TokenSource,
    Wait,
)
from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.outcomes.run_endings import EndingKind
from bg_charm_service.domain.web.provider_limits import PROVIDERS
from bg_charm_service.domain.web.requests import (
    KEPT_AT_EACH_END,
    HttpRequest,
    pack_requests,
    requests_left_out,
    unpack_requests,
)
from bg_charm_service.sdk import http_client
from bg_charm_service.sdk.request_log import REQUESTS, RequestLog
from bg_charm_service.sdk.tls_context import shared_tls_context
from bg_charm_service.sdk.web_links import linked
from bg_charm_service.workers.runtime.failure_report import end_of
from bg_charm_service.workers.runtime.host_watch import HOSTS
from bg_charm_service.workers.runtime.log_capture import prepare
from bg_charm_service.workers.runtime.refusals import Surroundings
from bg_charm_service.workers.sandbox import Wall
from tests.fakes.http_server import (
    NO_ANSWER,
    Answer,
    FakeServer,
    Seen,
    answer,
    json_answer,
    redirect,
    unpacks_to,
)
from tests.fakes.wire import (
    github_limit,
    google_error,
    google_limit,
    history_too_old,
    missing_scope,
    sync_token_gone,
)
from tests.providers import NO_HOST, Provider, refused_url, self_signed
from tests.unit.plain_run import RUN

SECRET = "swordfish-4711"
KB = 1024


class Some(Charm):
    """A charm that asks."""

    def bg_updater(self, event: dict[str, Any]) -> None:
        """Do nothing."""


class Token:
    """What is signed in with, as a field of the service's own would be: made anew when asked."""

    def __init__(self, *tokens: str) -> None:
        self._tokens = list(tokens)
        self.renewals = 0

    @property
    def token(self) -> str:
        return self._tokens[min(self.renewals, len(self._tokens) - 1)]

    async def renew(self) -> None:
        """Take some turns of the loop, in which others come."""
        for _ in range(3):
            await asyncio.sleep(0)
        self.renewals += 1


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No pauses between tries, and a log of requests of each test's own."""
    monkeypatch.setattr(http_client, "_PAUSES_SECONDS", (0.0, 0.0))
    REQUESTS.take()
    yield
    REQUESTS.take()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A provider."""
    with FakeServer() as found:
        yield found


Ask = Callable[[HttpClient], Awaitable[Any]]


def ask(ask: Ask, **options: Any) -> Any:
    """Let a charm's client do something."""

    async def inner() -> Any:
        async with Some().http(**options) as http:
            return await ask(http)

    return asyncio.run(inner())


def get(server: FakeServer, *answers: Any, **options: Any) -> Any:
    """GET an address that answers so, with a query that is nobody's business."""
    server.on("/thing", *answers)
    return ask(lambda http: http.get(f"/thing?key={SECRET}"), base_url=server.url, **options)


def seconds_of(wait: Wait) -> float:
    """How long is to be waited."""
    assert not isinstance(wait.until, datetime)
    return wait.until


def rows() -> list[tuple[str, int, int]]:
    """What went out: the path, the status and which try it was."""
    return [(one.path, one.status, one.attempt) for one in REQUESTS.take()]


# --- what an answer means


@pytest.mark.parametrize(
    ("found", "kind", "words"),
    [
        (answer(500), ProviderDown, "GET 127.0.0.1:{port}/thing answered 500"),
        (answer(503), ProviderDown, "GET 127.0.0.1:{port}/thing answered 503"),
        (answer(507), ProviderDown, "GET 127.0.0.1:{port}/thing answered 507"),
        (NO_ANSWER, ProviderDown, "GET 127.0.0.1:{port}/thing: RemoteProtocolError: "),
        (answer(body="x" * 100).cut(3), ProviderDown, "RemoteProtocolError"),
        (answer(503, retry_after=120), Wait, "answered 503"),
        (answer(429, retry_after=120), Wait, "answered 429"),
        (google_limit(), Wait, "answered 403: a limit"),
        (github_limit(2_000_000_000), Wait, "answered 403: a limit"),
    ],
)
def test_faults_are_endings(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, found: Answer, kind: Any, words: str
) -> None:
    """Each names method, host and path, and nothing of the query."""
    if found == google_limit():
        # As if the server were Google's.
        monkeypatch.setattr(http_client, "host_of", lambda _: "gmail.googleapis.com")
    with pytest.raises(kind) as caught:
        get(server, found)
    text = str(caught.value)
    assert words.format(port=server.port) in text
    assert SECRET not in text
    if kind is ProviderDown:
        assert "127.0.0.1" == caught.value.host


@pytest.mark.parametrize("status", [400, 403, 404, 409, 410, 412, 422])
def test_other_refusals_are_for_the_charm(server: FakeServer, status: int) -> None:
    """They come back as httpx2 gives them; what they raise holds no query."""
    response = get(server, answer(status))
    assert status == response.status_code
    with pytest.raises(httpx2.HTTPStatusError) as caught:
        response.raise_for_status()
    assert f"GET 127.0.0.1:{server.port}/thing answered {status}" == str(caught.value)
    failure, ending = end_of(caught.value, RUN, "", HOSTS)
    assert (FailureCause.ERROR, None) == (failure.cause, ending)


def test_how_long_to_wait_is_obeyed(server: FakeServer) -> None:
    """Seconds, or a date; at most a day; without one nothing is named."""
    soon = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    for said, least, most in ((120, 120, 120), (soon, 3500, 3601), (10**6, 86400, 86400)):
        with pytest.raises(Wait) as caught:
            get(server, answer(429, retry_after=said))
        assert least <= seconds_of(caught.value) <= most
    for header in (None, "0", "yesterday", "Thu, 01 Jan 1970 00:00:00 GMT"):
        with pytest.raises(Wait) as caught:
            get(server, answer(429, retry_after=header))
        assert seconds_of(caught.value) <= 0
    assert {1} == {one.attempt for one in REQUESTS.take()}


def test_an_api_that_is_not_switched_on_is_waited_for(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the place where that is done; of the answer nothing else is told."""
    words = (replace(PROVIDERS[0], hosts=("127.0.0.1",)),)
    monkeypatch.setattr("bg_charm_service.domain.web.provider_limits.PROVIDERS", words)
    said = (
        "Gmail API has not been used in project 123456789 before or it is disabled. Enable it by "
        "visiting https://console.developers.google.com/apis/api/gmail.googleapis.com/overview"
        f"?project=123456789 then retry {SECRET}"
    )
    detail = {"reason": "SERVICE_DISABLED", "domain": "googleapis.com"}
    body = {"error": {"code": 403, "message": said, "details": [detail]}}
    with pytest.raises(Wait) as caught:
        get(server, json_answer(body, 403))
    place = "https://console.cloud.google.com/apis/library/gmail.googleapis.com?project=123456789"
    assert place in str(caught.value)
    assert SECRET not in str(caught.value)
    assert 300 == seconds_of(caught.value)
    with pytest.raises(Wait, match=r"library/127\.0\.0\.1$"):
        get(server, google_error(403, "accessNotConfigured"))


def test_words_of_an_author_mean_a_limit_too(server: FakeServer) -> None:
    """A 403 of a provider that nobody else knows."""
    busy = json_answer({"errors": ["busy"]}, 403)
    assert 403 == get(server, busy).status_code
    with pytest.raises(Wait):
        get(server, busy, limit_reasons=("busy",))
    assert 403 == get(server, google_error(403, "forbidden")).status_code
    assert 403 == get(server, answer(403, "no JSON: " + "x" * 100_000)).status_code


def test_statuses_that_were_asked_for_come_back(server: FakeServer) -> None:
    """Also those that would have been tried again, or ended the run."""
    server.on("/thing", answer(507), answer(500), answer(429))
    for status in (507, 500, 429):
        response = ask(
            lambda http, status=status: http.request("GET", "/thing", returns={status}),  # type: ignore[misc]
            base_url=server.url,
        )
        assert status == response.status_code
    assert [("/thing", 507, 1), ("/thing", 500, 1), ("/thing", 429, 1)] == rows()


# --- tries


def test_safe_requests_are_tried_again(server: FakeServer) -> None:
    """Twice, and each try is a row of the run."""
    response = get(server, answer(502), NO_ANSWER, answer(200, "well"))
    assert "well" == response.text
    assert [("/thing", 502, 1), ("/thing", 0, 2), ("/thing", 200, 3)] == rows()
    with pytest.raises(ProviderDown):
        get(server, answer(504))
    assert [1, 2, 3] == [attempt for _, _, attempt in rows()]


def test_a_body_that_was_cut_is_read_again(server: FakeServer) -> None:
    """As long as nobody has seen a part of it."""
    response = get(server, answer(body="whole").cut(2), answer(body="whole"))
    assert "whole" == response.text
    first, second = REQUESTS.take()
    assert ("RemoteProtocolError", 2, "", 5) == (
        *(first.fault, first.received_bytes),
        *(second.fault, second.received_bytes),
    )


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_what_changes_something_is_sent_once(server: FakeServer, method: str) -> None:
    """Nobody knows whether it was done."""
    server.on("/thing", NO_ANSWER)
    with pytest.raises(ProviderDown, match=f"{method} 127.0.0.1"):
        ask(lambda http: http.request(method, "/thing"), base_url=server.url)
    assert [("/thing", 0, 1)] == rows()


def test_tries_stay_within_the_time_of_the_run(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With less left than a try may take there is none."""
    monkeypatch.setattr(http_client, "_PAUSES_SECONDS", (0.25, 1.0))
    with pytest.raises(ProviderDown):
        get(server, answer(502), timeout=30.0)
    assert [("/thing", 502, 1)] == rows()


def test_an_answer_that_never_ends_is_the_providers_fault(server: FakeServer) -> None:
    """Before the run's own limit strikes, which would be the charm's."""

    async def inner() -> None:
        client = HttpClient(lambda: 0.6, base_url=server.url, timeout=0.05)
        async with client as http:
            await http.get("/thing")

    server.on("/thing", answer(body="x" * 10).stalled(5))
    with pytest.raises(ProviderDown, match="ReadTimeout"):
        asyncio.run(inner())


def test_who_is_not_there_is_down() -> None:
    """A port where nobody listens, a name that nobody knows."""
    with pytest.raises(ProviderDown) as caught:
        ask(lambda http: http.get(f"{refused_url()}?key={SECRET}"))
    assert "localhost" == caught.value.host
    assert SECRET not in str(caught.value)
    assert [0, 0, 0] == [one.status for one in REQUESTS.take()]
    with pytest.raises(ProviderDown) as caught:
        ask(lambda http: http.get(f"https://{NO_HOST}/"))
    assert NO_HOST == caught.value.host
    assert 1 == len(REQUESTS.take())


def test_a_certificate_that_nobody_knows_is_told_as_such(tmp_path: Path) -> None:
    """With the host and the reason, and without another try."""
    with (
        Provider(lambda _: None, tls=self_signed(tmp_path)) as provider,
        pytest.raises(ProviderDown) as caught,
    ):
        ask(lambda http: http.get(provider.url))
    failure, ending = end_of(caught.value, RUN, "", HOSTS)
    assert FailureCause.TLS is failure.cause
    assert "TLS with localhost: self-signed certificate" == failure.message
    assert ending is not None
    assert (EndingKind.DOWN, "localhost") == (ending.kind, ending.host)
    assert 1 == len(REQUESTS.take())


def test_a_closed_port_is_told_as_the_walls(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a wall refuses is no fault of a provider, and is tried once."""

    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    HOSTS.begin()
    HOSTS._address = ("127.0.0.1", 8443)
    with pytest.raises(ProviderDown) as caught:
        ask(lambda http: http.get("http://127.0.0.1:8443/"))
    around = Surroundings(frozenset(Wall), "/nowhere/scratch")
    failure, ending = end_of(caught.value, RUN, "", HOSTS, around)
    assert (FailureCause.FORBIDDEN, None) == (failure.cause, ending)
    assert failure.refusal is not None
    assert 8443 == failure.refusal.port
    assert 1 == len(REQUESTS.take())


# --- signing in


def by_token(*good: str) -> Callable[[Seen], Answer]:
    """Answer whoever has one of these tokens."""
    return lambda seen: answer(body=seen.token) if seen.token in good else answer(401)


def test_a_token_that_was_refused_is_renewed_once(server: FakeServer) -> None:
    """For all requests that were refused with it, however many there are at once."""
    source = Token("old", "new")
    server.on("/thing", by_token("new"))

    async def many(http: HttpClient) -> list[str]:
        found = await asyncio.gather(*(http.get("/thing") for _ in range(5)))
        return [one.text for one in found]

    assert ["new"] * 5 == ask(many, base_url=server.url, auth=source)
    assert 1 == source.renewals
    assert isinstance(source, TokenSource)


def test_refused_again_a_person_has_to_sign_in(server: FakeServer) -> None:
    """After one renewal; or at once, where nobody can renew."""
    source = Token("old", "also old", "never asked for")
    with pytest.raises(SignInNeeded, match=r"GET 127.0.0.1:.*/thing answered 401"):
        get(server, by_token("new"), auth=source)
    assert 1 == source.renewals
    for auth in ("a token", ("name", "password")):
        with pytest.raises(SignInNeeded):
            get(server, answer(401), auth=auth)
    assert 401 == get(server, answer(401)).status_code
    with pytest.raises(SignInNeeded, match="does not reach so far"):
        get(server, missing_scope(), auth="a token")
    assert 403 == get(server, missing_scope()).status_code


def test_who_cannot_renew_says_what_then(server: FakeServer) -> None:
    """Its word is that of the run."""

    class Revoked(Token):
        async def renew(self) -> None:
            raise SignInNeeded("the sign-in was revoked", url="/login")

    with pytest.raises(SignInNeeded, match="was revoked"):
        get(server, answer(401), auth=Revoked("old"))


def test_a_token_is_for_one_host(server: FakeServer) -> None:
    """Neither a redirect nor an address of somebody's takes it along, nor headers of one's own."""
    with FakeServer() as other:
        other.on("/there", answer(body="there"))
        server.on("/thing", redirect(f"{other.url}/there"))
        own = {"X-Api-Key": SECRET}
        options: dict[str, Any] = {"base_url": server.url, "auth": "token", "headers": own}
        assert "there" == ask(lambda http: http.get("/thing"), **options).text
        assert "there" == ask(lambda http: http.get(f"{other.url}/there"), **options).text
        (home,), (redirected, direct) = server.seen, other.seen
        assert ("token", SECRET) == (home.token, home.headers["x-api-key"])
        assert ("", "") == (redirected.token, direct.token)
        assert "x-api-key" not in {*redirected.headers, *direct.headers}
        given = {"X-Api-Key": "for the other"}
        ask(lambda http: http.get(f"{other.url}/there", headers=given), **options)
        assert "for the other" == other.seen[-1].headers["x-api-key"]
        # Who refuses there says nothing of the sign-in here.
        other.on("/there", answer(401))
        assert 401 == ask(lambda http: http.get("/thing"), **options).status_code


def test_what_is_no_sign_in_is_refused_at_once() -> None:
    """With what may stand there."""
    nonsense: Any = 17
    with pytest.raises(TypeError, match="auth is a token, "):
        Some().http(auth=nonsense)
    for options in ({"timeout": 0}, {"most_bytes": -1}, {"timeout": float("nan")}):
        with pytest.raises(ValueError, match="both are above 0"):
            Some().http(**options)


def test_a_token_that_cannot_be_sent_is_shown_nowhere(server: FakeServer) -> None:
    """A line break behind it, for one."""
    with pytest.raises(ValueError, match="a header or the body cannot be sent") as caught:
        get(server, answer(), auth=f"{SECRET}\n")
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    with pytest.raises(ValueError, match="begins with https"):
        ask(lambda http: http.get("ftp://example.org/"))


# --- redirects


def test_reading_is_sent_on(server: FakeServer) -> None:
    """With its method, and up to ten times; what changes something is not."""
    server.on("/a", redirect("/b", 301)).on("/b", redirect("/c", 307)).on("/c", answer(body="c"))
    options = {"base_url": server.url}
    found_in_the_end = ask(lambda http: http.get("/a"), **options)
    assert "c" == found_in_the_end.text
    assert [301, 307] == [one.status_code for one in found_in_the_end.history]
    assert [("/a", 301, 1), ("/b", 307, 1), ("/c", 200, 1)] == rows()

    def found(http: HttpClient) -> Any:
        return http.request("PROPFIND", "/a", content=b"<what/>", headers={"Depth": "1"})

    server.on("/a", redirect("/c", 302))
    ask(found, **options)
    last = server.seen[-1]
    assert ("PROPFIND", "/c", b"<what/>", "1") == (
        *(last.method, last.path),
        *(last.body, last.headers["depth"]),
    )
    server.on("/loop", redirect("/loop"))
    with pytest.raises(httpx2.TooManyRedirects, match=r"GET 127.0.0.1:.*/loop: more than 10"):
        ask(lambda http: http.get(f"/loop?key={SECRET}"), **options)
    with pytest.raises(httpx2.HTTPStatusError, match=r"POST 127.0.0.1:.*/a answered 302, and what"):
        ask(lambda http: http.post("/a", json={}), **options)
    # What was done is not to fail for that.
    server.on("/a", redirect("/c", 303))
    assert 303 == ask(lambda http: http.post("/a", json={}), **options).status_code


# --- bodies


@pytest.mark.parametrize(
    "found",
    [
        answer(body=bytes(65 * KB)),
        answer(body=bytes(65 * KB)).chunked(),
        unpacks_to(200 * KB),
    ],
)
@pytest.mark.parametrize("way", ["get", "bytes", "large pieces", "text", "raw"])
def test_bodies_are_bounded(server: FakeServer, found: Answer, way: str) -> None:
    """Said beforehand, on the way, unpacked, and piece by piece."""
    server.on("/thing", found)

    async def read(http: HttpClient) -> int:
        if way == "get":
            return len((await http.get("/thing")).content)
        async with http.stream("GET", "/thing") as response:
            if way == "text":
                return sum([len(part) async for part in response.aiter_text()])
            if way == "raw":
                return sum([len(part) async for part in response.aiter_raw()])
            size = 1024 * KB if way == "large pieces" else None
            return sum([len(part) async for part in response.aiter_bytes(size)])

    if way == "raw" and len(found.body) < 64 * KB:
        # What is not unpacked is as small as it came.
        assert len(found.body) == ask(read, base_url=server.url, most_bytes=64 * KB)
        return
    with pytest.raises(BodyTooLarge, match=r"/thing: its answer is larger than 64K \(most_bytes\)"):
        ask(read, base_url=server.url, most_bytes=64 * KB)
    failure, ending = end_of(BodyTooLarge("too large"), RUN, "", HOSTS)
    assert (FailureCause.ERROR, None) == (failure.cause, ending)


def test_a_body_of_the_size_fits(server: FakeServer) -> None:
    """To the byte, packed or not."""
    for found in (answer(body=bytes(64 * KB)), answer(body=bytes(64 * KB)).packed()):
        assert 64 * KB == len(get(server, found, most_bytes=64 * KB).content)

    async def read(http: HttpClient) -> list[int]:
        async with http.stream("GET", "/thing") as response:
            return [len(part) async for part in response.aiter_bytes(100 * KB)]

    assert [64 * KB] == ask(read, base_url=server.url, most_bytes=64 * KB)


def test_a_stream_that_breaks_off_is_the_providers_fault(server: FakeServer) -> None:
    """Also where the charm reads it piece by piece; what it said before is not read again."""
    server.on("/thing", answer(body="x" * 100).cut(10))

    async def read(http: HttpClient) -> None:
        async with http.stream("GET", "/thing") as response:
            async for _ in response.aiter_bytes():
                pass

    with pytest.raises(
        ProviderDown, match=r"GET 127.0.0.1:.*/thing: RemoteProtocolError"
    ) as caught:
        ask(read, base_url=server.url)
    assert "127.0.0.1" == caught.value.host
    (row,) = REQUESTS.take()
    assert (200, 10, "RemoteProtocolError") == (row.status, row.received_bytes, row.fault)


def test_what_is_no_gzip_is_the_providers_fault(server: FakeServer) -> None:
    """It says that it is, and is not."""
    with pytest.raises(ProviderDown, match="DecodingError"):
        get(server, answer(body="no gzip", Content_Encoding="gzip"))


# --- JSON and pages


def test_json_of_an_address(server: FakeServer) -> None:
    """Names in braces go into the path, the others into the query; None is left out."""
    server.on("/messages/a%2Fb", json_answer({"id": 1}))
    found = ask(
        lambda http: http.json("messages/{id}", id="a/b", format="full", q=None, many=[1, 2]),
        base_url=server.url,
    )
    assert {"id": 1} == found
    (seen,) = server.seen
    assert {"format": ["full"], "many": ["1", "2"]} == seen.query
    for bad in ("..", "", None):
        with pytest.raises(ValueError, match=r"id is .* which is no part of a path"):
            ask(lambda http, bad=bad: http.json("messages/{id}", id=bad), base_url=server.url)  # type: ignore[misc]


def test_none_where_it_is_not_there(server: FakeServer) -> None:
    """For the statuses that the charm names; others are errors."""
    server.on("/gone", sync_token_gone()).on("/empty", answer(204)).on("/old", history_too_old())

    async def read(http: HttpClient) -> list[Any]:
        return [
            await http.json("/old", none_on=404),
            await http.json("/gone", none_on=(404, 410)),
            await http.json("/empty"),
        ]

    assert [None, None, None] == ask(read, base_url=server.url)
    with pytest.raises(httpx2.HTTPStatusError, match="/gone answered 410"):
        ask(lambda http: http.json("/gone", none_on=404, key=SECRET), base_url=server.url)


@pytest.mark.parametrize("body", ["<html>a page of maintenance</html>", "[" * 100_000])
def test_what_is_no_json_says_so(server: FakeServer, body: str) -> None:
    """With the address, and the kind that it is instead."""
    server.on("/thing", answer(body=body, content_type="text/html; charset=utf-8"))
    with pytest.raises(ValueError, match="/thing answered 200 with no JSON: text/html"):
        ask(lambda http: http.json("/thing", key=SECRET), base_url=server.url)


async def gathered(pages: AsyncIterator[Any]) -> list[Any]:
    """All pages of a list."""
    return [page async for page in pages]


def test_pages_follow_their_tokens(server: FakeServer) -> None:
    """Under the name without "next", or the one that is said; from inside of a page, too."""
    server.on(
        "/list",
        json_answer({"items": [1], "nextPageToken": "two"}),
        json_answer({"items": [2], "nextPageToken": ""}),
    )
    pages = ask(
        lambda http: gathered(http.pages("list", "nextPageToken", start=5)), base_url=server.url
    )
    assert [[1], [2]] == [page["items"] for page in pages]
    assert [{"start": ["5"]}, {"start": ["5"], "pageToken": ["two"]}] == [
        one.query for one in server.seen
    ]
    for key, sent_as, name in (
        ("meta.next_cursor", "", "cursor"),
        ("meta.token", "", "token"),
        ("meta.next", "after", "after"),
    ):
        inside = {"meta": {key.partition(".")[2]: "x"}}
        server.on("/other", json_answer(inside), json_answer({"meta": None}))
        ask(
            lambda http, k=key, s=sent_as: gathered(http.pages("other", k, sent_as=s)),  # type: ignore[misc]
            base_url=server.url,
        )
        assert {name: ["x"]} == server.seen[-1].query


def test_pages_end(server: FakeServer) -> None:
    """At what is not there any more with None; and where a provider goes round in a circle."""
    server.on("/old", history_too_old()).on("/round", json_answer({"next": "again"}))
    assert [None] == ask(
        lambda http: gathered(http.pages("old", "nextPageToken", none_on=404)), base_url=server.url
    )
    with pytest.raises(ValueError, match="round: it gave the same next twice"):
        ask(lambda http: gathered(http.pages("round", "next")), base_url=server.url)


def test_pages_follow_links(server: FakeServer) -> None:
    """By the header of each answer, with the query that stands there, and with the token."""
    following = '</list?page=2&per=5>; rel="next", </list?page=9>; rel="last"'
    server.on(
        "/list", json_answer([1], Link=following), json_answer([2], Link='</list>; rel="prev"')
    )
    pages = ask(
        lambda http: gathered(http.pages("list", per=5)), base_url=server.url, auth="the token"
    )
    assert [[1], [2]] == pages
    assert [({"per": ["5"]}, "the token"), ({"page": ["2"], "per": ["5"]}, "the token")] == [
        (one.query, one.token) for one in server.seen
    ]


def test_linked_pages_elsewhere_get_no_token(server: FakeServer) -> None:
    """The token and the author's headers are for the host of the list, also where none is named."""
    with FakeServer() as other:
        link = f'<{other.url}/more>; rel="next"'
        other.on("/more", json_answer([2], Link='</third>; rel="next"'))
        other.on("/third", json_answer([3], Link=f'<{server.url}/last>; rel="next"'))
        server.on("/list", json_answer([1], Link=link)).on("/last", json_answer([4]))
        for options in ({"base_url": server.url}, {}):
            pages = ask(
                lambda http: gathered(http.pages(f"{server.url}/list")),
                auth="the token",
                headers={"X-Key": "author's"},
                **options,
            )
            assert [[1], [2], [3], [4]] == pages
        assert {("", None)} == {(one.token, one.headers.get("x-key")) for one in other.seen}
        assert {("the token", "author's")} == {
            (one.token, one.headers.get("x-key")) for one in server.seen
        }


def test_linked_pages_end(server: FakeServer) -> None:
    """With None where the list is gone, and with a sentence for a circle and for no address."""
    server.on("/gone", answer(404, Link='</gone>; rel="next"'))
    assert [None] == ask(
        lambda http: gathered(http.pages("gone", none_on=404)), base_url=server.url
    )
    for link, said in (
        ("</round>; rel=next", "round: its pages go round in a circle"),
        ("<mailto:me@h.example>; rel=next", "round: the link to its next page is no address"),
        ("<http://h:port/>; rel=next", "round: the link to its next page is no address"),
    ):
        server.on("/round", json_answer([], Link=link))
        with pytest.raises(ValueError, match=said):
            ask(lambda http: gathered(http.pages("round")), base_url=server.url)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (["<a>; rel=next"], "a"),
        (['<a>; rel="next"'], "a"),
        (['<a>; REL="Last NEXT"'], "a"),
        (['<a>;rel="prev",<b>;rel="next"'], "b"),
        (["<a>; rel=prev", "< b >; rel=next"], "b"),
        (['<a,b;c>; title="x; rel=prev, <y>; \\""; rel="next"'], "a,b;c"),
        (['<a>; rel="prev"; rel="next"'], None),
        (['<a>; anchor="/other"; rel="next"'], None),
        (['<a>; flag; rel="next"'], "a"),
        (["<>; rel=next"], ""),
        (["<a>"], None),
        (["a; rel=next"], None),
        (["<a"], None),
        ([""], None),
        ([], None),
    ],
)
def test_links_are_read_as_they_are_written(headers: list[str], expected: str | None) -> None:
    """Several to a header and several headers, relations in any case, quotes with anything."""
    assert expected == linked(headers, "next")


# --- what the run knows of it


def test_rows_hold_no_secret(server: FakeServer) -> None:
    """Method, host, path, status, time, size and try; they cross as they are."""
    get(server, answer(body="x" * 10), auth=SECRET)
    (row,) = found = REQUESTS.take()
    assert ("GET", "127.0.0.1", "/thing", 200, 10, 1, "") == (
        *(row.method, row.host, row.path, row.status),
        *(row.received_bytes, row.attempt, row.fault),
    )
    assert 0 < row.duration_ms < 60_000
    assert SECRET not in repr(found)
    assert found == unpack_requests(pack_requests(found))


def test_rows_are_bounded() -> None:
    """The first ones and the last ones, however many there are; names too."""
    log = RequestLog()
    for _ in range(1000):
        log.begin("GET", "h" * 1000, "/\ud800\n/" + "x" * 10_000, 1).end()
    unread = log.begin("GET", "host", "/", 1)
    kept = log.take()
    assert 2 * KEPT_AT_EACH_END == len(kept)
    assert [1, KEPT_AT_EACH_END, 1001] == [kept[0].number, kept[99].number, kept[-1].number]
    assert (1001 - 200, "unfinished") == (requests_left_out(kept), kept[-1].fault)
    assert ("/\\ud800�/…", 255) == (kept[0].path, len(kept[0].host))
    # What comes later belongs to no run.
    unread.end()
    assert () == log.take()
    assert 0 == requests_left_out(())
    assert isinstance(kept[0], HttpRequest)


def test_plain_clients_are_as_they_were(server: FakeServer) -> None:
    """Nothing of the rules, and no row; httpx2 tells of no request in the log of a charm."""
    prepare()
    server.on("/thing", answer(500))
    assert 500 == httpx2.get(f"{server.url}/thing").status_code
    assert (0, ()) == (REQUESTS.count, REQUESTS.take())
    assert not logging.getLogger("httpx2").isEnabledFor(logging.INFO)
    assert logging.getLogger("another").isEnabledFor(logging.INFO)


def test_one_context_is_shared_and_renewed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As long as the certificates are the same; it checks hosts, and knows authorities."""
    context = shared_tls_context()
    assert shared_tls_context() is context
    assert (ssl.CERT_REQUIRED, True) == (context.verify_mode, context.check_hostname)
    assert {one["subject"] for one in context.get_ca_certs()}
    own = tmp_path / "own.pem"
    self_signed(tmp_path)
    own.write_bytes((tmp_path / "localhost.pem").read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(own))
    named = shared_tls_context()
    assert named is not context
    assert shared_tls_context() is named
    monkeypatch.delenv("SSL_CERT_FILE")
    assert shared_tls_context() is not named


def test_threads_and_loops_may_each_have_a_client(server: FakeServer) -> None:
    """Clients share the context, and nothing else."""
    server.on("/thing", json_answer({"well": True}))
    found: list[Any] = []

    def work() -> None:
        found.append(ask(lambda http: http.json("/thing"), base_url=server.url))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [{"well": True}] * 3 == found
