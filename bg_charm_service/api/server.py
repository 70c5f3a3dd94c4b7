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
from uvicorn.protocols.http.h11_impl import H11Protocol

from bg_charm_service.api.auth.listeners import SOCKET, TCP, ListenerMiddleware
from bg_charm_service.api.auth.peers import is_from_own_child

#: How long an answer under way may take to go out at a stop, in seconds.
_CLOSE_SECONDS = 5.0


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
    listener = _listen(path)
    try:
        async with Server(app, ports, TCP), Server(app, [listener], SOCKET):
            yield
    finally:
        _remove_socket(path)


def _remove_socket(path: Path) -> None:
    path.unlink(missing_ok=True)


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
