"""What the service asks the process that sends a notice, and what that answers: one of each.

Both are msgpack, on the child's own pipes: what is secret stands in no argument and no variable.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Deliver(msgspec.Struct, frozen=True, tag="deliver"):
    """Send a message to a target; `severity` is info, success, warning or failure."""

    url: str
    title: str
    body: str
    severity: str


class Check(msgspec.Struct, frozen=True, tag="check"):
    """Say whether an address can be understood; asks nobody."""

    url: str


class Beat(msgspec.Struct, frozen=True, tag="beat"):
    """Ask an address once, so that whoever listens there knows that the service is well."""

    url: str


Deed = Deliver | Check | Beat


class Errand(msgspec.Struct, frozen=True):
    """One deed, and how the process is kept apart: without its walls it does nothing.

    Connections go to no other than `ports`, and to this machine, whose addresses are `own`, only
    with `may_be_local`.
    """

    deed: Deed
    parent: int
    timeout_seconds: float
    has_walls: bool
    missing_walls: tuple[str, ...]
    ports: frozenset[int]
    own: frozenset[str]
    may_be_local: bool


class ReportKind(StrEnum):
    """What came of it."""

    DONE = "done"
    REFUSED = "refused"  #: the target did not take it, or was not reached
    UNKNOWN = "unknown"  #: it may have arrived, or may not
    FAULT = "fault"  #: this machine's own: no process, a wall that cannot be raised


class Report(msgspec.Struct, frozen=True):
    """The answer; `why` is what people are told, without anything secret."""

    kind: ReportKind
    why: str = ""
