"""Finds out who asks, from the listener and from what the request proves."""

from __future__ import annotations

import ipaddress

from fastapi import Request

from bg_charm_service.api.callers import Caller, Kind, Need
from bg_charm_service.api.listeners import SOCKET


class Doorman:
    """Gives the caller of each request."""

    async def identify(self, request: Request, need: Need) -> Caller:
        """Give who asks; raises AuthorizationError for a credential that does not hold."""
        if getattr(request.state, "listener", "") == SOCKET:
            return _OPERATOR
        is_near = _is_loopback(request.client.host if request.client else "")
        return Caller("anonymous", Kind.NOBODY, "tcp", may_see_lists=is_near, may_register=is_near)


_OPERATOR = Caller(
    "operator",
    Kind.SOCKET,
    SOCKET,
    may_see_lists=True,
    may_register=True,
    may_read=True,
    may_change=True,
)


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
