"""Which spaces may have a job ready: in memory, so that idle spaces cost no query.

A superset of the truth. A hint too many costs one look; one too few would leave a job lying.
Kept by the queue, which adds a hint only once the job behind it is committed.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable


class ReadyHints:
    """The spaces to look into now, and those to look into later."""

    def __init__(self, waiting: Iterable[tuple[float, int]]) -> None:
        self._hot: set[int] = set()
        self._later: list[tuple[float, int]] = []
        self.reload(waiting)

    def reload(self, waiting: Iterable[tuple[float, int]]) -> None:
        """Take these times and spaces for the ones of all waiting jobs."""
        self._later = sorted(waiting)

    def add(self, run_at: float, space_key: int) -> None:
        """A job of that space may be ready at that time."""
        heapq.heappush(self._later, (run_at, space_key))

    def cool(self, space_key: int) -> None:
        """A look found nothing more in that space; hints added since are kept in `_later`."""
        self._hot.discard(space_key)

    def hot(self, now: float) -> set[int]:
        """The spaces to look into."""
        while self._later and self._later[0][0] <= now:
            self._hot.add(heapq.heappop(self._later)[1])
        return set(self._hot)

    def next_run_at(self) -> float | None:
        """When the next space becomes hot; None when none will."""
        return self._later[0][0] if self._later else None
