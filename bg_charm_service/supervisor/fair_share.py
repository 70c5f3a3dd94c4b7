"""Shares worker time between spaces by the seconds they used lately, not by counts.

In memory only: after a restart every space starts equal. Used by the dispatcher to choose
whose jobs are claimed next, and who may have the last free worker.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

#: After this long, use counts half, in seconds.
HALF_LIFE_SECONDS = 60.0

#: Runs that take no longer than this give their worker back soon enough, in seconds.
SHORT_SECONDS = 1.0

#: How much the newest run says about how long a space's runs are, beside those before it.
_NEWEST_WEIGHT = 0.3

#: A space that ran something so long ago, in seconds, is still expected to come again.
_EXPECTED_SECONDS = 86400.0

#: Use below this is forgotten, in worker-seconds.
_NEGLIGIBLE_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Caps:
    """How many runs may be under way at once, for each space and each integration; 0 for any."""

    per_space: int = 0
    per_integration: int = 0


def may_take_last(under_way: int, typical_seconds: float | None, *, has_others: bool) -> bool:
    """Whether a space may have the last free worker; `typical_seconds` None when nobody knows.

    One with runs under way leaves it to another that comes with its first, unless its runs are
    so short that the next worker is free in a moment. Where there is no other, it may.
    """
    is_short = typical_seconds is not None and typical_seconds <= SHORT_SECONDS
    return under_way == 0 or is_short or not has_others


class AtWork(NamedTuple):
    """How many workers make runs of a space, and for how long they have been at it, together."""

    workers: int
    seconds: float


_NOBODY = AtWork(0, 0.0)


class FairShare:
    """Remembers how many worker-seconds each space used lately."""

    def __init__(self) -> None:
        self._used: dict[int, float] = {}
        self._typical: dict[int, float] = {}
        #: When each space last used a worker, the latest last.
        self._last: dict[int, float] = {}
        self._as_of = 0.0

    def charge(self, space_key: int, seconds: float, now: float, runs: int = 1) -> None:
        """Add the worker time of some runs to their space.

        All sums are in the units of one moment, so that decay costs nothing until that is long ago.
        """
        added = seconds * self._scale(now)
        self._used[space_key] = self._used.get(space_key, 0.0) + added
        self._last.pop(space_key, None)
        self._last[space_key] = now
        mean = seconds / runs
        typical = self._typical.get(space_key, mean)
        self._typical[space_key] = typical + (mean - typical) * _NEWEST_WEIGHT

    def typical_seconds(self, space_key: int) -> float | None:
        """How long the recent runs of a space took; None when it had none lately."""
        return self._typical.get(space_key)

    def has_others(self, space_key: int, now: float) -> bool:
        """Whether another space used a worker within a day."""
        newest = itertools.islice(reversed(self._last.items()), 2)
        return any(key != space_key and now - at < _EXPECTED_SECONDS for key, at in newest)

    def used_seconds(self, space_keys: Iterable[int], now: float) -> dict[int, float]:
        """The worker-seconds that each of some spaces used lately."""
        scale = self._scale(now)
        used = self._used.get
        return {key: used(key, 0.0) / scale for key in space_keys}

    def in_turn(
        self, space_keys: Iterable[int], now: float, at_work: Mapping[int, AtWork]
    ) -> Iterator[int]:
        """The spaces, the one that used least lately first; those not asked for cost no sorting.

        What is at work counts with what it used so far; of equals, who has fewer workers is first.
        """
        used, scale = self._used.get, self._scale(now)
        heap = []
        for key in space_keys:
            workers, seconds = at_work.get(key, _NOBODY)
            heap.append((used(key, 0.0) + seconds * scale, workers, key))
        heapq.heapify(heap)
        while heap:
            yield heapq.heappop(heap)[2]

    def _scale(self, now: float) -> float:
        """How much a second of now weighs in the units of the sums."""
        if now - self._as_of > HALF_LIFE_SECONDS:
            self._decay(now)
        return float(2.0 ** ((now - self._as_of) / HALF_LIFE_SECONDS))

    def _decay(self, now: float) -> None:
        factor = 0.5 ** ((now - self._as_of) / HALF_LIFE_SECONDS)
        kept = ((key, used * factor) for key, used in self._used.items())
        self._used = {key: used for key, used in kept if used > _NEGLIGIBLE_SECONDS}
        self._typical = {key: self._typical[key] for key in self._used}
        self._last = {key: at for key, at in self._last.items() if now - at < _EXPECTED_SECONDS}
        self._as_of = now
