"""Stands before the application on a port: refuses hosts and pages that are not ours.

Also answers preflights of the origins that the operator named, and gives every answer the
headers that keep browsers strict. The socket of the data directory has no browsers.
"""

from __future__ import annotations

import time
from typing import cast

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from loguru import logger
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bg_charm_service.api.auth.allowed_origins import OriginPolicy, RequestOrigin, is_loopback
from bg_charm_service.api.auth.listeners import SOCKET, TCP
from bg_charm_service.domain.errors import AuthorizationError

#: Files that are the same for everybody; a page elsewhere may use them.
STATIC_PATH = "/static/"

_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

_STRICT = {
    "content-security-policy": _POLICY,
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

#: Refusals are logged at most this often, in seconds.
_LOG_SECONDS = 1.0


class OriginMiddleware:
    """Lets requests of a port through to the application, or refuses them."""

    def __init__(self, app: ASGIApp, policy: OriginPolicy) -> None:
        self._app = app
        self._policy = policy
        self._logged_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope.get("state", {})
        if scope["type"] != "http" or state.get("listener", TCP) == SOCKET:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        source = self._policy.origin_of(scope["method"], scope["path"], headers)
        state["request_origin"] = source
        state["is_known_host"] = self._is_known_host(scope, headers)
        scope["state"] = state
        origin = headers.get("origin", "") if source is RequestOrigin.ALLOWED else ""

        async def send_strictly(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_headers(MutableHeaders(scope=message), origin, scope["path"])
            await send(message)

        response = self._refusal(scope, headers, source)
        if response is None and origin and scope["method"] == "OPTIONS":
            response = _preflight(headers)
        await (response or self._app)(scope, receive, send_strictly)

    def _refusal(self, scope: Scope, headers: Headers, source: RequestOrigin) -> Response | None:
        if source is RequestOrigin.CROSS_ORIGIN and not _is_static(scope):
            return self._refuse(scope, "This page is of another origin, which may not do that.")
        # A token or signature proves its sender by itself, and no foreign page can have one.
        if "authorization" in headers or (
            source is RequestOrigin.ALLOWED and scope["method"] == "OPTIONS"
        ):
            return None
        if scope["state"]["is_known_host"]:
            return None
        port = (scope.get("server") or ("", 0))[1]
        return self._refuse(
            scope,
            f"This service does not go by the name {headers.get('host', '')!a:.100}: use "
            f"http://localhost:{port}, or start it with API_URL as its public address.",
        )

    def _is_known_host(self, scope: Scope, headers: Headers) -> bool:
        """Whether the request calls this service by a name of its own."""
        hosts = headers.getlist("host")
        server, client = scope.get("server") or ("", 0), scope.get("client") or ("", 0)
        is_local = is_loopback(client[0])
        return len(hosts) == 1 and self._policy.is_known_host(
            hosts[0], port=server[1], is_local=is_local
        )

    def _refuse(self, scope: Scope, text: str) -> Response:
        now = time.monotonic()
        if now - self._logged_at > _LOG_SECONDS:
            self._logged_at = now
            client = (scope.get("client") or ("nowhere",))[0]
            logger.bind(event="access.refused", address=client, path=scope["path"]).warning(
                "Refused {} from {}: {}", scope["method"], client, text
            )
        return JSONResponse({"error": text, "kind": AuthorizationError.__name__}, 403)


def request_origin(request: Request) -> RequestOrigin:
    """Where a request comes from, as the middleware found."""
    return cast(
        "RequestOrigin", getattr(request.state, "request_origin", RequestOrigin.CROSS_ORIGIN)
    )


def _is_static(scope: Scope) -> bool:
    path = str(scope["path"])
    is_plain = path.startswith(STATIC_PATH) and ".." not in path
    return is_plain and scope["method"] in ("GET", "HEAD")


def _preflight(headers: Headers) -> Response:
    allowed = {
        "access-control-allow-methods": "GET, POST, PUT, DELETE",
        "access-control-allow-headers": "authorization, content-type, last-event-id",
        "access-control-max-age": "600",
    }
    if headers.get("access-control-request-private-network") == "true":
        allowed["access-control-allow-private-network"] = "true"
    return Response(status_code=204, headers=allowed)


def _add_headers(headers: MutableHeaders, origin: str, path: str) -> None:
    for name, value in _STRICT.items():
        headers.setdefault(name, value)
    if not path.startswith(STATIC_PATH):
        headers.setdefault("cache-control", "no-store")
    headers.add_vary_header("origin")
    if origin:
        headers["access-control-allow-origin"] = origin
