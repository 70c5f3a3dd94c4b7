"""The runs that are out with workers: what each was given, so that its answer can be judged.

In memory only; a claim that is lost with the process is rescued from the queue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from bg_charm_service.domain.model import CharmHealth
from bg_charm_service.storage.records import CharmRecord, Claim, Link
from bg_charm_service.supervisor.fair_share import AtWork


class InFlight(msgspec.Struct, frozen=True):
    """One run under way: its claim, and the versions of the values it started from."""

    claim: Claim
    charm: CharmRecord
    versions: dict[str, int]
    links: dict[str, Link]
    lag_seconds: float
    #: Texts that must not show in the log or in an error of this run.
    secrets: tuple[str, ...] = ()
    is_alone: bool = False
    #: What each field of the charm itself took when the run went out, in bytes.
    sizes: dict[str, int] = {}
    #: What was known of the charm when the run went out; counts while nobody else changed it.
    health: CharmHealth = CharmHealth()
    #: The mark of the charm's last change by others when the run went out; -1 where none was taken.
    mark: int = -1

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

    def add(self, runs: Sequence[InFlight], now: float) -> None:
        """Remember the runs that are about to go out to one worker."""
        for run in runs:
            self.drop(run, now)
        claim = runs[0].claim
        batch = _Batch(claim.space_key, claim.integration, len(runs), now)
        for run in runs:
            claim = run.claim
            job_id = claim.job.job_id
            self._by_job[job_id] = self._by_charm[claim.charm_key] = run
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
        self._by_job.pop(job_id, None)
        self._by_charm.pop(run.claim.charm_key, None)

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
