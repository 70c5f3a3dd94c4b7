"""The client behind `self.http`: one of httpx2 that knows the rules of a run.

What a provider does becomes what a run ends with (`sdk/endings.py`): `Wait`, `ProviderDown`,
`SignInNeeded`. Bodies are bounded, safe requests are tried again within the time that the run has
left, and every request that goes out is a row of the run. No error holds a query, a header or a
body. Loaded when a charm asks for it: `Charm.http`.
"""

from __future__ import annotations

import asyncio
import errno
import json as json_module
import re
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Final, Protocol, runtime_checkable
from urllib.parse import quote

import httpx2

from bg_charm_service.domain.outcomes.run_endings import LONGEST_WAIT_SECONDS
from bg_charm_service.domain.version import VERSION
from bg_charm_service.domain.web.provider_limits import (
    SWITCHED_ON_SECONDS,
    is_limit,
    is_missing_scope,
    switched_off,
)
from bg_charm_service.domain.web.retry_after import named_seconds, retry_after_seconds
from bg_charm_service.sdk.endings import ProviderDown, SignInNeeded, Wait
from bg_charm_service.sdk.http_wire import (
    ATTEMPT,
    MOST_BYTES,
    Answer,
    BodyTooLarge,
    Wire,
    down,
    host_of,
    where,
)
from bg_charm_service.sdk.tls_context import shared_tls_context
from bg_charm_service.sdk.web_links import linked

#: How long a provider may take to be reached, and between two pieces of an answer, in seconds.
TIMEOUT_SECONDS: Final = 10.0

#: A try ends so long before the run's own time, so that the run can say why, in seconds.
_MARGIN_SECONDS: Final = 0.5

#: Before each of the quick retries, in seconds, less up to a fifth by chance.
_PAUSES_SECONDS: Final = (0.25, 1.0)

#: What may be asked twice without anything happening twice (RFC 9110, 9.2.1; RFC 4918; RFC 3253).
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "QUERY", "PROPFIND", "REPORT", "SEARCH"})

#: What a server says when it, or one behind it, may be well again in a moment.
_PASSING: Final = frozenset({500, 502, 503, 504})

_MOST_REDIRECTS: Final = 10

#: Of a body with an error so much is looked into.
_ERROR_BODY_BYTES: Final = 64 * 1024

#: What the extensions of a request tell the rules.
_RETURNS: Final = "charm_returns"
_SIGNED: Final = "charm_signed"

#: The host that the token and the author's headers are for, where it is not that of the request.
_HOME: Final = "charm_home"

_REFUSED: Final = {errno.EPERM, errno.EACCES}

_PLACE: Final = re.compile(r"\{(\w+)\}")

Default: Final = httpx2.USE_CLIENT_DEFAULT


@runtime_checkable
class TokenSource(Protocol):
    """Who has a token for a provider, and can have it renewed."""

    @property
    def token(self) -> str:
        """The token that counts now."""

    async def renew(self) -> None:
        """Have another token made; raises SignInNeeded where a person has to sign in for that."""


Auth = TokenSource | str | tuple[str, str] | httpx2.Auth


@dataclass(frozen=True, slots=True)
class _Sending:
    """How a request is sent."""

    is_stream: bool
    auth: Any
    follows: bool


