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
    """What a value should be."""

    bound: Bound
    value: float

    def is_met_by(self, value: float) -> bool:
        """Whether a value is what was asked for."""
        if self.bound == "at least":
            return value >= self.value
        if self.bound == "at most":
            return value <= self.value
        return value < self.value


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table; `low` and `high` are those of the rounds, where there were several."""

    name: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    asked: Asked | None = None
    walls: str = ""
    note: str = ""
    #: Rows of one picture have its name.
    picture: str = ""

    @property
    def verdict(self) -> str:
        """`met`, `not met`, or nothing where nothing was asked for."""
        if self.asked is None:
            return ""
        return "met" if self.asked.is_met_by(self.value) else "not met"


def over_rounds(
    name: str,
    values: Sequence[float],
    unit: str,
    *,
    asked: Asked | None = None,
    walls: str = "",
    note: str = "",
    picture: str = "",
) -> Row:
    """Make a row of what the rounds gave: the median, with the least and the most."""
    return Row(
        name,
        statistics.median(values),
        unit,
        min(values),
        max(values),
        asked=asked,
        walls=walls,
        note=note,
        picture=picture,
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """Give the smallest value that so many percent of all values do not exceed."""
    if not values:
        raise ValueError("there is no percentile of nothing")
    ordered = sorted(values)
    place = -(-len(ordered) * percent // 100)  # rounded up
    return ordered[max(0, int(place) - 1)]
