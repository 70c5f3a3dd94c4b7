"""The geometry of the two small charts: a row of bars for runs, a column a minute. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bg_charm_service.domain.disclosure import OpenText
from bg_charm_service.service.status.views import MinuteView

#: A sparkline's height, and each bar's width with its gap.
SPARK_HEIGHT = 20
SPARK_STEP = 4

#: The height of the shortest bar of a sparkline.
_LEAST_HEIGHT = 5

#: The hour's height, and each minute's width with its gap.
HOUR_HEIGHT = 56
HOUR_STEP = 6


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle; `kind` is its style."""

    x: float
    y: float
    width: float
    height: float
    kind: str


@dataclass(frozen=True, slots=True)
class Shape:
    """All bars of a kind, as the outline of one path: a page has very many bars."""

    kind: OpenText
    outline: OpenText


def spark_shapes(outcomes: Sequence[tuple[str, float]], places: int) -> list[Shape]:
    """A bar for each run, the newest at the right; its height is the run's duration, log-scaled."""
    longest = max((duration for _, duration in outcomes), default=0.0)
    scale = math.log1p(longest) or 1.0
    most, width = SPARK_HEIGHT - _LEAST_HEIGHT, SPARK_STEP - 1
    x = (places - len(outcomes)) * SPARK_STEP
    outlines: dict[str, list[str]] = {}
    for status, duration in outcomes:
        height = round(_LEAST_HEIGHT + most * math.log1p(duration) / scale, 1)
        outline = f"M{x} {round(SPARK_HEIGHT - height, 1)}h{width}v{height}h-{width}z"
        outlines.setdefault(status, []).append(outline)
        x += SPARK_STEP
    return [Shape(status, "".join(parts)) for status, parts in outlines.items()]


def hour_bars(minutes: Sequence[MinuteView]) -> list[Bar]:
    """For each minute its successes, and its failures on top of them."""
    most = max((minute.successes + minute.failures for minute in minutes), default=0) or 1
    bars = []
    for place, minute in enumerate(minutes):
        bottom = float(HOUR_HEIGHT)
        for kind, count in (("success", minute.successes), ("failure", minute.failures)):
            if count:
                height = round(max(2.0, count / most * (HOUR_HEIGHT - 4)), 1)
                bottom = round(bottom - height, 1)
                bars.append(Bar(place * HOUR_STEP, bottom, HOUR_STEP - 1, height, kind))
    return bars


def describe_hour(minutes: Sequence[MinuteView]) -> str:
    """Say in words what the hour's chart shows."""
    runs = sum(minute.successes + minute.failures for minute in minutes)
    failures = sum(minute.failures for minute in minutes)
    most = max((minute.successes + minute.failures for minute in minutes), default=0)
    return f"Last hour: {runs:,} runs, {failures:,} of them failed; at most {most:,} a minute."


def describe_outcomes(outcomes: Sequence[tuple[str, float]]) -> str:
    """Say in words what a sparkline shows."""
    if not outcomes:
        return "No runs yet"
    failed = sum(status == "failure" for status, _ in outcomes)
    waited = sum(status in ("waiting", "down") for status, _ in outcomes)
    last = f"Last {len(outcomes)} runs" if len(outcomes) > 1 else "Last run"
    return f"{last}: {failed} failed{f', {waited} had to wait' if waited else ''}"
