"""When a charm is due: pure arithmetic, no clock and no storage.

Each charm has a stable phase in its interval. Charms of one space are due close together, so
that one worker serves them in one go; a space whose burst is longer than a second is spread.
Called by the supervisor when it plans polls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

from bg_charm_service.domain.model import CharmRef

#: A space's burst shorter than this is not spread, in worker-seconds.
BURST_SECONDS = 1.0

#: A spread burst keeps a worker busy for at most one part in this many.
_SPREAD_FACTOR = 4

#: Missed polls that can start within this time start at once, in seconds.
CATCH_UP_SECONDS = 5.0


@lru_cache(maxsize=4096)
def _fraction(text: str) -> float:
    """Map a text to a stable number in [0, 1)."""
    digest = blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def spread_seconds(burst_seconds: float, interval_seconds: float) -> float:
    """Over how long a space's polls are spread, given the worker time they take in one interval.

    Grows in powers of two, so that a phase stays put while a space grows slowly.
    """
    if burst_seconds <= BURST_SECONDS:
        return 0.0
    return min(interval_seconds, _SPREAD_FACTOR * 2.0 ** math.ceil(math.log2(burst_seconds)))


def phase_seconds(ref: CharmRef, interval_seconds: float, burst_seconds: float = 0.0) -> float:
    """A charm's place in its interval, in [0, interval)."""
    spread = spread_seconds(burst_seconds, interval_seconds)
    offset = _fraction(ref.space) * interval_seconds
    if spread:
        offset += _fraction(ref.charm_id) * spread
    return offset % interval_seconds


def next_due(after: float, phase: float, interval_seconds: float) -> float:
    """The first moment of the charm's phase that is later than `after`."""
    # The division rounds, so that the whole number below it may be one too high or too low.
    periods = math.floor((after - phase) / interval_seconds)
    while phase + periods * interval_seconds <= after:
        periods += 1
    while phase + (periods - 1) * interval_seconds > after:
        periods -= 1
    return phase + periods * interval_seconds


def due_after_poll(due: float, now: float, phase: float, interval_seconds: float) -> float:
    """When a charm whose poll was due at `due` and is planned at `now` is due next.

    Polls missed on the way are skipped, never run back to back.
    """
    return next_due(max(due, now), phase, interval_seconds)


def due_after_first(now: float, phase: float, interval_seconds: float) -> float:
    """When a new or re-enabled charm, polled at once, is due next: half an interval on or later."""
    return next_due(now + interval_seconds / 2, phase, interval_seconds)


def due_after_restart(
    dues: Sequence[float],
    now: float,
    interval_seconds: float,
    starts_per_second: float,
    own_intervals: Sequence[float | None] = (),
) -> list[float]:
    """Move the due times that were read at start to where this life of the service serves them.

    Overdue ones run once: at once, or spread over the interval (their own, where that is shorter)
    when more than can start in `CATCH_UP_SECONDS`. A due time further away than the charm's
    interval, its own where it has one (the clock was set back, or the interval made shorter), is
    brought near.
    """
    intervals = [own or interval_seconds for own in own_intervals] or [interval_seconds] * len(dues)
    overdue = [index for index, due in enumerate(dues) if due <= now]
    moved = [min(due, now + interval) for due, interval in zip(dues, intervals, strict=True)]
    is_flood = len(overdue) > starts_per_second * CATCH_UP_SECONDS
    for place, index in enumerate(sorted(overdue, key=lambda i: dues[i])):
        spread = min(interval_seconds, intervals[index])
        moved[index] = now + (spread * place / len(overdue) if is_flood else 0.0)
    return moved
