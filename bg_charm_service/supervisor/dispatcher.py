"""Hands jobs to workers: claims fairly across spaces, and dispatches the runs.

Claims are durable before a run goes out, so a supervisor that dies knows what it had started.
Called by the loop.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Set
from typing import Protocol

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.errors import FailureCause, FrameError
from bg_charm_service.domain.model import Failure
from bg_charm_service.storage.contract import JobQueue
from bg_charm_service.storage.records import Claim, Pause, Pausing
from bg_charm_service.supervisor.admission import Admission
from bg_charm_service.supervisor.batch_policy import most_runs
from bg_charm_service.supervisor.fair_share import Caps
from bg_charm_service.supervisor.in_flight import RunsInFlight
from bg_charm_service.supervisor.run_inputs import Prepared, RunInputs
from bg_charm_service.supervisor.suspects import SuspectTrial
from bg_charm_service.workers.pool.contract import WorkerPool
from bg_charm_service.workers.pool.events import RunFinished

#: What one worker is given at once, and makes one after the other.
Batch = list[Prepared]


class Holds(Protocol):
    """What keeps charms from running, so that no job of theirs is claimed but those by hand."""

    @property
    def are_any(self) -> bool:
        """Whether anything may be kept from running."""

    def within(self, space_key: int) -> Pausing:
        """What of a space is kept from running."""

    def over(self, space_key: int, charm_key: int) -> Pause | None:
        """What keeps a charm from running."""


class Dispatcher:
    """Claims jobs, and gives their runs to workers."""

    def __init__(
        self,
        queue: JobQueue,
        pauses: Holds,
        pool: WorkerPool,
        clock: Clock,
        runs: RunsInFlight,
        inputs: RunInputs,
        trial: SuspectTrial,
        caps: Caps,
    ) -> None:
        self._queue = queue
        self._pauses = pauses
        self._pool = pool
        self._clock = clock
        self.runs = runs
        self._share = runs.share
        self._inputs = inputs
        self._trial = trial
        self._caps = caps
        #: Since when, by the steady clock, jobs may be ready of which none has gone out; None
        #: while there are none.
        self.waiting_since: float | None = None

    def wants_to_claim(self, now: float, by_hand: Collection[int] = ()) -> bool:
        """Whether a space may have a job that a worker is free for.

        `by_hand` are the spaces in which a person waits for a run, which a pause does not keep.
        """
        # Asked first in any case: a hint that nobody takes up would keep the loop from sleeping.
        admission = self._admission(now)
        hot = self._queue.hot_spaces(now, without=admission.full_integrations)
        hot = self._awake(hot, by_hand)
        if not hot:
            self.waiting_since = None
        elif self.waiting_since is None:
            self.waiting_since = now
        if not self._trial.may_run_charms():
            self.waiting_since = None
            return False
        if not hot or admission.is_over() or self.runs.is_exclusive:
            return False
        return any(admission.has_worker(space_key) for space_key in admission.within_reach(hot))

    def move_workers(self, now: float, by_hand: Collection[int] = ()) -> None:
        """Move workers to spaces that still have work, as far as others can spare them.

        After each step: nothing else would wake the loop when a space has just run out of work.
        """
        if not self.runs.is_exclusive and self._pool.free_workers().bound:
            hot = self._awake(self._queue.spaces_left_hot(), by_hand)
            self._pool.rebalance(self._share.used_seconds(hot, now))

    def claim(self, now: float, by_hand: Collection[int] = ()) -> list[Batch]:
        """Claim jobs for each free worker, the least served space first; in a transaction.

        Nothing has gone out yet: call `dispatch` once the transaction is on disk.
        """
        if self.runs.is_exclusive or not self._trial.may_run_charms():
            return []
        is_paused = self._is_paused if self._pauses.are_any else None
        if self._trial.may_run_suspects() and self._queue.has_suspect(now, is_paused=is_paused):
            # It runs alone. Nothing new goes out before it, or on a busy day it never would.
            suspect = None if self.runs else self._queue.claim_suspect(now, is_paused=is_paused)
            return self._prepare_alone(suspect, now) if suspect else []
        batches: list[Batch] = []
        admission = self._admission(now)
        hot = self._queue.hot_spaces(now, without=admission.full_integrations)
        hot = self._awake(hot, by_hand)
        reachable, at_work = admission.within_reach(hot), self.runs.at_work(now)
        waiting: Iterable[int] = self._share.in_turn(reachable, now, at_work)
        # Rounds of one batch a space, so that a space with many jobs gets what others leave.
        while not admission.is_over():
            served = []
            for space_key in waiting:
                if not admission.has_worker(space_key):
                    continue
                found = self._claim_batch(space_key, now, admission.full_integrations)
                if found is None:
                    continue
                served.append(space_key)
                if found:
                    admission.take(found[0].run.claim)
                    batches.append(found)
                    if admission.is_over():
                        break
            if not served:
                break
            waiting = served
        return batches

    def claim_wanted(self, job_ids: Set[int], now: float) -> list[Batch]:
        """Claim the first of some jobs that waits, where nothing is polled; in a transaction."""
        if self.runs.is_exclusive or not self._pool.free_workers().count:
            return []
        for job_id in sorted(job_ids):
            claim = self._queue.claim_job(job_id, is_alone=not self.runs)
            found = self._prepare_alone(claim, now) if claim is not None else []
            if found:
                return found
        return []

    def dispatch(self, batch: Batch) -> list[RunFinished]:
        """Give claimed runs to a worker; the ends of those that cannot even start.

        Reads nothing: what a claim needs was read in its transaction, or it was not claimed.
        """
        self.runs.add([each.run for each in batch], self._clock.steady())
        self.waiting_since = None
        first = batch[0]
        space_key, walls = first.run.claim.space_key, first.limits.walls
        sent: set[str] = set()
        specs = []
        for each in batch:
            source_hash = each.run.charm.source_hash
            is_known = source_hash in sent or self._pool.knows_source(space_key, walls, source_hash)
            sent.add(source_hash)
            specs.append(each.spec(with_source=not is_known))
        if first.problem is not None:
            return [RunFinished(specs[0], 0, "", death=first.problem, ending=first.ending)]
        try:
            if not self._pool.dispatch(space_key, specs):
                return [RunFinished(spec, 0, "") for spec in specs]
        except FrameError as error:
            text = f"Its state is too large to run with: {error}."
            failure = Failure(FailureCause.STATE_SIZE, text)
            return [RunFinished(spec, 0, "", death=failure) for spec in specs]
        return []

    def _awake(self, hot: set[int], by_hand: Collection[int]) -> set[int]:
        """Leave out the spaces in which nothing may run now, as they are paused as a whole."""
        if not self._pauses.are_any:
            return hot
        within = self._pauses.within
        return {key for key in hot if key in by_hand or not within(key).is_whole}

    def _is_paused(self, space_key: int, charm_key: int) -> bool:
        return self._pauses.over(space_key, charm_key) is not None

    def _admission(self, now: float) -> Admission:
        return Admission(self._pool.free_workers(), self.runs, self._share, self._caps, now)

    def _claim_batch(self, space_key: int, now: float, without: Set[str]) -> Batch | None:
        """Claim what one worker is given at once; None when the space has nothing ready."""
        choice = self._inputs.choice()
        together = most_runs(self._share.typical_seconds(space_key))
        most = 1 if self._caps.per_integration else together
        most = min(most, self._pool.most_runs_a_batch)
        claims = self._queue.claim(
            space_key,
            most,
            now,
            without=without,
            choose=choice.choose,
            pausing=self._pauses.within(space_key),
        )
        if not claims:
            return None
        if len(claims) == 1:
            return next(iter(self._prepare_alone(claims[0], now)), [])
        return self._inputs.take_together(choice, claims, now)

    def _prepare_alone(self, claim: Claim, now: float) -> list[Batch]:
        found = self._inputs.take(claim, now)
        return [[found]] if found is not None else []
