"""Which hosts and origins are ours: what keeps pages from elsewhere out. Pure decisions.

A page of another origin that a person has open can send requests here. Its browser tells them
apart: by `Origin`, by `Sec-Fetch-Site`, and by a `Host` that is the page's own name where a
name was bound to our address (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

#: Names that every browser takes for its own machine.
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")


class RequestOrigin(StrEnum):
    """Where a request comes from, as far as its browser says."""

    SAME_ORIGIN = "same origin"  #: a page of ours sent it
    ALLOWED = "allowed"  #: a page of an origin that the operator named
    DIRECT = "direct"  #: no page: a program, or an address that a person opened
    CROSS_ORIGIN = "cross origin"  #: somebody else's page


@dataclass(frozen=True, slots=True)
class OriginPolicy:
    """The names that the service answers to, and the other origins that it lets in."""

    hosts: frozenset[str] = LOOPBACK_HOSTS
    ports: frozenset[int] = frozenset()
    #: Whether it listens on addresses that other machines reach, under names it cannot know.
    is_public: bool = False
    allowed_origins: frozenset[str] = frozenset()

    def is_known_host(self, host: str, *, port: int, is_local: bool) -> bool:
        """Whether a Host header names this service; `port` is where the request came in."""
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found[1].strip("[]").lower().rstrip(".")
        # Without a port it is the usual one, of HTTP or of a proxy's HTTPS.
        given = {int(found[2])} if found[2] else {80, 443}
        if is_local:
            return name in self.hosts and not given.isdisjoint({port, *self.ports})
        # No name server can bind an address, and a mapped port is none of ours.
        return name in self.hosts or (self.is_public and _is_address(name))

    def origin_of(self, method: str, path: str, headers: Mapping[str, str]) -> RequestOrigin:
        """Say where a request comes from."""
        origin = headers.get("origin")
        if origin is not None:
            if origin.lower() in self.allowed_origins:
                return RequestOrigin.ALLOWED
            is_same = _is_same_origin(origin, headers.get("host", ""))
            return RequestOrigin.SAME_ORIGIN if is_same else RequestOrigin.CROSS_ORIGIN
        site = headers.get("sec-fetch-site", "none")
        if site == "same-origin":
            return RequestOrigin.SAME_ORIGIN
        if site == "none":
            return RequestOrigin.DIRECT
        # A link to a page of ours may stand anywhere; it changes nothing to follow it.
        is_link = (
            method in ("GET", "HEAD")
            and headers.get("sec-fetch-mode") == "navigate"
            and headers.get("sec-fetch-dest") == "document"
        )
        return RequestOrigin.DIRECT if is_link else RequestOrigin.CROSS_ORIGIN


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """How the application is reached over the network; by default it is not."""

    origin_policy: OriginPolicy = field(default_factory=OriginPolicy)
    #: Where a browser on this machine finds it; empty where no port is open.
    base_url: str = ""


def is_loopback(host: str) -> bool:
    """Whether an address is one of this machine's own."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _is_same_origin(origin: str, host: str) -> bool:
    scheme, _, rest = origin.lower().partition("://")
    return scheme in ("http", "https") and bool(rest) and rest == host.lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
