"""What was simulated and beaten so far: the numbers behind the page about reliability.

Kept in docs/reliability.json, part by part, each with the commit that it was of. Parts are added
up and never made twice: the next one begins where the seeds of those before end. Written and shown
by `reliability_report.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec


class Simulated(msgspec.Struct, frozen=True, kw_only=True):
    """Worlds that were simulated with one commit on one day: `seeds` of them from `first_seed`."""

    commit: str
    date: str
    first_seed: int
    seeds: int
    simulated_hours: float
    lives: int
    runs_checked: int
    commands: int
    faults: int

    @property
    def end(self) -> int:
        """The first seed after these."""
        return self.first_seed + self.seeds

    def goes_on_in(self, other: Simulated) -> bool:
        """Whether another part is more of the same."""
        mine, theirs = (self.commit, self.date, self.end), (other.commit, other.date)
        return mine == (*theirs, other.first_seed)

    def joined(self, other: Simulated) -> Simulated:
        """Give both as one part."""
        counted = ("seeds", "simulated_hours", "lives", "runs_checked", "commands", "faults")
        sums = {name: getattr(self, name) + getattr(other, name) for name in counted}
        return msgspec.structs.replace(self, **sums)


class Beaten(msgspec.Struct, frozen=True, kw_only=True):
    """One kill loop, from an empty data directory to rest; `seed` is that of its blows."""

    commit: str
    date: str
    seed: int
    seconds: float
    blows: int
    kills: int
    restarts: int
    runs_checked: int
    events_checked: int
    refusals_checked: int
    answers_checked: int
    highest: dict[str, int]
    limits: dict[str, int]


class Record(msgspec.Struct, frozen=True):
    """All parts, in the order in which they were made."""

    simulations: tuple[Simulated, ...] = ()
    kill_loops: tuple[Beaten, ...] = ()

    @property
    def next_seed(self) -> int:
        """The first seed that nobody has simulated."""
        return max((one.end for one in self.simulations), default=0)

    @property
    def next_blows(self) -> int:
        """The first seed of blows that nobody has drawn."""
        return max((one.seed + 1 for one in self.kill_loops), default=0)

    @property
    def seeds(self) -> int:
        """How many worlds were simulated."""
        return sum(one.seeds for one in self.simulations)

    @property
    def simulated_hours(self) -> float:
        """How much time was simulated."""
        return sum(one.simulated_hours for one in self.simulations)

    @property
    def kills(self) -> int:
        """How often a real service or a process of it was killed."""
        return sum(one.kills for one in self.kill_loops)

    @property
    def runs_checked(self) -> int:
        """How many runs of charms were held against what they did, simulated and real ones."""
        simulated = sum(one.runs_checked for one in self.simulations)
        return simulated + sum(one.runs_checked for one in self.kill_loops)

    def with_simulation(self, part: Simulated) -> Record:
        """Add a part; raises ValueError for seeds that are counted already."""
        if part.first_seed < self.next_seed:
            raise ValueError(f"seed {part.first_seed} was simulated before")
        *before, last = self.simulations or (None,)
        parts = (last.joined(part),) if last and last.goes_on_in(part) else (last, part)
        kept = tuple(one for one in (*before, *parts) if one is not None)
        return msgspec.structs.replace(self, simulations=kept)

    def with_kill_loop(self, part: Beaten) -> Record:
        """Add a part; raises ValueError for a seed of blows that is counted already."""
        if part.seed < self.next_blows:
            raise ValueError(f"the blows of seed {part.seed} were dealt before")
        return msgspec.structs.replace(self, kill_loops=(*self.kill_loops, part))


def simulated(commit: str, date: str, first_seed: int, found: Mapping[str, Any]) -> Simulated:
    """Make a part of what the simulation printed as JSON."""
    names = ("seeds", "simulated_hours", "lives", "runs_checked", "commands", "faults")
    figures = {name: found[name] for name in names}
    return Simulated(commit=commit, date=date, first_seed=first_seed, **figures)


def beaten(commit: str, date: str, found: Mapping[str, Any]) -> Beaten:
    """Make a part of what the kill loop printed as JSON."""
    names = set(Beaten.__struct_fields__) - {"commit", "date", "blows"}
    figures = {name: found[name] for name in names}
    return Beaten(commit=commit, date=date, blows=sum(found["faults"].values()), **figures)


def read(file: Path) -> Record:
    """Read what is kept; an empty record where nothing is."""
    return msgspec.json.decode(file.read_bytes(), type=Record) if file.exists() else Record()


def write(file: Path, record: Record) -> None:
    """Keep a record, whole or not at all: whoever stops this loses no part of before."""
    text = msgspec.json.format(msgspec.json.encode(record), indent=1)
    beside = file.with_suffix(".new")
    beside.write_bytes(text + b"\n")
    beside.rename(file)


def builds(record: Record) -> list[tuple[str, str, Record]]:
    """Give what was made of each commit, with the last day of it, the newest commit last."""
    last = {one.commit: one.date for one in record.simulations}
    for loop in record.kill_loops:
        last[loop.commit] = max(loop.date, last.get(loop.commit, ""))
    return [
        (
            commit,
            date,
            Record(
                tuple(one for one in record.simulations if one.commit == commit),
                tuple(one for one in record.kill_loops if one.commit == commit),
            ),
        )
        for commit, date in sorted(last.items(), key=lambda one: one[1])
    ]
