"""Keeps requests small enough to be held in memory, whatever their headers say."""

from __future__ import annotations

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Requests hold at most so many bytes.
BODY_LIMIT_BYTES = 1024 * 1024

#: Requests about charms, which carry source and state.
CHARM_LIMIT_BYTES = 64 * 1024 * 1024

_CHARM_PATHS = "/api/charms"


class BodyLimit:
    """Answers 413 for a body that is announced as too large, or turns out to be."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_charm = scope["path"].startswith(_CHARM_PATHS)
        limit = CHARM_LIMIT_BYTES if is_charm else BODY_LIMIT_BYTES
        text = f"The request is too large: at most {limit} bytes are taken."
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdecimal() and int(announced) > limit:
            await JSONResponse({"error": text, "kind": "InvalidInput"}, 413)(scope, receive, send)
            return
        left = limit

        async def receive_limited() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, text)
            return message

        await self._app(scope, receive_limited, send)