class HttpClient(httpx2.AsyncClient):
    """A client of httpx2 with the rules of a run; made by `self.http(...)`."""

    def __init__(
        self,
        seconds_left: Callable[[], float],
        *,
        base_url: str = "",
        auth: Auth | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT_SECONDS,
        most_bytes: int = MOST_BYTES,
        limit_reasons: Collection[str] = (),
    ) -> None:
        if not (timeout > 0 and most_bytes > 0):
            raise ValueError(f"timeout={timeout!r}, most_bytes={most_bytes!r}: both are above 0")
        tokens = _token_source(auth)
        wire = httpx2.AsyncHTTPTransport(
            verify=shared_tls_context(),
            limits=httpx2.Limits(max_connections=20, max_keepalive_connections=10),
        )
        super().__init__(
            transport=Wire(wire, most_bytes),
            base_url=base_url,
            auth=auth if isinstance(auth, tuple | httpx2.Auth) else None,
            headers={"User-Agent": f"bg-charm-service/{VERSION}", **(headers or {})},
            # For a free connection a request waits as long as it has to: that is no provider's.
            timeout=httpx2.Timeout(timeout, pool=None),
            follow_redirects=True,
        )
        self._seconds_left = seconds_left
        self._tokens = None if tokens is None else _Tokens(tokens)
        self._home = _origin(self.base_url) if base_url else None
        self._has_auth = auth is not None
        self._given_headers = tuple(headers or ())
        self._timeout_seconds = timeout
        self._limit_reasons = frozenset(limit_reasons)

    # What authors call beside what httpx2 has.

    async def json(self, path: str, /, *, none_on: int | Collection[int] = (), **query: Any) -> Any:
        """GET a document of JSON; None where the status is one of `none_on`, or the body is empty.

            await http.json("messages/{id}", id=number, none_on=404)

        A name in braces is put into the path, all others into the query; those that are None are
        left out. Raises HTTPStatusError for a status that is an error, ValueError for what is no
        JSON.
        """
        path, params = _filled(path, query)
        return await self._document(path, none_on, params=params or None)

    async def pages(
        self,
        path: str,
        token_key: str = "",
        /,
        *,
        sent_as: str = "",
        none_on: int | Collection[int] = (),
        **query: Any,
    ) -> AsyncIterator[Any]:
        """GET a list page by page: each document, until one says that there is no other.

            async for page in http.pages("history", "nextPageToken", startHistoryId=point):
            async for page in http.pages("repos/{name}/issues", name=name, state="all"):

        `token_key` is where the token for the next page stands, "response_metadata.next_cursor" for
        one inside; `sent_as` the parameter that it is sent back as: the last name without "next",
        unless said. Without a `token_key` the header `Link: <…>; rel="next"` says where the next
        page is (RFC 8288): with its own query, and at another host without token and headers.
        A status of `none_on` gives None, and ends it.
        """
        if not token_key:
            async for page in self._linked_pages(path, none_on, query):
                yield page
            return
        sent_as = sent_as or _without_next(token_key.rpartition(".")[2])
        seen: set[str] = set()
        while True:
            page = await self.json(path, none_on=none_on, **query)
            yield page
            token = _token_in(page, token_key)
            if not token:
                return
            if token in seen:
                raise ValueError(f"{path}: it gave the same {token_key} twice")
            seen.add(token)
            query[sent_as] = token

    async def _linked_pages(
        self, path: str, none_on: int | Collection[int], query: dict[str, Any]
    ) -> AsyncIterator[Any]:
        """GET a list page by page, by the links that its answers have."""
        path, params = _filled(path, query)
        answers: list[httpx2.Response] = []
        address, home, seen = httpx2.URL(path), None, set()
        while True:
            answers.clear()
            extensions: dict[str, Any] = {} if home is None else {_HOME: home}
            yield await self._document(
                address, none_on, answers, params=params or None, extensions=extensions
            )
            answer = answers[0]
            target = linked(answer.headers.get_list("link"), "next")
            if target is None or not answer.is_success:
                return
            # A token is for the host of the list, wherever its pages lie.
            first = answer.history[0].request if answer.history else answer.request
            home = home or self._home or _origin(first.url)
            address, params = _joined(answer, target), {}
            if address in seen:
                raise ValueError(f"{where(answer.request)}: its pages go round in a circle")
            seen.add(address)

    async def _document(
        self,
        address: httpx2.URL | str,
        none_on: int | Collection[int],
        answers: list[httpx2.Response] | None = None,
        **options: Any,
    ) -> Any:
        """GET a document of JSON; its answer is put into `answers`."""
        none_on = {none_on} if isinstance(none_on, int) else set(none_on)
        response = await self.request("GET", address, returns=none_on, **options)
        if answers is not None:
            answers.append(response)
        if response.status_code in none_on:
            return None
        response.raise_for_status()
        return _json_of(response)

    async def request(
        self, method: str, url: httpx2.URL | str, *, returns: Collection[int] = (), **options: Any
    ) -> httpx2.Response:
        """Send a request; statuses of `returns` come back as an answer, whatever they mean.

        Else what asks to wait, to sign in again or says that the provider fails is raised, and
        other errors come back: `raise_for_status` raises them.
        """
        if returns:
            known = options.get("extensions") or {}
            options["extensions"] = {**known, _RETURNS: frozenset(returns)}
        return await super().request(method, url, **options)

    async def send(
        self,
        request: httpx2.Request,
        *,
        stream: bool = False,
        auth: Any = Default,
        follow_redirects: Any = Default,
    ) -> httpx2.Response:
        """Send a request by the rules; raises Wait, ProviderDown and SignInNeeded."""
        follows = self.follow_redirects if follow_redirects is Default else bool(follow_redirects)
        how = _Sending(is_stream=stream, auth=auth, follows=follows)
        for attempt in count(1):
            request.extensions[ATTEMPT] = attempt
            try:
                response = await self._send_in_time(request, how)
            except (httpx2.TransportError, httpx2.DecodingError) as fault:
                if _is_own(fault):
                    raise _own_fault(request, fault) from None
                if not (_is_passing(fault) and self._may_repeat(request, attempt)):
                    raise down(_asked(fault, request), fault) from fault
            else:
                if not (_may_pass(response) and self._may_repeat(request, attempt)):
                    return await self._judged(response, is_stream=stream)
                await response.aclose()
            await asyncio.sleep(_pause_seconds(attempt))
        raise AssertionError("a loop without an end has ended")

    async def _send_in_time(self, request: httpx2.Request, how: _Sending) -> httpx2.Response:
        """Send a request once, with its redirects, in the time that the run has left."""
        left = self._seconds_left() - _MARGIN_SECONDS
        # With less time than a provider is given, it is not to blame: the run's own limit strikes.
        within = left if left > self._timeout_seconds else None
        limit = asyncio.timeout(within)
        try:
            async with limit:
                return await self._send_on(request, how)
        except TimeoutError:
            if not limit.expired():
                raise
            text = "no whole answer in the time that the run had left"
            raise httpx2.ReadTimeout(text, request=request) from None

    async def _send_on(self, request: httpx2.Request, how: _Sending) -> httpx2.Response:
        """Send a request, and on to where it is redirected."""
        home = request.extensions.get(_HOME) or self._home or _origin(request.url)
        history: list[httpx2.Response] = []
        for _ in range(_MOST_REDIRECTS + 1):
            # What signs in at one host is nobody else's.
            if _origin(request.url) == home:
                response = await self._send_signed(request, how)
            else:
                self._take_back(request)
                response = await self._send_signed(request, replace(how, auth=None))
            response.history = list(history)
            if not (how.follows and response.has_redirect_location):
                return response
            if request.method not in _SAFE:
                if response.status_code == httpx2.codes.SEE_OTHER:
                    # It was done; where to read of it is the charm's to say.
                    return response
                await response.aclose()
                raise httpx2.HTTPStatusError(
                    f"{where(request)} answered {response.status_code}, and what changes something "
                    "is sent to no other address by itself",
                    request=request,
                    response=response,
                )
            await response.aclose()
            history.append(response)
            request = self._redirected(request, response)
        raise httpx2.TooManyRedirects(
            f"{where(request)}: more than {_MOST_REDIRECTS} redirects", request=request
        )

    def _take_back(self, request: httpx2.Request) -> None:
        """Take from a request the headers that the author gave for another host."""
        for name in self._given_headers:
            if request.headers.get(name) == self.headers.get(name):
                request.headers.pop(name, None)

    def _redirected(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Request:
        """The same request at the address of a redirect; only 303 makes it a GET."""
        following = response.next_request
        if following is None:
            text = f"{where(request)}: it redirects to no address"
            raise httpx2.RemoteProtocolError(text, request=request)
        extensions = {**request.extensions}
        if following.method == request.method or response.status_code == httpx2.codes.SEE_OTHER:
            following.extensions = extensions
            return following
        headers = httpx2.Headers(following.headers)
        headers.pop("content-length", None)
        content = request.content
        return httpx2.Request(
            request.method, following.url, headers=headers, content=content, extensions=extensions
        )

    async def _send_signed(self, request: httpx2.Request, how: _Sending) -> httpx2.Response:
        """Send a request with the token, once more with a new one where it is refused."""
        is_ours = how.auth is Default
        request.extensions[_SIGNED] = self._has_auth if is_ours else how.auth is not None
        if self._tokens is None or not is_ours:
            return await self._send_once(request, how)
        tokens, how = self._tokens, replace(how, auth=None)
        token = tokens.sign(request)
        response = await self._send_once(request, how)
        if response.status_code != httpx2.codes.UNAUTHORIZED or not tokens.can_renew(token):
            return response
        await response.aclose()
        await tokens.renew(token)
        if not isinstance(request.stream, httpx2.ByteStream):
            raise Wait(1, f"{where(request)}: its token was renewed, and what it sent is used up")
        tokens.sign(request)
        return await self._send_once(request, how)

    async def _send_once(self, request: httpx2.Request, how: _Sending) -> httpx2.Response:
        return await super().send(
            request, stream=how.is_stream, auth=how.auth, follow_redirects=False
        )

    async def _judged(self, response: httpx2.Response, *, is_stream: bool) -> httpx2.Response:
        """Give an answer that is for the charm to read; raises what it means for the run else."""
        ending = await self._meaning(response)
        if ending is not None:
            await response.aclose()
            raise ending
        if is_stream and isinstance(response, Answer):
            response.body.is_read_by_charm = True
        return response

    async def _meaning(self, response: httpx2.Response) -> Exception | None:
        """What an error's status means for the run; None where it is the charm's own."""
        status, request = response.status_code, response.request
        if status < 400 or status in request.extensions.get(_RETURNS, ()):
            return None
        text, headers = f"{where(request)} answered {status}", response.headers
        is_signed = request.extensions.get(_SIGNED, False)
        if status == httpx2.codes.TOO_MANY_REQUESTS:
            return Wait(_until(named_seconds(headers)), text)
        if status >= 500:
            seconds = retry_after_seconds(headers)
            if status == httpx2.codes.SERVICE_UNAVAILABLE and seconds is not None:
                return Wait(_until(seconds), text)
            return ProviderDown(text, host=host_of(request))
        if status == httpx2.codes.UNAUTHORIZED and is_signed:
            return SignInNeeded(text)
        if status == httpx2.codes.FORBIDDEN:
            host, body = host_of(request), await _error_body(response)
            if is_limit(host, headers, body, self._limit_reasons):
                return Wait(_until(named_seconds(headers)), f"{text}: a limit")
            if is_signed and is_missing_scope(host, headers, body):
                return SignInNeeded(f"{text}: the sign-in does not reach so far")
            if told := switched_off(host, body):
                return Wait(SWITCHED_ON_SECONDS, f"{text}: {told}")
        return None

    def _may_repeat(self, request: httpx2.Request, attempt: int) -> bool:
        """Whether a request may be sent once more after this attempt."""
        if attempt > len(_PAUSES_SECONDS):
            return False
        needed = _PAUSES_SECONDS[attempt - 1] + self._timeout_seconds + _MARGIN_SECONDS
        return (
            request.method in _SAFE
            and isinstance(request.stream, httpx2.ByteStream)
            and self._seconds_left() > needed
        )


class _Tokens:
    """The token of a client: put into its requests, and renewed once, for all that were refused."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self._lock = asyncio.Lock()
        self._is_renewed = False

    def sign(self, request: httpx2.Request) -> str:
        """Put the token into a request; gives it."""
        token = self._source.token
        request.headers["Authorization"] = f"Bearer {token}"
        return token

    def can_renew(self, refused: str) -> bool:
        """Whether there is, or may be, another token than the one that was refused."""
        return not self._is_renewed or self._source.token != refused

    async def renew(self, refused: str) -> None:
        """Have a token that was refused renewed, unless somebody has done so meanwhile."""
        async with self._lock:
            if self._source.token == refused and not self._is_renewed:
                await self._source.renew()
                self._is_renewed = True


class _FixedToken:
    """A token that nobody can renew."""

    def __init__(self, token: str) -> None:
        self.token = token

    async def renew(self) -> None:
        """Do nothing: it is refused again, and a person has to give another."""


def _token_source(auth: Auth | None) -> TokenSource | None:
    if auth is None or isinstance(auth, tuple | httpx2.Auth):
        return None
    if isinstance(auth, str):
        return _FixedToken(auth)
    if isinstance(auth, TokenSource):
        return auth
    raise TypeError(
        "auth is a token, (user, password), an Auth of httpx2, or an object with `token` and "
        f"`async renew()`, not {type(auth).__name__}"
    )


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    default = {"https": 443, "http": 80}.get(url.scheme)
    return url.scheme, url.host, url.port or default


def _asked(fault: httpx2.RequestError, request: httpx2.Request) -> httpx2.Request:
    """The request that failed: that of a redirect, it may be."""
    with suppress(RuntimeError):
        return fault.request
    return request


def _may_pass(response: httpx2.Response) -> bool:
    """Whether an answer says that it may be another one in a moment."""
    status = response.status_code
    is_meant = status in response.request.extensions.get(_RETURNS, ())
    is_timed = retry_after_seconds(response.headers) is not None
    return status in _PASSING and not is_meant and not is_timed


def _is_own(fault: Exception) -> bool:
    """Whether what could not be sent was the charm's own fault."""
    return isinstance(fault, httpx2.LocalProtocolError | httpx2.UnsupportedProtocol)


def _own_fault(request: httpx2.Request, fault: Exception) -> ValueError:
    """Say that a request cannot be sent, without the header that it may be about."""
    if isinstance(fault, httpx2.UnsupportedProtocol):
        return ValueError(f"{where(request)}: an address begins with https:// or http://")
    return ValueError(f"{where(request)}: a header or the body cannot be sent as it is")


def _is_passing(fault: BaseException) -> bool:
    """Whether a fault may be over in a moment: no wall, no name and no certificate is behind it."""
    link: BaseException | None = fault
    for _ in range(20):
        if link is None:
            break
        if isinstance(link, ssl.SSLCertVerificationError | socket.gaierror):
            return False
        if isinstance(link, OSError) and link.errno in _REFUSED:
            return False
        link = link.__cause__ or link.__context__
    return True


def _pause_seconds(attempt: int) -> float:
    # Not by `random`: its numbers are the charm's, which may have seeded it.
    less = secrets.randbelow(1000) / 5000
    return _PAUSES_SECONDS[attempt - 1] * (1 - less)


def _until(seconds: float | None) -> float:
    """A time to wait for; what is not ahead names none."""
    return min(seconds or 0.0, LONGEST_WAIT_SECONDS)


async def _error_body(response: httpx2.Response) -> object:
    """The body of an error as JSON; None where it is none, or not to be had."""
    if isinstance(response, Answer):
        response.most_bytes = min(response.most_bytes, _ERROR_BODY_BYTES)
    with suppress(ValueError, BodyTooLarge, httpx2.HTTPError, RecursionError):
        return json_module.loads(await response.aread())
    return None


def _joined(response: httpx2.Response, target: str) -> httpx2.URL:
    """The address of a link in an answer; raises ValueError for what is none."""
    try:
        joined = response.url.join(target)
    except httpx2.InvalidURL:
        joined = httpx2.URL("")
    if joined.scheme not in ("http", "https") or not joined.host:
        raise ValueError(f"{where(response.request)}: the link to its next page is no address")
    return joined.copy_with(fragment=None)


def _json_of(response: httpx2.Response) -> Any:
    if not response.content.strip():
        return None
    try:
        return response.json()
    except (ValueError, RecursionError):
        kind = response.headers.get("content-type", "no type").partition(";")[0]
        text = f"{where(response.request)} answered {response.status_code} with no JSON: {kind:.50}"
        raise ValueError(text) from None


def _filled(path: str, query: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Put what a path names into it, and leave the rest of what has a value for the query."""
    named: set[str] = set()

    def put(found: re.Match[str]) -> str:
        name = found[1]
        value = query.get(name)
        named.add(name)
        if value is None or str(value) in ("", ".", ".."):
            raise ValueError(f"{path}: {name} is {value!r:.20}, which is no part of a path")
        return quote(str(value), safe="")

    filled = _PLACE.sub(put, path)
    left = {name: one for name, one in query.items() if one is not None and name not in named}
    return filled, left


def _without_next(name: str) -> str:
    """What a token for the next page is sent back as: nextPageToken as pageToken."""
    rest = name.removeprefix("next").lstrip("_")
    return f"{rest[:1].lower()}{rest[1:]}" if rest and rest != name else name


def _token_in(page: Any, token_key: str) -> str:
    for name in token_key.split("."):
        page = page.get(name) if isinstance(page, dict) else None
    return str(page) if page else ""
