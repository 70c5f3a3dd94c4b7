"""What the service and the process that reads large bodies say to each other.

The service sends a header of five bytes, the kind of the body and its length, and then the body;
it is answered with frames, the last of which says that it is. Both ends are ours; what a caller
sent is untrusted all the same, and bounded where it is read.
"""

from __future__ import annotations

import struct
from typing import Final, Literal, get_args

import msgspec

from bg_charm_service.domain.views import NewCharm
from bg_charm_service.workers.protocol.framing import FrameCodec

#: What a body is to be read as.
BodyKind = Literal["charm", "import", "source", "event"]

KINDS: Final[tuple[BodyKind, ...]] = get_args(BodyKind)

#: The number of its kind, and how many bytes follow.
HEADER: Final = struct.Struct(">BI")

#: What is read of a body is not larger than the largest body.
_LARGEST_BYTES: Final = 0xFFFFFFFF


class CharmRead(msgspec.Struct, frozen=True, tag="charm"):
    """A charm to add, the only one or the next of an import."""

    charm: NewCharm


class CharmRefused(msgspec.Struct, frozen=True, tag="charm refused"):
    """The next charm of an import is none."""

    text: str


class EventRead(msgspec.Struct, frozen=True, tag="event"):
    """An event for a stream, and when to send it, where that is not now."""

    stream: str | None
    event: bytes
    at: float | None = None
    after: float | None = None


class SourceRead(msgspec.Struct, frozen=True, tag="source"):
    """New source for a charm."""

    source: str
    file_name: str
    class_name: str | None
    dry_run: bool


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The body is none of its kind; the last frame."""

    text: str


class End(msgspec.Struct, frozen=True, tag="end"):
    """All of the body is read; the last frame."""


FromReader = CharmRead | CharmRefused | EventRead | SourceRead | Refused | End

FROM_READER: FrameCodec[FromReader] = FrameCodec(FromReader, _LARGEST_BYTES)
