"""Which spaces may have a job ready: in memory, so that idle spaces cost no query.

A superset of the truth. A hint too many costs one look; one too few would leave a job lying.
Kept by the queue. What is found there is forgotten only once that is committed.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Set


class ReadyHints:
    """The spaces to look into now, and those to look into later."""

    def __init__(self, waiting: Iterable[tuple[float, int]]) -> None:
        self._hot: set[int] = set()
        # Hot ones in which nothing was found but what belongs to these integrations.
        self._left_out: dict[int, frozenset[str]] = {}
        self._later: list[tuple[float, int]] = []
        self.reload(waiting)

    def reload(self, waiting: Iterable[tuple[float, int]]) -> None:
        """Take these times and spaces for the ones of all waiting jobs."""
        self._later = sorted(waiting)

    def add(self, run_at: float, space_key: int) -> None:
        """A job of that space may be ready at that time."""
        heapq.heappush(self._later, (run_at, space_key))

    def cool(self, space_key: int, left_out: frozenset[str] = frozenset()) -> None:
        """A look found nothing more there, but what it left out; hints added since are kept."""
        if left_out:
            self._left_out[space_key] = left_out
        else:
            self._hot.discard(space_key)
            self._left_out.pop(space_key, None)

    def hot(self, now: float, without: Set[str] = frozenset()) -> set[int]:
        """The spaces to look into, for jobs of other integrations than these."""
        while self._later and self._later[0][0] <= now:
            space_key = heapq.heappop(self._later)[1]
            self._hot.add(space_key)
            self._left_out.pop(space_key, None)
        vain = {key for key, left_out in self._left_out.items() if left_out <= without}
        return self._hot - vain

    def left_hot(self) -> set[int]:
        """The spaces of the last look in which more may be; what came since counts later."""
        return set(self._hot)

    def next_run_at(self) -> float | None:
        """When the next space becomes hot; None when none will."""
        return self._later[0][0] if self._later else None
