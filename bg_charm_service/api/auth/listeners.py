"""Tells requests apart by the listener that they came through, which no header can claim."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

#: The socket of the data directory, whose permissions are a credential.
SOCKET = "socket"

#: A port, which everybody on the machine can reach, if not more.
TCP = "tcp"

#: The port of hooks, which the whole world may reach.
HOOKS = "hooks"


class ListenerMiddleware:
    """Marks each request with the listener that it came through."""

    def __init__(self, app: ASGIApp, listener: str) -> None:
        self._app = app
        self._listener = listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = {**scope.get("state", {}), "listener": self._listener}
        await self._app({**scope, "state": state}, receive, send)
