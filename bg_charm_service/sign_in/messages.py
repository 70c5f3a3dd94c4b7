"""What the service asks the process that talks to a provider, and what that answers: one of each.

Both are msgpack, on the child's own pipes: what is secret stands in no argument and no variable.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from bg_charm_service.domain.oauth import OAuthClient, Provider


class Authorize(msgspec.Struct, frozen=True, tag="authorize"):
    """Make the address that a person is sent to; asks nobody."""

    provider: Provider
    client: OAuthClient
    redirect_uri: str
    scopes: tuple[str, ...]
    state: str
    verifier: str


class Exchange(msgspec.Struct, frozen=True, tag="exchange"):
    """Exchange a code for tokens, and ask who has signed in."""

    provider: Provider
    client: OAuthClient
    redirect_uri: str
    code: str
    verifier: str


class Refresh(msgspec.Struct, frozen=True, tag="refresh"):
    """Have a token renewed."""

    provider: Provider
    client: OAuthClient
    refresh_token: str


class Revoke(msgspec.Struct, frozen=True, tag="revoke"):
    """Give a token back."""

    provider: Provider
    client: OAuthClient
    token: str


class Discover(msgspec.Struct, frozen=True, tag="discover"):
    """Read a provider's description of itself, at the first of these that has one."""

    urls: tuple[str, ...]


Deed = Authorize | Exchange | Refresh | Revoke | Discover


class Task(msgspec.Struct, frozen=True):
    """One deed, and how the process is kept apart: without its walls it does nothing."""

    deed: Deed
    parent: int
    timeout_seconds: float
    has_walls: bool
    missing_walls: tuple[str, ...]


class AnswerKind(StrEnum):
    """What came of it."""

    DONE = "done"
    REFUSED = "refused"  #: the provider answered, with its reason in `error`
    BUSY = "busy"  #: it asks to wait
    DOWN = "down"  #: it answered nothing that can be used, or it is not known what it did
    UNASKED = "unasked"  #: it was never reached: nothing can have happened there
    FAULT = "fault"  #: this machine's own: no process, a wall that cannot be raised


class ProviderAnswer(msgspec.Struct, frozen=True):
    """The answer; `body` and `user` are JSON objects as the provider gave them, empty for none.

    `error` is its one word, `why` what people are told, without anything secret; `host` is who was
    asked, `seconds` for how long it wants to be left alone, where it says so. `url` is the address
    that was made.
    """

    kind: AnswerKind
    body: bytes = b""
    user: bytes = b""
    error: str = ""
    why: str = ""
    host: str = ""
    seconds: float | None = None
    url: str = ""

    def __repr__(self) -> str:
        return f"ProviderAnswer({self.kind})"
