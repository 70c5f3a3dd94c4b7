"""What the service and its scan processes say to each other, as frames.

The service asks one thing at a time and gets one answer; before it, the process may ask for cells.
Used by `child.py` (the service's side) and `process.py` (the other one).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from bg_charm_service.scanning.discovery import Source
from bg_charm_service.workers.protocol.framing import FrameCodec


@dataclass(frozen=True, slots=True)
class IntegrationInfo:
    """An integration that can be run; `cell` in `space` is where it keeps its list, if anywhere."""

    id: str
    name: str
    source: str
    space: str | None = None
    cell: str | None = None
    checks_charms: bool = False


@dataclass(frozen=True, slots=True)
class CellWrite:
    """A value for a cell, to be written only while the cell still holds `expected`."""

    space: str
    cell_id: str
    value: bytes
    expected: bytes | None


class Find(msgspec.Struct, frozen=True, tag=True):
    """Name the sources; answered by Found."""

    directory: str | None


class Load(msgspec.Struct, frozen=True, tag=True):
    """Execute a source, which all later requests are about; answered by Loaded."""

    source: Source


class Initialize(msgspec.Struct, frozen=True, tag=True):
    """Initialise the integration; answered by Initialized."""


class Fetch(msgspec.Struct, frozen=True, tag=True):
    """List the charms; answered by Listed."""


class Check(msgspec.Struct, frozen=True, tag=True):
    """Tell which of these stored charms, each as JSON, count; answered by Checked."""

    charms: tuple[bytes, ...]


class CellValue(msgspec.Struct, frozen=True, tag=True):
    """The answer to ReadCell; `refused` says why there is none."""

    value: bytes | None
    refused: str = ""


class Found(msgspec.Struct, frozen=True, tag=True):
    """The sources, and what could not be looked at."""

    sources: tuple[Source, ...]
    problems: tuple[str, ...]


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """What was loaded."""

    info: IntegrationInfo


class Initialized(msgspec.Struct, frozen=True, tag=True):
    """What to write now."""

    writes: tuple[CellWrite, ...]


@dataclass(frozen=True, slots=True)
class DescribedCharm:
    """A charm that is to be added where it is not there yet: `values` holds JSON by field.

    `source` is the place of its source in a list beside it: many charms have the same.
    """

    space: str
    cause: str
    file_name: str
    source: int
    values: dict[str, bytes]


class Listed(msgspec.Struct, frozen=True, tag=True):
    """The listed charms as pairs of space and id, and those that are described.

    Nothing when it was never initialised.
    """

    charms: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]
    initialised: bool
    described: tuple[DescribedCharm, ...] = ()
    sources: tuple[str, ...] = ()


class Checked(msgspec.Struct, frozen=True, tag=True):
    """For each charm whether it counts, and which checks failed by themselves."""

    valid: tuple[bool, ...]
    problems: tuple[str, ...]


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The integration's own code raised; the process can go on."""

    reason: str


class ReadCell(msgspec.Struct, frozen=True, tag=True):
    """Asks for a cell's value; answered by CellValue."""

    space: str
    cell_id: str


Request: TypeAlias = Find | Load | Initialize | Fetch | Check
Response: TypeAlias = Found | Loaded | Initialized | Listed | Checked | Failed

TO_CHILD: FrameCodec[Request | CellValue] = FrameCodec(Request | CellValue)
TO_SERVICE: FrameCodec[Response | ReadCell] = FrameCodec(Response | ReadCell)
