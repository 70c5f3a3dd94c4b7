"""Which runs one worker is given in a go: those of charms that were short lately. Pure.

A batch saves what a run costs besides its work, and holds up the runs behind a slow one: so only
charms that are known to be quick take part. Used by the preparation of claims.
"""

from __future__ import annotations

import math

from bg_charm_service.domain.model import CharmHealth

#: So many runs go to a worker at once, at most.
MOST_RUNS = 100

#: So long may they take together, as far as anybody knows, in seconds.
MOST_SECONDS = 0.05

#: So much may their values take together, in bytes.
MOST_BYTES = 1024 * 1024

#: Where each run of a space took longer than that lately, so many are looked at in a go: to read
#: more of them costs more than the few that are quick could save.
_FEW_RUNS = 8

#: A charm whose runs take no longer than this may share a worker's go, in milliseconds.
_SHORT_MS = 10.0


#: The times of so many sources are remembered.
_MOST_SOURCES = 10_000

#: How much the newest runs say about how long those of a source take, beside those before.
_NEWEST_WEIGHT = 0.5


def most_runs(typical_seconds: float | None) -> int:
    """How many runs of a space may go together, by what one took lately; None when none did."""
    return _FEW_RUNS if (typical_seconds or 0.0) > MOST_SECONDS else MOST_RUNS


class SourceTimes:
    """How long runs of each source took lately: what a charm that has not run yet may take."""

    def __init__(self) -> None:
        self._ms: dict[str, float] = {}

    def note(self, source_hash: str, milliseconds: float) -> None:
        """Take note of a run, or of the mean of some."""
        before = self._ms.pop(source_hash, milliseconds)
        self._ms[source_hash] = before + (milliseconds - before) * _NEWEST_WEIGHT
        if len(self._ms) > _MOST_SOURCES:
            del self._ms[next(iter(self._ms))]

    def expected_ms(self, health: CharmHealth, source_hash: str) -> float:
        """How long the next run of a charm may take; endless when nobody knows."""
        if not health.executions:
            return self._ms.get(source_hash, math.inf)
        return max(health.total_ms / health.executions, health.last_ms)

    def is_short(self, health: CharmHealth, source_hash: str) -> bool:
        """Whether a charm did not fail the last time, and is known to be quick."""
        return (
            health.consecutive_failures == 0 and self.expected_ms(health, source_hash) <= _SHORT_MS
        )
