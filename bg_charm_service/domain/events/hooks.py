"""Hooks: streams that senders outside reach by an address of their own, and how these prove it.

What a class says of a hook, checked; and what an address is. Pure. Used by the class's schema, by
whoever gives out addresses, and by the listener.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Scheme(StrEnum):
    """How a sender proves who it is: whose way of signing it uses."""

    GITHUB = "github"
    SLACK = "slack"
    STRIPE = "stripe"
    STANDARD = "standard-webhooks"
    HMAC = "hmac"  #: HMAC-SHA256 of the body, in a header that the class names
    TOKEN = "token"  #: the secret itself, in a header
    WEBSUB = "websub"


#: What random bytes an address is made of.
ADDRESS_BYTES: Final = 32

#: Where hooks are.
HOOK_PATH: Final = "/hook/"

#: An address: 43 characters of base64 for URLs.
ADDRESS: Final = re.compile(r"[A-Za-z0-9_-]{43}")

#: A name of a header (RFC 9110, 5.1).
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")

#: Where the schemes look that have no header of their own.
DEFAULT_HEADERS: Final = {Scheme.HMAC: "X-Signature-256", Scheme.TOKEN: "Authorization"}


@dataclass(frozen=True, slots=True)
class HookSchema:
    """What a class says of one of its hooks.

    `secret` names the field that holds what is shared with the sender. With `is_poke` no body is
    kept: the charm is polled. `header` is where the signature or the token stands, `id_header`
    where the id of a delivery; `topic` names the field with what a WebSub hub was asked for.
    """

    sign: str
    secret: str
    is_poke: bool = False
    header: str = ""
    id_header: str = ""
    topic: str = ""


@dataclass(frozen=True, slots=True)
class GivenHook:
    """What a run is told of one of its charm's hooks: its URL, and how long a hub's lease lasts.

    `leased_until` is in seconds since the epoch, 0 without a lease.
    """

    url: str
    leased_until: float = 0.0


def check_hook(hook: HookSchema) -> None:
    """Raise ValueError for a hook that cannot be."""
    schemes = [scheme.value for scheme in Scheme]
    if hook.sign not in schemes:
        raise ValueError(f"sign={hook.sign!r:.60} is none of {', '.join(schemes)}")
    if not hook.secret:
        raise ValueError("secret names the field with what is shared with the sender")
    for name, header in (("header", hook.header), ("id_header", hook.id_header)):
        if header and not _HEADER.fullmatch(header):
            raise ValueError(f"{name}={header!r:.60} is no name of a header")
        if header and Scheme(hook.sign) not in DEFAULT_HEADERS:
            raise ValueError(f"{name} is for hmac and token: {hook.sign} has headers of its own")
    if (hook.sign == Scheme.WEBSUB) != bool(hook.topic):
        raise ValueError(
            "topic names the field with the address that a hub is asked for; websub needs it, and "
            "no other has one"
        )


def new_address(random: bytes) -> str:
    """Make an address of random bytes."""
    return base64.urlsafe_b64encode(random).rstrip(b"=").decode()


def address_in(url: str) -> str:
    """Give the address that stands in a URL."""
    return url.rpartition("/")[2]


def hash_of(text: str) -> bytes:
    """What an address, or the id of a delivery, is found by."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
