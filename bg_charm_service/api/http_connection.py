"""HTTP on one connection: uvicorn's protocol with deadlines for whoever keeps it waiting.

uvicorn itself waits for ever for the rest of a request, and for its answer to be taken. Seconds
are counted one by one, so that a service that was held up itself blames nobody. Used by the server.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from bg_charm_service.api.auth.peers import OPERATOR, Peer
from bg_charm_service.api.connections import Connections

#: The head of a request has to be there within this, in seconds.
HEAD_SECONDS = 10

#: Its body within this, and a second more for so many bytes that came, in all this at most.
BODY_SECONDS = 20
BODY_BYTES_A_SECOND = 64 * 1024
MOST_BODY_SECONDS = 300

#: An answer of which nothing is taken for so many seconds is given up.
ANSWER_SECONDS = 30


class Operator:
    """Whoever opened the socket of the data directory."""

    name = OPERATOR

    async def is_from_own_child(self) -> bool:
        """Charms were turned away as they came."""
        return False


class HttpConnection(H11Protocol):
    """One connection, known to those of its kind."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        peer: Peer | Operator,
        connections: Connections,
    ) -> None:
        # Routes find who asks in the state of the request.
        super().__init__(config, server_state, {"peer": peer})
        self.peer = peer
        self._connections = connections
        self._answer: Any = self.app
        self.app = self._answer_others
        self._is_open = self._is_dropped = False
        self._phase: Any = self.conn.their_state
        self._seconds = 0
        self._received_bytes = 0
        self._unsent_bytes = 0
        self._stuck_seconds = 0

    @property
    def is_waiting(self) -> bool:
        """Whether no whole head of a request has come that is not answered yet."""
        return self.conn.their_state is h11.IDLE

    def drop(self) -> None:
        """End it at once, whatever is under way."""
        self._is_dropped = True
        if self._is_open:
            self.transport.abort()

    def note_second(self) -> None:
        """Count a second of waiting for the other end; ends the connection when it was too long."""
        if not self._is_open:
            return
        self._note_unsent(self.transport.get_write_buffer_size())
        if self.conn.their_state is not self._phase:
            self._begin_phase()
        if self._seconds >= self._patience_seconds() or self._stuck_seconds >= ANSWER_SECONDS:
            self.drop()
        elif not self.flow.read_paused:
            self._seconds += 1

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._is_open = True
        if self._is_dropped:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received_bytes += len(data)
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.remove(self)
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._begin_phase()
        super().on_response_complete()

    def _begin_phase(self) -> None:
        self._phase = self.conn.their_state
        self._seconds = self._received_bytes = 0

    def _patience_seconds(self) -> float:
        if self._phase is h11.IDLE:
            return HEAD_SECONDS
        if self._phase is h11.SEND_BODY:
            more = self._received_bytes // BODY_BYTES_A_SECOND
            return min(BODY_SECONDS + more, MOST_BODY_SECONDS)
        # It waits for us.
        return float("inf")

    def _note_unsent(self, unsent_bytes: int) -> None:
        is_stuck = 0 < unsent_bytes == self._unsent_bytes
        self._stuck_seconds = self._stuck_seconds + 1 if is_stuck else 0
        self._unsent_bytes = unsent_bytes

    async def _answer_others(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, unless it comes out of the service itself: hang up on those."""
        if await self.peer.is_from_own_child():
            self.drop()
            # The end of the connection is noted before anybody misses an answer.
            await asyncio.sleep(0)
            return
        answer: ASGIApp = self._answer
        await answer(scope, receive, send)
