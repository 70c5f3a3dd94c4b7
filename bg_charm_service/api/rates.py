"""How many come in a second, requests to an address or connections to a port: the rest waits.

Pure but for what it remembers: so many addresses at most.
"""

from __future__ import annotations

from collections import OrderedDict

#: So many requests a second come to one address, and as many at once.
A_SECOND = 10.0

#: So many addresses are remembered; of one that is forgotten as many may come at once again.
_MOST_ADDRESSES = 10_000


class Rates:
    """A bucket for each address, which fills by so many a second."""

    def __init__(self, a_second: float = A_SECOND) -> None:
        self._a_second = a_second
        self._buckets: OrderedDict[int, tuple[float, float]] = OrderedDict()

    def admits(self, key: int, now: float) -> bool:
        """Whether one more may come to an address; `now` is in seconds, of the steady clock."""
        left, since = self._buckets.pop(key, (self._a_second, now))
        left = min(self._a_second, left + max(0.0, now - since) * self._a_second)
        is_admitted = left >= 1.0
        self._buckets[key] = (left - 1.0 if is_admitted else left, now)
        if len(self._buckets) > _MOST_ADDRESSES:
            self._buckets.popitem(last=False)
        return is_admitted
