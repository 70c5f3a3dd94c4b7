"""The runs that are out with workers, and what those that ended lately took.

What a run was given is kept, so that its answer can be judged. In memory only: a claim that is
lost with the process is given back by `recovery`. Shared by dispatcher and completer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from bg_charm_service.domain.model import CharmHealth
from bg_charm_service.storage.records import CharmRecord, Claim, CollectionRecord, Link
from bg_charm_service.supervisor.batch_policy import SHORT_MS
from bg_charm_service.supervisor.fair_share import AtWork, FairShare
from bg_charm_service.workers.pool.events import RunFinished

#: The durations of so many sources are remembered.
_MOST_SOURCES = 10_000

#: How much the newest runs say about how long those of a source take, beside those before.
_NEWEST_WEIGHT = 0.5


class InFlight(msgspec.Struct, frozen=True, gc=False):
    """One run under way: its claim, and the versions of the values it started from."""

    claim: Claim
    charm: CharmRecord
    versions: dict[str, int] = {}
    links: dict[str, Link] = {}
    lag_seconds: float = 0.0
    #: Texts that must not show in the log or in an error of this run.
    secrets: tuple[str, ...] = ()
    is_alone: bool = False
    #: What each field of the charm itself took when the run went out, in bytes.
    sizes: dict[str, int] = {}
    #: What was known of the charm when the run went out; counts while nobody else changed it.
    health: CharmHealth = CharmHealth()
    #: The mark of the charm's last change by others when the run went out; -1 where none was taken.
    mark: int = -1
    #: Collections that it may touch, its charm's own and others', as they were then, by field.
    collections: dict[str, CollectionRecord] = {}
    #: Further such texts, of what it was given on its way.
    new_secrets: list[str] = []

    @property
    def hidden_texts(self) -> tuple[str, ...]:
        """All texts that must not show of this run, longest first."""
        if not self.new_secrets:
            return self.secrets
        return tuple(sorted({*self.secrets, *self.new_secrets}, key=len, reverse=True))

    @property
    def run_id(self) -> str:
        return self.claim.job.run_id


@dataclass(slots=True, eq=False)
class _Batch:
    """Runs that one worker makes one after the other."""

    space_key: int
    integration: str
    left: int
    #: When the one that is at work now began, as far as anybody outside can tell.
    begun: float


class SourceDurations:
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
        has_failed = health.last_error_at > health.last_success
        return not has_failed and self.expected_ms(health, source_hash) <= SHORT_MS


class RunsInFlight:
    """The runs under way, by job and by charm.

    Of those that use a worker it is known how many workers each space and each integration has.
    """

    def __init__(self) -> None:
        self._by_job: dict[int, InFlight] = {}
        self._by_charm: dict[int, InFlight] = {}
        self._batch_of: dict[int, _Batch] = {}
        self._batches: dict[int, list[_Batch]] = {}
        self.by_integration: Counter[str] = Counter()
        #: Jobs under way that a person took back: whatever their runs answer is refused.
        self.withdrawn: set[int] = set()
        #: Jobs whose runs were not given what they asked for, for no reason of theirs.
        self.unserved: set[int] = set()
        #: What the runs that ended took, for whose turn it is and for what goes together.
        self.share = FairShare()
        self.durations = SourceDurations()

    def add(self, runs: Sequence[InFlight], now: float) -> None:
        """Remember the runs that are about to go out to one worker."""
        by_job, by_charm = self._by_job, self._by_charm
        for run in runs:
            claim = run.claim
            if claim.job.job_id in by_job or claim.charm_key in by_charm:
                self.drop(run, now)
        claim = runs[0].claim
        batch = _Batch(claim.space_key, claim.integration, len(runs), now)
        for run in runs:
            claim = run.claim
            job_id = claim.job.job_id
            by_job[job_id] = by_charm[claim.charm_key] = run
            self._batch_of[job_id] = batch
        self._batches.setdefault(batch.space_key, []).append(batch)
        self.by_integration[batch.integration] += 1

    def note_end(self, job_id: int, now: float) -> None:
        """Note that a job uses no worker any more, though it is not settled; twice is fine."""
        batch = self._batch_of.pop(job_id, None)
        if batch is None:
            return
        batch.left -= 1
        batch.begun = now
        if batch.left:
            return
        self._batches[batch.space_key].remove(batch)
        if not self._batches[batch.space_key]:
            del self._batches[batch.space_key]
        self.by_integration[batch.integration] -= 1
        if not self.by_integration[batch.integration]:
            del self.by_integration[batch.integration]

    def drop(self, run: InFlight, now: float) -> None:
        """Forget a run that is settled; forgetting twice is fine."""
        job_id = run.claim.job.job_id
        if job_id in self._batch_of:
            self.note_end(job_id, now)
        self.withdrawn.discard(job_id)
        self.unserved.discard(job_id)
        self._by_job.pop(job_id, None)
        self._by_charm.pop(run.claim.charm_key, None)

    def end(self, ended: Sequence[tuple[InFlight, RunFinished]], now: float) -> None:
        """Forget runs that are settled, and charge their spaces for the time of each."""
        by_space: dict[int, list[float]] = {}
        by_source: dict[str, list[float]] = {}
        for run, end in ended:
            self.drop(run, now)
            by_space.setdefault(run.claim.space_key, []).append(end.seconds)
            # Measured from outside, a run is as long as this process was busy meanwhile.
            own = end.answer.duration_seconds if end.answer is not None else end.seconds
            by_source.setdefault(run.charm.source_hash, []).append(own)
        for space_key, used in by_space.items():
            self.share.charge(space_key, sum(used), now, len(used))
        for source_hash, used in by_source.items():
            self.durations.note(source_hash, 1000 * sum(used) / len(used))

    def find(self, job_id: int, attempt: int) -> InFlight | None:
        """The run that is this attempt of a job."""
        run = self._by_job.get(job_id)
        return run if run is not None and run.claim.job.attempt == attempt else None

    def named(self, run_id: str) -> InFlight | None:
        """The run of that id, in the form that jobs give it."""
        job_id, _, attempt = run_id.partition(".")
        return self.find(int(job_id), int(attempt))

    def of_charm(self, charm_key: int) -> InFlight | None:
        """The run of a charm: there is at most one."""
        return self._by_charm.get(charm_key)

    def of_space(self, space_key: int) -> int:
        """How many workers make runs of a space."""
        return len(self._batches.get(space_key, ()))

    def at_work(self, now: float) -> dict[int, AtWork]:
        """The spaces whose runs use workers: how many, and for how long."""
        return {
            space_key: AtWork(len(batches), sum([now - one.begun for one in batches]))
            for space_key, batches in self._batches.items()
        }

    def longest_seconds(self, space_key: int, now: float) -> float:
        """For how long the longest of a space's runs has been under way; 0 without any."""
        return now - min((one.begun for one in self._batches.get(space_key, ())), default=now)

    @property
    def are_at_work(self) -> bool:
        """Whether a worker makes one of them."""
        return bool(self._batches)

    @property
    def have_company(self) -> bool:
        """Whether a worker has more than one of them to make: their answers come close together."""
        return any(one.left > 1 for batches in self._batches.values() for one in batches)

    @property
    def is_exclusive(self) -> bool:
        """Whether a suspect is out, which runs alone."""
        return len(self._by_job) == 1 and next(iter(self)).is_alone

    def __iter__(self) -> Iterator[InFlight]:
        return iter(self._by_job.values())

    def __len__(self) -> int:
        return len(self._by_job)
