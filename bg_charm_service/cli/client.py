"""The HTTP client of the service: over its socket while it runs, else in-process.

While no service runs, the client opens the data directory itself, under the same lock, and speaks
to the same routes without a socket. Raises only errors of ours. Called by the command line.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager as AsyncContext
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TypeVar
from urllib.parse import quote

import httpx2
import msgspec
import tenacity

from bg_charm_service.cli.service_socket import is_listening, socket_path
from bg_charm_service.daemon.key_rotation import finish_rotation, next_identity
from bg_charm_service.daemon.operator_identity import operator_identity
from bg_charm_service.daemon.settings import Settings
from bg_charm_service.domain.errors import (
    AuthorizationError,
    CompilerError,
    Conflict,
    DataDirectoryBusy,
    InvalidInput,
    NotFound,
    NotShared,
    NotSignedIn,
    ServiceError,
    ServiceStopping,
    StandingBy,
    TooManyAttempts,
)
from bg_charm_service.storage.data_directory import check_has_database

Kind = TypeVar("Kind")

#: Errors that a command minds more closely than their status says, by what the service calls them.
_KINDS: dict[object, type[ServiceError]] = {
    kind.__name__: kind for kind in (CompilerError, NotShared, StandingBy)
}

#: How long a data directory may be locked by one who does not answer yet, in seconds.
BUSY_WAIT_SECONDS = 10.0

_ERRORS: dict[int, type[ServiceError]] = {
    400: InvalidInput,
    401: NotSignedIn,
    403: AuthorizationError,
    404: NotFound,
    409: Conflict,
    413: InvalidInput,
    429: TooManyAttempts,
    503: ServiceStopping,
}


class Response:
    """A successful answer: the JSON as it came, read as a value only when asked."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def read(self, kind: type[Kind]) -> Kind:
        """Give the answer as one of our dataclasses."""
        try:
            return msgspec.json.decode(self.content, type=kind)
        except msgspec.DecodeError as error:
            raise ServiceError(
                f"The service answered in an unknown form ({error}). Is it of another version?"
            ) from None


class Client:
    """Sends requests, and raises what the service refused as the error it was."""

    def __init__(self, http: httpx2.AsyncClient, *, is_online: bool) -> None:
        self._http = http
        self.is_online = is_online  #: a service runs, and answers

    async def get(self, *path: str, **query: object) -> Response:
        """Get the resource at these segments of a path."""
        return await self._send("GET", path, query=query)

    async def post(
        self,
        *path: str,
        body: object = None,
        query: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Response:
        """Post a JSON value, if any."""
        return await self._send("POST", path, body=body, query=query, headers=headers)

    async def put(self, *path: str, body: object) -> Response:
        """Put a JSON value; bytes are JSON already."""
        return await self._send("PUT", path, body=body)

    async def delete(self, *path: str) -> Response:
        """Delete a resource."""
        return await self._send("DELETE", path)

    async def pieces(self, *path: str, method: str = "GET") -> AsyncIterator[bytes]:
        """Get a long answer in pieces; while no service runs, all of it is in memory first."""
        with _transport_errors():
            async with self._http.stream(method, _url(path)) as response:
                if response.is_error:
                    await response.aread()
                    raise _error_of(response)
                async for piece in response.aiter_bytes():
                    yield piece

    async def _send(
        self,
        method: str,
        path: tuple[str, ...],
        *,
        query: dict[str, object] | None = None,
        body: object = None,
        headers: dict[str, str] | None = None,
    ) -> Response:
        content: bytes | None = None
        if isinstance(body, bytes):
            content = body
        elif body is not None:
            # Small, since a body has its limit; half a surrogate pair is for the service to refuse.
            text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
            content = text.encode("utf-8", "surrogatepass")
        sent = {"content-type": "application/json"} if content is not None else {}
        given = {
            name: [str(one) for one in value] if isinstance(value, list) else str(value)
            for name, value in (query or {}).items()
            if value is not None
        }
        with _transport_errors():
            response = await self._http.request(
                method, _url(path), params=given, content=content, headers=sent | (headers or {})
            )
        if response.is_error:
            raise _error_of(response)
        return Response(response.content)


@asynccontextmanager
async def open_client(
    settings: Settings, *, makes_directory: bool = False
) -> AsyncIterator[Client]:
    """Connect to the service of --url, or else to that of the data directory, or open that.

    Raises DataDirectoryBusy when the directory stays locked and nobody answers on its socket (a
    start, or another command, gets some time), DataDirectoryError when this user may not use it,
    and NotFound where there is no database yet, unless one may be made.
    """
    client, opened = await _open(settings, makes_directory=makes_directory)
    async with opened:
        yield client


@asynccontextmanager
async def connect_if_running(settings: Settings) -> AsyncIterator[Client | None]:
    """Connect to the service of --url, or to the one that runs; gives None where none does."""
    url, token = settings.service_url, settings.service_token
    connecting: AsyncContext[Client | None]
    connecting = connect_to_socket(settings) if url is None else _connect_to_url(url, token)
    async with connecting as client:
        yield client


@asynccontextmanager
async def connect_to_socket(settings: Settings) -> AsyncIterator[Client | None]:
    """Connect to the running service; gives None where none runs."""
    with socket_path(settings.data_dir) as path:
        if path is None or not is_listening(path, settings.data_dir, BUSY_WAIT_SECONDS):
            yield None
            return
        # Nothing is encrypted there, and to load certificates takes longer than the request.
        transport = httpx2.AsyncHTTPTransport(uds=path, verify=False)
        async with _http(transport) as http:
            yield Client(http, is_online=True)


@asynccontextmanager
async def _connect_to_url(url: str, token: str | None) -> AsyncIterator[Client]:
    """Connect to a service by its address; no proxy of the environment gets to see the token."""
    headers = {"authorization": f"Bearer {token}"} if token is not None else {}
    async with _http(httpx2.AsyncHTTPTransport(), url, headers) as http:
        yield Client(http, is_online=True)


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(DataDirectoryBusy),
    wait=tenacity.wait_fixed(0.1),
    stop=tenacity.stop_after_delay(BUSY_WAIT_SECONDS),
    reraise=True,
)
async def _open(settings: Settings, *, makes_directory: bool) -> tuple[Client, AsyncExitStack]:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(connect_if_running(settings))
        if client is None:
            if not makes_directory and settings.database is None:
                check_has_database(settings.data_dir)
            client = await stack.enter_async_context(_open_directory(settings))
        return client, stack.pop_all()


