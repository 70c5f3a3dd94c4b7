"""Serves the application on the data directory's socket and on ports, in the service's own loop.

The socket's permissions are its credential: only the service's user may connect.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from types import TracebackType

import uvicorn
from fastapi import FastAPI
from loguru import logger
from uvicorn.protocols.http.h11_impl import H11Protocol

from bg_charm_service.api.auth.listeners import SOCKET, TCP, ListenerMiddleware
from bg_charm_service.api.auth.peers import is_from_own_child

#: How long an answer under way may take to go out at a stop, in seconds.
_CLOSE_SECONDS = 5.0

#: How often it is seen to that the socket is still there, in seconds.
_LOOK_SECONDS = 1.0


class _Server(uvicorn.Server):
    """Leaves signals to the service: uvicorn would take SIGTERM, and raise it a second time."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(H11Protocol):
    """Hangs up on the charms of this very service."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if is_from_own_child(transport.get_extra_info("socket")):
            transport.abort()


class Server:
    """An async context in which the application answers on listening sockets of one kind."""

    def __init__(self, app: FastAPI, sockets: Sequence[socket.socket], listener: str) -> None:
        self._sockets = list(sockets)
        config = uvicorn.Config(
            ListenerMiddleware(app, listener),
            # A header must not say where a request comes from.
            proxy_headers=False,
            server_header=False,
            http=_Protocol,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=int(_CLOSE_SECONDS),
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Server:
        if self._sockets:
            self._task = asyncio.create_task(self._server.serve(sockets=self._sockets))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        if self._task is not None:
            await self._task


@contextlib.asynccontextmanager
async def serve(app: FastAPI, path: Path, ports: Sequence[socket.socket]) -> AsyncIterator[None]:
    """Answer on the socket of the data directory, and on ports, if any."""
    async with Server(app, ports, TCP), _OwnSocket(app, path):
        yield


class _OwnSocket:
    """An async context in which the application answers on the socket of the data directory.

    One that was deleted meanwhile is made anew; another's in its place is left alone.
    """

    def __init__(self, app: FastAPI, path: Path) -> None:
        self._app = app
        self._path = path
        self._servers = contextlib.AsyncExitStack()
        self._bound: os.stat_result | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        await self._bind()
        self._keeping = asyncio.create_task(self._keep())

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._keeping is not None
        self._keeping.cancel()
        await asyncio.gather(self._keeping, return_exceptions=True)
        await self._servers.aclose()
        if self._is_ours():
            self._path.unlink(missing_ok=True)

    async def _bind(self) -> None:
        listener = _listen(self._path)
        self._bound = os.stat(self._path)
        # Whoever is connected to an older one stays so.
        await self._servers.enter_async_context(Server(self._app, [listener], SOCKET))

    async def _keep(self) -> None:
        is_told = False
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._is_ours():
                is_told = False
            elif not self._is_taken():
                # Where the directory is gone too, the database tells of it.
                with contextlib.suppress(OSError):
                    await self._bind()
                    logger.bind(event="socket_remade").warning(
                        "{} was deleted; commands reach the service on a new one", self._path
                    )
            elif not is_told:
                is_told = True
                logger.bind(event="socket_replaced").error(
                    "{} was replaced by another file: commands do not reach this service. "
                    "Delete that file, and the service makes its socket anew",
                    self._path,
                )

    def _is_taken(self) -> bool:
        return os.path.lexists(self._path)

    def _is_ours(self) -> bool:
        assert self._bound is not None
        try:
            return os.path.samestat(self._bound, os.stat(self._path))
        except OSError:
            return False


def _listen(path: Path) -> socket.socket:
    """Bind the socket; one that a killed service left is replaced: the directory is locked."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        with _short(path) as short:
            listener.bind(short)
    finally:
        os.umask(mask)
    listener.listen(128)
    listener.setblocking(False)
    return listener


def is_answering(path: Path) -> bool:
    """Whether a service takes connections on a socket."""
    with _short(path) as short, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(short)
        except OSError:
            return False
    return True


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give a path of less than 108 bytes to a socket, which is all that one may have."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
