"""What a benchmark found, row by row: a value with its spread, and what was asked for.

Values only; nothing is measured, written or judged beyond "met" here. Made by the scenarios,
shown by the report.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Bound = Literal["at least", "at most", "under"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a value should be, or with `beside_before` its ratio to that of the build before."""

    bound: Bound
    value: float
    beside_before: bool = False

    def is_met_by(self, value: float) -> bool:
        """Whether a value is what was asked for."""
        if self.bound == "at least":
            return value >= self.value
        if self.bound == "at most":
            return value <= self.value
        return value < self.value


@dataclass(frozen=True, slots=True)
class Spread:
    """What rounds gave: their median, the least and the most."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Before:
    """The same figure of the build before, and how many times as much this build has.

    The ratio is made round by round; there is none where the build before had 0 in every round.
    """

    value: Spread
    ratio: Spread | None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table; `low` and `high` are those of the rounds, where there were several."""

    name: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    asked: Asked | None = None
    before: Before | None = None
    walls: str = ""
    note: str = ""
    #: Rows of one picture have its name.
    picture: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether it is of this service: of others nothing is asked."""
        return self.asked is not None

    @property
    def verdict(self) -> str:
        """`met`, `not met`, or nothing: nothing was asked for, or there is no build before."""
        if self.asked is None:
            return ""
        value: float | None = self.value
        if self.asked.beside_before:
            value = self.before.ratio.median if self.before and self.before.ratio else None
        if value is None:
            return ""
        return "met" if self.asked.is_met_by(value) else "not met"


def over_rounds(
    name: str,
    values: Sequence[float],
    unit: str,
    *,
    asked: Asked | None = None,
    before: Before | None = None,
    walls: str = "",
    note: str = "",
    picture: str = "",
) -> Row:
    """Make a row of what the rounds gave: the median, with the least and the most."""
    found = spread_of(values)
    return Row(
        name,
        found.median,
        unit,
        found.low,
        found.high,
        asked=asked,
        before=before,
        walls=walls,
        note=note,
        picture=picture,
    )


def spread_of(values: Sequence[float]) -> Spread:
    """Give the median of what rounds gave, with the least and the most."""
    return Spread(statistics.median(values), min(values), max(values))


def compared(pairs: Sequence[tuple[float, float]]) -> Before | None:
    """Compare this build with the one before, given what both had in each round, this one first."""
    if not pairs:
        return None
    ratios = [this / before for this, before in pairs if before]
    return Before(spread_of([before for _, before in pairs]), spread_of(ratios) if ratios else None)


def over_tables(this: Sequence[Sequence[Row]], before: Sequence[Sequence[Row]]) -> list[Row]:
    """Make one table of those that the rounds of both builds gave, a table for each round.

    Rows of one name belong together. Walls and notes are those of this build's last round.
    """
    table = []
    for row in this[-1]:
        mine, theirs = _values(this, row.name), _values(before, row.name)
        pairs = [(mine[number], theirs[number]) for number in mine if number in theirs]
        table.append(
            over_rounds(
                row.name,
                list(mine.values()),
                row.unit,
                asked=row.asked,
                before=compared(pairs),
                walls=row.walls,
                note=row.note,
                picture=row.picture,
            )
        )
    return table


def _values(tables: Sequence[Sequence[Row]], name: str) -> dict[int, float]:
    """Give what a row had in each round that has it, by the number of the round."""
    return {
        number: row.value
        for number, table in enumerate(tables)
        for row in table
        if row.name == name
    }


def percentile(values: Sequence[float], percent: float) -> float:
    """Give the smallest value that so many percent of all values do not exceed."""
    if not values:
        raise ValueError("there is no percentile of nothing")
    ordered = sorted(values)
    place = -(-len(ordered) * percent // 100)  # rounded up
    return ordered[max(0, int(place) - 1)]