@asynccontextmanager
async def _open_directory(settings: Settings) -> AsyncIterator[Client]:
    from bg_charm_service.api import create_app
    from bg_charm_service.api.auth.listeners import SOCKET, ListenerMiddleware
    from bg_charm_service.daemon.node import lease_of_a_command
    from bg_charm_service.daemon.service_config import service_config
    from bg_charm_service.service.bootstrap import open_service
    from bg_charm_service.service.dependencies import Dependencies

    _drop_logs()
    identity = operator_identity(settings, os.environ)
    config = service_config(
        settings, identity, is_polling=False, next_identity=next_identity(settings)
    )
    with lease_of_a_command(settings) as lease:
        async with open_service(config, Dependencies.of_node(lease)) as service:
            finish_rotation(settings, config.next_identity, service.operator)
            app = ListenerMiddleware(create_app(service.commands), SOCKET)
            transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
            async with _http(transport) as http:
                yield Client(http, is_online=False)


def _drop_logs() -> None:
    """Print no log lines: what concerns the person comes as an error."""
    from loguru import logger

    logger.remove()
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(logging.NullHandler())


def _http(
    transport: httpx2.AsyncBaseTransport,
    url: str = "http://service",
    headers: dict[str, str] | None = None,
) -> httpx2.AsyncClient:
    # A run may take as long as its limit says, so only connecting has a limit here.
    timeout = httpx2.Timeout(None, connect=BUSY_WAIT_SECONDS)
    return httpx2.AsyncClient(
        transport=transport, base_url=url, headers=headers, timeout=timeout, trust_env=False
    )


def _url(path: tuple[str, ...]) -> str:
    return "/api/" + "/".join(quote(segment, safe="") for segment in path)


def _error_of(response: httpx2.Response) -> ServiceError:
    kind = _ERRORS.get(response.status_code, ServiceError)
    try:
        problem = response.json()
        text = str(problem["error"])
        kind = _KINDS.get(problem.get("kind"), kind)
    except (ValueError, KeyError, TypeError, AttributeError):
        text = f"The service answered {response.status_code} {response.reason_phrase}."
    return kind(text)


@contextmanager
def _transport_errors() -> Iterator[None]:
    try:
        yield
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{error.object!a:.100} is not valid Unicode text.") from None
    except httpx2.InvalidURL as error:
        raise InvalidInput(f"The request cannot be sent: {error}") from None
    except httpx2.ConnectError as error:
        raise ServiceError(
            f"{error.request.url.copy_with(path='/', query=None)} cannot be reached: {error}"
        ) from None
    except httpx2.TransportError as error:
        raise ServiceStopping(
            "The service ended the connection without an answer; it may be stopping, "
            f"and its log says more ({type(error).__name__})."
        ) from None
