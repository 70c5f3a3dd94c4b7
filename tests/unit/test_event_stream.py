"""Promises of an answer that goes on: frames are well formed, and no reader is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.types import Message

from bg_charm_service.api.event_stream import EventStream, frame
from bg_charm_service.domain.clock import SystemClock
from bg_charm_service.service.followers import (
    STREAMS_OF_A_SESSION,
    Follower,
    Followers,
    OpenStream,
)


class Source:
    """Frames without an end; notes when nobody wants more of them."""

    def __init__(self) -> None:
        self.is_closed = False

    async def frames(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
                await asyncio.sleep(0)
        finally:
            self.is_closed = True


def opened() -> OpenStream:
    """Open a stream of somebody, which nothing ends."""
    return Followers().open(Follower("somebody"))


def test_frames_are_one_line_of_json() -> None:
    """A text with line ends, or with half a character, cannot break a frame."""
    told = frame("run", {"error": "a\n\nid: 7\nb", "name": "\ud800"}, 5)
    assert b"id: 5\nevent: run\ndata: " == told.partition(b"{")[0]
    assert (4, True) == (told.count(b"\n"), told.endswith(b"}\n\n"))


def test_a_reader_that_takes_nothing_is_dropped() -> None:
    """When bytes are not taken for a while, the stream ends and lets go of what it holds."""

    async def go() -> bool:
        source, started = Source(), asyncio.Event()

        async def send(message: Message) -> None:
            if message["type"] == "http.response.body":
                started.set()
                await asyncio.Event().wait()

        async def receive() -> Message:
            await asyncio.Event().wait()
            raise AssertionError

        stream = EventStream(source.frames(), opened(), SystemClock(), send_timeout_seconds=0.01)
        await stream({"type": "http"}, receive, send)
        return started.is_set() and source.is_closed

    assert asyncio.run(go())


def test_a_reader_that_left_is_let_go() -> None:
    """When the client has gone, the stream ends at once."""

    async def go() -> bool:
        source, gone = Source(), asyncio.Event()

        async def send(message: Message) -> None:
            if message["type"] == "http.response.body":
                gone.set()

        async def receive() -> Message:
            await gone.wait()
            return {"type": "http.disconnect"}

        await EventStream(source.frames(), opened(), SystemClock())({"type": "http"}, receive, send)
        return source.is_closed

    assert asyncio.run(go())


def test_a_stream_that_is_ended_says_so() -> None:
    """The answer is whole; whoever opened too many is told to come back later."""

    async def go() -> tuple[list[Message], bool]:
        followers, source, sent = Followers(), Source(), list[Message]()
        stream = followers.open(Follower("somebody", session="one"))

        async def send(message: Message) -> None:
            sent.append(message)
            if message["type"] == "http.response.body" and stream in followers:
                for _ in range(STREAMS_OF_A_SESSION):
                    followers.open(Follower("somebody", session="one"))

        async def receive() -> Message:
            await asyncio.Event().wait()
            raise AssertionError

        await EventStream(source.frames(), stream, SystemClock())({"type": "http"}, receive, send)
        return sent, source.is_closed

    sent, is_closed = asyncio.run(go())
    last = {"type": "http.response.body", "body": b"retry: 30000\n\n", "more_body": False}
    assert (last, True) == (sent[-1], is_closed)
