"""Counts how runs ended, how long they took and how late they started, for metrics and status.

Every run passes here once it is on disk, so nothing is done but adding to plain numbers; what they
mean to a monitor is the collector's. The integrations that are told apart are bounded: whoever may
register a charm may make up labels. Fed by the status board.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.outcomes.policy import RunStatus
from bg_charm_service.supervisor.completer import Settled

#: Asked of its enum, a member takes many times as long (Python 3.11), and these are for each run.
_SUCCESS: Final = RunStatus.SUCCESS

#: Upper bounds of the histogram of durations, in seconds.
DURATION_BOUNDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)

#: Upper bounds of the histogram of start lags, in seconds.
LAG_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

#: Beside the integrations that are scanned, so many labels are told apart; the others share one.
MOST_LABELS = 50

#: What the runs of charms that no integration has are counted under, and those of labels beyond
#: the bound.
NO_LABEL, OTHER_LABEL = "none", "other"


@dataclass(slots=True)
class BucketCounts:
    """A histogram: `counts[i]` values are above bound `i - 1` and at most bound `i`.

    The last one counts what is above all bounds.
    """

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)


@dataclass(slots=True)
class _LabelCounts:
    """How the runs of one integration ended: successes, which nearly all are, and the others."""

    successes: int = 0
    others: Counter[tuple[RunStatus, FailureCause | None]] = field(default_factory=Counter)


@dataclass(slots=True)
class RunsTogether:
    """What a number of runs add to the chart of the last hour, and to the lag of the last minute.

    Lags are those of runs whose time had come while the service was awake, in seconds.
    """

    successes: int = 0
    failures: int = 0
    lags: int = 0
    lag_seconds: float = 0.0
    longest_lag_seconds: float = 0.0


class RunCounters:
    """Counts of this life of the service; they begin at zero."""

    def __init__(
        self,
        label_of: Callable[[int], str | None],
        scanned: Collection[str],
        *,
        most_labels: int = MOST_LABELS,
    ) -> None:
        """`label_of` gives the integration of a charm; `scanned` names those with labels anyway."""
        self._label_of = label_of
        self._scanned = scanned
        self._most_labels = most_labels
        self._by_label: dict[str | None, _LabelCounts] = {None: _LabelCounts()}
        self._made_up = 0
        self._beyond = _LabelCounts()
        self.durations = BucketCounts(DURATION_BOUNDS)
        self.lags = BucketCounts(LAG_BOUNDS)

    def note(self, settled: Sequence[Settled], *, awake_since: float) -> RunsTogether:
        """Count runs that are on disk.

        A run whose time came before `awake_since`, by the steady clock, has no lag: the service was
        down or did not run, and a time that an earlier life wrote is that of another clock.
        """
        label_of, by_label = self._label_of, self._by_label
        duration_bounds, duration_counts = self.durations.bounds, self.durations.counts
        lag_bounds, lag_counts = self.lags.bounds, self.lags.counts
        together = RunsTogether()
        took, lags, lag_seconds, longest = 0.0, 0, 0.0, 0.0
        for one in settled:
            run, outcome, status = one.run, one.outcome, one.decision.status
            claim = run.claim
            label = label_of(claim.charm_key)
            counts = by_label.get(label) or self._counts_of(label)
            if status is _SUCCESS:
                counts.successes += 1
                together.successes += 1
            else:
                failure = outcome.failure
                counts.others[status, failure.cause if failure is not None else None] += 1
                together.failures += status is RunStatus.FAILURE
                if status is RunStatus.CANCELLED:
                    # Ended by us: neither its length nor its start says anything.
                    continue
            seconds = outcome.duration_seconds
            duration_counts[bisect_left(duration_bounds, seconds)] += 1
            took += seconds
            if claim.job.run_at >= awake_since:
                lag = run.lag_seconds
                lag_counts[bisect_left(lag_bounds, lag)] += 1
                lags += 1
                lag_seconds += lag
                if lag > longest:
                    longest = lag
        self.durations.total += took
        self.lags.total += lag_seconds
        together.lags, together.lag_seconds = lags, lag_seconds
        together.longest_lag_seconds = longest
        return together

    def ended(self, status: RunStatus) -> int:
        """How many runs ended so."""
        return sum(count for _, found, _, count in self.each() if found is status)

    def each(self) -> Iterator[tuple[str, RunStatus, FailureCause | None, int]]:
        """Give each count with what it counts: integration, how the runs ended, and why."""
        # Somebody may have registered charms under the names of ours: they share a count then.
        summed: Counter[tuple[str, RunStatus, FailureCause | None]] = Counter()
        for label, counts in [*self._by_label.items(), (OTHER_LABEL, self._beyond)]:
            name = NO_LABEL if label is None else label
            summed[name, _SUCCESS, None] += counts.successes
            for (status, cause), count in counts.others.items():
                summed[name, status, cause] += count
        for (name, status, cause), count in summed.items():
            yield name, status, cause, count

    def _counts_of(self, label: str | None) -> _LabelCounts:
        """The counts of a label that has none of its own yet; gives it some if there is room."""
        is_made_up = label is not None and label not in self._scanned
        if is_made_up and self._made_up >= self._most_labels:
            return self._beyond
        self._made_up += is_made_up
        counts = self._by_label[label] = _LabelCounts()
        return counts
