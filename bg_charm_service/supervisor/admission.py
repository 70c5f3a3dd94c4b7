"""Who may be given a worker now: by what is free, by the caps, and by who left none for others.

Holds one round of claims together; decides nothing about their order. Used by the dispatcher.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Set

from bg_charm_service.storage.records import Claim
from bg_charm_service.supervisor.fair_share import Caps, FairShare, may_take_last
from bg_charm_service.supervisor.in_flight import RunsInFlight
from bg_charm_service.workers.pool.contract import FreeWorkers


class Admission:
    """The free workers of a moment, and what of them has been promised since."""

    def __init__(
        self, free: FreeWorkers, runs: RunsInFlight, share: FairShare, caps: Caps, now: float
    ) -> None:
        self._free = free
        self._runs = runs
        self._share = share
        self._caps = caps
        self._now = now
        self._by_space: Counter[int] = Counter()
        self._by_integration = runs.by_integration.copy()

    def is_over(self) -> bool:
        """Whether no worker is free any more."""
        return self._free.count == 0

    @property
    def full_integrations(self) -> frozenset[str]:
        """The integrations that have as many runs under way as they may."""
        most = self._caps.per_integration
        counts = self._by_integration.items() if most else ()
        # What nobody contributed is under no such cap.
        return frozenset(name for name, count in counts if name and count >= most)

    def may_have_more(self, space_key: int) -> bool:
        """Whether a space may have another run under way, if a worker is free for it."""
        under_way = self._runs.of_space(space_key) + self._by_space[space_key]
        if 0 < self._caps.per_space <= under_way:
            return False
        if self._free.count > 1:
            return True
        has_others = self._share.has_others(space_key, self._now)
        return may_take_last(under_way, self._typical(space_key), has_others=has_others)

    def within_reach(self, space_keys: Set[int]) -> Set[int]:
        """Those of some spaces that a free worker could serve: few, where all are bound."""
        return space_keys if self._free.unbound > 0 else space_keys & self._free.bound.keys()

    def has_worker(self, space_key: int) -> bool:
        """Whether a space may be given a worker that is free for it."""
        return self._free.has(space_key) and self.may_have_more(space_key)

    def take(self, claim: Claim) -> None:
        """Promise a worker to a job, and to those that go with it."""
        self._free.take(claim.space_key)
        self._by_space[claim.space_key] += 1
        self._by_integration[claim.integration] += 1

    def _typical(self, space_key: int) -> float | None:
        recent = self._share.typical_seconds(space_key)
        # One that hangs says more than those that ended.
        longest = self._runs.longest_seconds(space_key, self._now)
        return None if recent is None else max(recent, longest)
