"""Rates from a counter that is read again and again while the work goes on.

The same for every contender, so that all are measured alike. Used by the scenarios.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

#: How often a counter is read, in seconds: seldom enough to cost nothing.
EVERY_SECONDS = 0.25

#: Nothing is waited for longer than this, in seconds.
PATIENCE_SECONDS = 120.0


class Unmeasurable(Exception):
    """The work ended too early, or never began."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a counter was at a moment, in seconds of the monotonic clock."""

    at: float
    count: int


def watch(count: Callable[[], int], seconds: float, total: int | None = None) -> list[Sample]:
    """Read a counter for so long, or until it has reached the total."""
    samples = [Sample(time.monotonic(), count())]
    while samples[-1].at < samples[0].at + seconds:
        if total is not None and samples[-1].count >= total:
            break
        time.sleep(EVERY_SECONDS)
        samples.append(Sample(time.monotonic(), count()))
    return samples


def wait_until_more(count: Callable[[], int], than: int, every_seconds: float = 0.05) -> float:
    """Wait until a counter is above a number; gives the moment, raises Unmeasurable."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while count() <= than:
        if time.monotonic() > deadline:
            raise Unmeasurable(f"The count stayed at {than} for {PATIENCE_SECONDS:g} s.")
        time.sleep(every_seconds)
    return time.monotonic()


def rate(samples: Sequence[Sample], total: int | None = None) -> float:
    """Give how much a counter grew in a second.

    With a total, only what was read before it was reached counts: after that nothing grows.
    """
    kept = [one for one in samples if total is None or one.count < total]
    if len(kept) < 2 or kept[-1].at <= kept[0].at:
        raise Unmeasurable("The work was over before it could be measured: give more of it.")
    return (kept[-1].count - kept[0].count) / (kept[-1].at - kept[0].at)


def rate_between(samples: Sequence[Sample], first: int, last: int) -> float:
    """Give the rate between the moments at which a counter passed two numbers."""
    began, ended = _passed(samples, first), _passed(samples, last)
    if ended <= began:
        raise Unmeasurable(f"The count went from {first} to {last} between two readings.")
    return (last - first) / (ended - began)


def _passed(samples: Sequence[Sample], number: int) -> float:
    """Give the moment at which a counter passed a number: on the line between two readings."""
    for before, after in itertools.pairwise(samples):
        if before.count <= number <= after.count and after.count > before.count:
            share = (number - before.count) / (after.count - before.count)
            return before.at + share * (after.at - before.at)
    raise Unmeasurable(f"The count never passed {number}.")
