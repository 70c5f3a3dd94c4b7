"""Who follows the events right now: how many streams each may have, and what ends one early.

A stream ends when what it was opened with is revoked, signed out or expired: whoever changes that
says so here, and nobody asks the database again and again. Opened by the API, told by commands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from bg_charm_service.domain.clock import Clock

#: Streams at a time: of a session, of a peer, and in all. Where one is too many, the oldest ends.
STREAMS_OF_A_SESSION = 8
STREAMS_OF_A_PEER = 32
MOST_STREAMS = 200

#: The longest that the end of a right is waited for in one go, so that a set clock is noticed.
_LOOK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Follower:
    """One who opens a stream; `expires_at` is when the right to it ends, since the epoch."""

    peer: str
    #: The session that it belongs to; empty without one.
    session: str = ""
    #: What the right rests on: a session, a token.
    credentials: frozenset[str] = frozenset()
    expires_at: float | None = None


class OpenStream:
    """One stream, until it is closed by its reader or ended here."""

    def __init__(self, follower: Follower, close: Callable[[OpenStream], None]) -> None:
        self.follower = follower
        #: It was ended for a newer one of the same reader, who should not come back at once.
        self.was_replaced = False
        self._ended = asyncio.Event()
        self._close = close

    def end(self) -> None:
        """End it; ending twice is fine."""
        self._ended.set()

    def close(self) -> None:
        """Forget it: its reader has left, or it has ended. Closing twice is fine."""
        self._close(self)

    async def wait_for_end(self, clock: Clock) -> None:
        """Wait until it is ended, or its right is over."""
        while not self._ended.is_set():
            expires_at = self.follower.expires_at
            left = _LOOK_SECONDS if expires_at is None else expires_at - clock.now()
            if left <= 0:
                return
            try:
                async with asyncio.timeout(min(left, _LOOK_SECONDS)):
                    await self._ended.wait()
            except TimeoutError:
                continue


class Followers:
    """The open streams, the oldest first."""

    def __init__(self) -> None:
        self._streams: dict[OpenStream, None] = {}

    def __len__(self) -> int:
        return len(self._streams)

    def __contains__(self, stream: object) -> bool:
        return stream in self._streams

    def open(self, follower: Follower) -> OpenStream:
        """Open a stream, in the place of the oldest of the same session or peer if need be."""
        if follower.session:
            self._make_room(STREAMS_OF_A_SESSION, lambda one: one.session == follower.session)
        self._make_room(STREAMS_OF_A_PEER, lambda one: one.peer == follower.peer)
        if len(self._streams) >= MOST_STREAMS:
            peers = [each.follower.peer for each in self._streams]
            busiest = max(peers, key=peers.count)
            self._make_room(peers.count(busiest), lambda one: one.peer == busiest)
        stream = OpenStream(follower, self._forget)
        self._streams[stream] = None
        return stream

    def end(self, credential: str) -> None:
        """End every stream that rests on a credential: it is good no more."""
        for stream in list(self._streams):
            if credential in stream.follower.credentials:
                stream.end()

    def _make_room(self, most: int, belongs: Callable[[Follower], bool]) -> None:
        theirs = [each for each in self._streams if belongs(each.follower)]
        for stream in theirs[: max(0, len(theirs) - most + 1)]:
            stream.was_replaced = True
            stream.end()
            self._forget(stream)

    def _forget(self, stream: OpenStream) -> None:
        self._streams.pop(stream, None)
