"""Shares worker time between spaces by the seconds they used lately, not by counts.

In memory only: after a restart every space starts equal. Used by the supervisor to choose
whose jobs are claimed next.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

#: After this long, use counts half, in seconds.
HALF_LIFE_SECONDS = 60.0

#: Use below this is forgotten, in worker-seconds.
_NEGLIGIBLE_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Caps:
    """How many runs may be under way at once, for each space and each integration; 0 for any."""

    per_space: int = 0
    per_integration: int = 0


@dataclass(frozen=True, slots=True, order=True)
class Need:
    """A space that wants a worker, and the worker-seconds that it used lately."""

    used_seconds: float
    space_key: int


class FairShare:
    """Remembers how many worker-seconds each space used lately."""

    def __init__(self) -> None:
        self._used: dict[int, float] = {}
        self._as_of = 0.0

    def charge(self, space_key: int, seconds: float, now: float) -> None:
        """Add worker time to a space.

        All sums are in the units of one moment, so that decay costs nothing until that is long ago.
        """
        added = seconds * self._scale(now)
        self._used[space_key] = self._used.get(space_key, 0.0) + added

    def by_need(self, space_keys: Collection[int], now: float) -> list[Need]:
        """The spaces, the one that used least lately first."""
        scale = self._scale(now)
        needs = [Need(self._used.get(key, 0.0) / scale, key) for key in space_keys]
        return sorted(needs)

    def _scale(self, now: float) -> float:
        """How much a second of now weighs in the units of the sums."""
        if now - self._as_of > HALF_LIFE_SECONDS:
            self._decay(now)
        return float(2.0 ** ((now - self._as_of) / HALF_LIFE_SECONDS))

    def _decay(self, now: float) -> None:
        factor = 0.5 ** ((now - self._as_of) / HALF_LIFE_SECONDS)
        kept = ((key, used * factor) for key, used in self._used.items())
        self._used = {key: used for key, used in kept if used > _NEGLIGIBLE_SECONDS}
        self._as_of = now
