"""An answer that goes on: server-sent events, each frame sent when there is one.

A reader that takes no bytes for a while, or has left, is dropped; none can hold the service up.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

#: A frame that is not taken within this time ends the stream, in seconds.
_SEND_TIMEOUT_SECONDS = 20.0

#: Sent when nothing happens, so that both sides notice a connection that is gone.
HEARTBEAT = b": still here\n\n"


class EventStream(Response):
    """Sends what an iterator gives, until it ends or the client has gone."""

    media_type = "text/event-stream"

    def __init__(
        self, frames: AsyncIterator[bytes], send_timeout_seconds: float = _SEND_TIMEOUT_SECONDS
    ) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._frames = frames
        self._send_timeout_seconds = send_timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.create_task(self._send_all(send))
        disconnecting = asyncio.create_task(_until_disconnected(receive))
        try:
            await asyncio.wait([sending, disconnecting], return_when=asyncio.FIRST_COMPLETED)
        finally:
            disconnecting.cancel()
            sending.cancel()
            # The frames give up what they hold before this request is over.
            await asyncio.gather(disconnecting, sending, return_exceptions=True)

    async def _send_all(self, send: Send) -> None:
        try:
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            async for frame in self._frames:
                async with asyncio.timeout(self._send_timeout_seconds):
                    await send({"type": "http.response.body", "body": frame, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            close = getattr(self._frames, "aclose", None)
            if close is not None:
                with contextlib.suppress(RuntimeError):
                    await close()


def frame(kind: str, data: Any, event_id: int | None = None) -> bytes:
    """Write one event; JSON keeps its text on one line."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    head = f"id: {event_id}\n" if event_id is not None else ""
    return f"{head}event: {kind}\ndata: {text}\n\n".encode(errors="replace")


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
