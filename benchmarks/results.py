"""The results of scenarios as they are kept: a JSON file, which a part of a run can be put into.

Written by the command line, read by the report.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from benchmarks.machine import Machine
from benchmarks.rows import Row


@dataclass(frozen=True, slots=True)
class Result:
    """What one scenario gave: when, with which commit, in how many seconds."""

    scenario: str
    date: str
    commit: str
    seconds: float
    rounds: int
    is_quick: bool
    sync_ms: float
    versions: dict[str, str]
    rows: tuple[Row, ...]
    #: The commit of the build that this one took turns with, where there was one.
    before: str = ""


@dataclass(frozen=True, slots=True)
class Results:
    """The newest result of each scenario, all of one machine."""

    machine: Machine
    scenarios: dict[str, Result] = field(default_factory=dict)

    def with_new(self, newer: Results) -> Results:
        """Put newer results in place of older ones; those of another machine go altogether."""
        kept = self.scenarios if self.machine == newer.machine else {}
        return Results(newer.machine, {**kept, **newer.scenarios})


def read(file: Path) -> Results | None:
    """Read what is kept; None when nothing is."""
    if not file.exists():
        return None
    return msgspec.json.decode(file.read_bytes(), type=Results)


def write(file: Path, results: Results) -> None:
    """Keep results."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(results), indent=2)
    file.write_bytes(text + b"\n")
