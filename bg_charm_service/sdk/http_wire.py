"""What goes over the network for `self.http`: bounded bodies, rows of the run, nothing secret.

The transport under the client of `sdk/http_client.py`, and the answers that it gives. Nothing here
knows what an answer means for a run.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Final

import httpx2

from bg_charm_service.domain.quantities import size_text
from bg_charm_service.domain.web.requests import short_path
from bg_charm_service.sdk.endings import ProviderDown
from bg_charm_service.sdk.request_log import REQUESTS, OpenRequest

#: The largest body of an answer, unless the charm says otherwise: on the way, and unpacked.
MOST_BYTES: Final = 16 * 1024 * 1024

#: An extension of a request: which try of it this is.
ATTEMPT: Final = "charm_attempt"

_WHERE_CHARACTERS: Final = 200

#: So many faults are looked at behind one.
_MOST_FAULTS: Final = 50


class BodyTooLarge(Exception):
    """The body of an answer is larger than the client takes: `most_bytes`."""


class Wire(httpx2.AsyncBaseTransport):
    """What goes over the network: each request is a row of the run, and no body grows too large."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, most_bytes: int) -> None:
        self._inner = inner
        self._most_bytes = most_bytes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        attempt = request.extensions.get(ATTEMPT, 1)
        row = REQUESTS.begin(request.method, host_of(request), request.url.path, attempt)
        try:
            response = await self._inner.handle_async_request(request)
            row.status = response.status_code
            said = response.headers.get("content-length", "")
            if said.isdigit() and int(said) > self._most_bytes and request.method != "HEAD":
                await response.aclose()
                raise _too_large(request, self._most_bytes)
        except BaseException as error:
            row.end(type(error).__name__)
            raise
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        body = Body(response.stream, request, row, self._most_bytes)
        answer = Answer(
            response.status_code,
            headers=response.headers,
            stream=body,
            extensions=response.extensions,
        )
        answer.body, answer.most_bytes = body, self._most_bytes
        return answer

    async def aclose(self) -> None:
        await self._inner.aclose()


class Body(httpx2.AsyncByteStream):
    """The body of an answer as it comes over the network."""

    def __init__(
        self,
        inner: httpx2.AsyncByteStream,
        request: httpx2.Request,
        row: OpenRequest,
        most_bytes: int,
    ) -> None:
        self._inner = inner
        self._request = request
        self._row = row
        self._most_bytes = most_bytes
        #: Nobody tries again what a charm reads piece by piece.
        self.is_read_by_charm = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._inner:
                self._row.received_bytes += len(part)
                if self._row.received_bytes > self._most_bytes:
                    raise _too_large(self._request, self._most_bytes)
                yield part
        except (Exception, asyncio.CancelledError) as error:
            self._row.end(type(error).__name__)
            if self.is_read_by_charm and isinstance(error, httpx2.TransportError):
                raise down(self._request, error) from error
            raise

    async def aclose(self) -> None:
        self._row.end()
        await self._inner.aclose()


class Answer(httpx2.Response):
    """An answer whose body is bounded when it is unpacked too, and whose errors hold no query."""

    body: Body
    most_bytes = MOST_BYTES

    async def aiter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:  # type: ignore[override]
        # Pieces are gathered up to their size before they are seen here.
        size = chunk_size if chunk_size is None else min(chunk_size, self.most_bytes)
        unpacked = 0
        async with aclosing(super().aiter_bytes(size)) as parts:
            async for part in parts:
                unpacked += len(part)
                if unpacked > self.most_bytes:
                    raise _too_large(self.request, self.most_bytes)
                yield part

    def raise_for_status(self) -> Answer:
        """Raise HTTPStatusError for an error's status."""
        if self.is_success or self.is_informational or self.is_redirect:
            return self
        text = f"{where(self.request)} answered {self.status_code}"
        raise httpx2.HTTPStatusError(text, request=self.request, response=self)


def down(request: httpx2.Request, fault: Exception) -> ProviderDown:
    """Say that a provider was not reached, or did not answer to the end."""
    host = host_of(request)
    behind = list(_behind(fault))
    if any(isinstance(one, socket.gaierror) for one in behind):
        said = f"there is no host {host}, or its name cannot be looked up now"
    elif any(isinstance(one, ConnectionRefusedError) for one in behind):
        said = f"nobody listens at {host}, or not at this port"
    else:
        text = " ".join(str(fault).split())
        said = f"{type(fault).__name__}{f': {text}' if text else ''}"
    return ProviderDown(f"{where(request)}: {said}", host=host)


def _behind(fault: BaseException) -> Iterator[BaseException]:
    """A fault, and what led to it."""
    pending: list[BaseException | None] = [fault]
    for _ in range(_MOST_FAULTS):
        one = pending.pop() if pending else None
        if one is None:
            continue
        yield one
        pending += [one.__context__, one.__cause__]
        if isinstance(one, BaseExceptionGroup):
            pending += one.exceptions


def where(request: httpx2.Request) -> str:
    """Name a request: its method, host and path; nothing of its query."""
    url = request.url
    port = f":{url.port}" if url.port is not None else ""
    path = short_path(url.path, _WHERE_CHARACTERS)
    return f"{request.method} {host_of(request)}{port}{path}"


def host_of(request: httpx2.Request) -> str:
    """The host of a request, as it is looked up."""
    return request.url.raw_host.decode("ascii", "replace").lower()


def _too_large(request: httpx2.Request, most_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"{where(request)}: its answer is larger than {size_text(most_bytes)} (most_bytes)"
    )
