"""An answer that goes on: server-sent events, each frame sent when there is one.

A reader that takes no bytes for a while, or has left, is dropped; none can hold the service up.
One whose right is over, or who has opened too many, is told its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from bg_charm_service.domain.clock import Clock
from bg_charm_service.service.followers import OpenStream

#: A frame that is not taken within this time ends the stream, in seconds.
_SEND_TIMEOUT_SECONDS = 20.0

#: So long the last words may take of a stream that is ended, in seconds.
_LAST_SECONDS = 1.0

#: Tells whoever opened too many to come back later than after a connection that broke.
_COME_BACK_LATER = b"retry: 30000\n\n"

#: Sent when nothing happens, so that both sides notice a connection that is gone.
HEARTBEAT = b": still here\n\n"


class EventStream(Response):
    """Sends what an iterator gives, until it ends or the client has gone."""

    media_type = "text/event-stream"

    def __init__(
        self,
        frames: AsyncIterator[bytes],
        stream: OpenStream,
        clock: Clock,
        send_timeout_seconds: float = _SEND_TIMEOUT_SECONDS,
    ) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._frames = frames
        self._stream = stream
        self._clock = clock
        self._send_timeout_seconds = send_timeout_seconds
        self._has_begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.create_task(self._send_all(send))
        disconnecting = asyncio.create_task(_until_disconnected(receive))
        ending = asyncio.create_task(self._stream.wait_for_end(self._clock))
        tasks = (sending, disconnecting, ending)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            was_ended = ending.done() and not (sending.done() or disconnecting.done())
        finally:
            self._stream.close()
            for task in tasks:
                task.cancel()
            # The frames give up what they hold before this request is over.
            await asyncio.gather(*tasks, return_exceptions=True)
        if was_ended and self._has_begun:
            await self._send_last(send)

    async def _send_all(self, send: Send) -> None:
        try:
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            self._has_begun = True
            async for frame in self._frames:
                async with asyncio.timeout(self._send_timeout_seconds):
                    await send({"type": "http.response.body", "body": frame, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            close = getattr(self._frames, "aclose", None)
            if close is not None:
                with contextlib.suppress(RuntimeError):
                    await close()

    async def _send_last(self, send: Send) -> None:
        body = _COME_BACK_LATER if self._stream.was_replaced else b""
        # Somebody who takes nothing is not waited for.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS):
                await send({"type": "http.response.body", "body": body, "more_body": False})


def frame(kind: str, data: Any, event_id: int | None = None) -> bytes:
    """Write one event; JSON keeps its text on one line."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    head = f"id: {event_id}\n" if event_id is not None else ""
    return f"{head}event: {kind}\ndata: {text}\n\n".encode(errors="replace")


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
