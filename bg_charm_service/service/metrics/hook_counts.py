"""How requests to the listener of hooks were answered, for the metrics and the log."""

from __future__ import annotations

from collections import Counter
from typing import Final

#: All that is answered: a challenge sent back, stored, leads nowhere, too large, unreadable, too
#: many, and not now.
STATUSES: Final = (200, 202, 404, 413, 422, 429, 503)


class HookCounts:
    """Counts of this life of the service, by status; all zero where nothing listens."""

    def __init__(self) -> None:
        self.by_status: Counter[int] = Counter()
        self._told: Counter[int] = Counter()

    def news(self) -> Counter[int]:
        """Give what was counted since this was asked last."""
        news = self.by_status - self._told
        self._told = Counter(self.by_status)
        return news
