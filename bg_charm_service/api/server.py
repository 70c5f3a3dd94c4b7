"""Serves the application on the data directory's socket and on ports, in the service's own loop.

The socket's permissions are its credential: only the service's user may connect. What it takes
is limited by `connections`, and taken in by `acceptor`; uvicorn speaks HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

import uvicorn
from loguru import logger
from starlette.types import ASGIApp

from bg_charm_service.api.acceptor import Acceptor, Refusals
from bg_charm_service.api.auth.listeners import HOOKS, SOCKET, TCP, ListenerMiddleware
from bg_charm_service.api.auth.peers import Peer, Peers, is_from_own_child
from bg_charm_service.api.connections import ConnectionLimits, Connections
from bg_charm_service.api.http_connection import HttpConnection, Operator

#: How long an answer under way may take to go out at a stop, in seconds.
_CLOSE_SECONDS = 5.0

#: Half requests over the socket of the data directory count as those over ports do.
_SOCKET_LIMITS = ConnectionLimits(most=128, of_a_peer=128)

#: Connections to the listener of hooks, at a time, and taken in a second: one that is refused takes
#: the loop 0.3 ms, and polls are started by the same loop.
MOST_HOOK_CONNECTIONS = 100
HOOK_CONNECTIONS_A_SECOND = 500.0

_NO_ROOM = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-length: 0\r\n\r\n"
)

#: Gives who is at the other end of an accepted socket; None for one to hang up on.
WhoIsThere = Callable[[socket.socket, tuple[object, ...]], Peer | Operator | None]

#: How often it is seen to that the socket is still there, in seconds.
_LOOK_SECONDS = 1.0


class _Server(uvicorn.Server):
    """Leaves signals to the service: uvicorn would take SIGTERM, and raise it a second time."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """An async context in which the application answers on listening sockets of one kind."""

    def __init__(
        self,
        app: ASGIApp,
        listeners: Sequence[socket.socket],
        kind: str,
        limits: ConnectionLimits,
        who: WhoIsThere,
    ) -> None:
        self._listeners = list(listeners)
        self._limits = limits
        self._who = who
        self._config = uvicorn.Config(
            ListenerMiddleware(app, kind),
            # A header must not say where a request comes from.
            proxy_headers=False,
            server_header=False,
            http=HttpConnection,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=int(_CLOSE_SECONDS),
        )
        self._server = _Server(self._config)
        self._connections = Connections(limits)
        self._refusals = Refusals()
        self._acceptors: list[Acceptor] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Server:
        if self._listeners:
            # It is given no socket to accept on: what it lets in has no limit.
            self._tasks = [
                asyncio.create_task(self._server.serve(sockets=[])),
                asyncio.create_task(self._count_seconds()),
            ]
            reserved, a_second = self._limits.reserved, self._limits.a_second
            self._acceptors = [
                Acceptor(each, self._take, self._refusals, reserved, a_second)
                for each in self._listeners
            ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for acceptor in self._acceptors:
            acceptor.close()
        self._server.should_exit = True
        if self._tasks:
            serving, counting = self._tasks
            await serving
            counting.cancel()
            await asyncio.gather(counting, *self._opening, return_exceptions=True)

    def _take(self, accepted: socket.socket, address: tuple[object, ...]) -> None:
        peer = self._who(accepted, address)
        if peer is None:
            accepted.close()
            return
        connection = HttpConnection(
            self._config, self._server.server_state, peer, self._connections
        )
        if not self._connections.add(connection):
            self._refusals.tell("A connection of {} was refused: it has too many", peer.name)
            _refuse(accepted)
            return
        opening = asyncio.create_task(self._open(connection, accepted))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    async def _open(self, connection: HttpConnection, accepted: socket.socket) -> None:
        try:
            accepted.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.connect_accepted_socket(lambda: connection, accepted)
        except OSError as error:
            self._connections.remove(connection)
            self._refusals.tell("A connection could not be opened: {}", error.strerror or error)
            accepted.close()

    async def _count_seconds(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._connections.note_second()


@contextlib.asynccontextmanager
async def serve(
    app: ASGIApp, path: Path, ports: Sequence[socket.socket], limits: ConnectionLimits
) -> AsyncIterator[None]:
    """Answer on the socket of the data directory, and on ports, if any; limits are for ports."""
    peers = Peers()

    def on_port(accepted: socket.socket, address: tuple[object, ...]) -> Peer:
        return peers.at(address, accepted.getsockname())

    def on_socket(accepted: socket.socket, address: tuple[object, ...]) -> Operator | None:
        # At once: of a process that is gone nobody can tell any more.
        return None if is_from_own_child(accepted) else Operator()

    try:
        with _fewer_lines():
            async with (
                Server(app, ports, TCP, limits, on_port),
                _OwnSocket(app, path, on_socket),
            ):
                yield
    finally:
        peers.close()


@contextlib.asynccontextmanager
async def serve_hooks(
    app: ASGIApp, ports: Sequence[socket.socket], *, reserved: int
) -> AsyncIterator[None]:
    """Answer on ports of their own, inside of `serve`; of the descriptors some stay free."""
    peers = Peers()

    def on_port(accepted: socket.socket, address: tuple[object, ...]) -> Peer:
        return peers.at(address, accepted.getsockname())

    # Behind a tunnel all senders are one peer.
    limits = ConnectionLimits(
        *(MOST_HOOK_CONNECTIONS, MOST_HOOK_CONNECTIONS, reserved, HOOK_CONNECTIONS_A_SECOND)
    )
    try:
        async with Server(app, ports, HOOKS, limits, on_port):
            yield
    finally:
        peers.close()


def _refuse(accepted: socket.socket) -> None:
    """Say that there is no room, to whoever reads it, and hang up."""
    with contextlib.suppress(OSError):
        accepted.send(_NO_ROOM, socket.MSG_DONTWAIT)
    accepted.close()


class _NowAndThen(logging.Filter):
    """Lets few lines without a traceback through: uvicorn has one about each broken request."""

    def __init__(self) -> None:
        super().__init__()
        self._not_before = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info is not None:
            return True
        if record.created < self._not_before:
            return False
        self._not_before = record.created + 1.0
        return True


@contextlib.contextmanager
def _fewer_lines() -> Iterator[None]:
    few = _NowAndThen()
    log = logging.getLogger("uvicorn.error")
    log.addFilter(few)
    try:
        yield
    finally:
        log.removeFilter(few)


class _OwnSocket:
    """An async context in which the application answers on the socket of the data directory.

    One that was deleted meanwhile is made anew; another's in its place is left alone.
    """

    def __init__(self, app: ASGIApp, path: Path, who: WhoIsThere) -> None:
        self._app = app
        self._path = path
        self._who = who
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
        server = Server(self._app, [listener], SOCKET, _SOCKET_LIMITS, self._who)
        await self._servers.enter_async_context(server)

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
