"""Hands jobs to workers: claims fairly across spaces, and sends the runs out.

Claims are durable before a run goes out, so a supervisor that dies knows what it had started.
Called by the supervisor; holds the runs in flight.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.errors import FailureCause, FrameError, InvalidInput
from bg_charm_service.domain.model import Failure
from bg_charm_service.storage.contract import Database, JobQueue, Store
from bg_charm_service.storage.records import Claim
from bg_charm_service.supervisor import batch_policy as batching
from bg_charm_service.supervisor.admission import Admission
from bg_charm_service.supervisor.fair_share import Caps, FairShare
from bg_charm_service.supervisor.in_flight import InFlight, RunsInFlight
from bg_charm_service.supervisor.limit_resolver import LimitResolver
from bg_charm_service.supervisor.run_inputs import Prepared, RunInputs
from bg_charm_service.workers.pool.contract import WorkerPool
from bg_charm_service.workers.pool.events import FieldWanted, RunFinished
from bg_charm_service.workers.protocol.messages import FieldValue

#: What one worker is given in a go.
Batch = list[Prepared]


class Dispatcher:
    """Claims and sends."""

    def __init__(
        self,
        database: Database,
        store: Store,
        queue: JobQueue,
        pool: WorkerPool,
        clock: Clock,
        limits: LimitResolver,
        caps: Caps,
    ) -> None:
        self._store = store
        self._queue = queue
        self._pool = pool
        self._clock = clock
        self._caps = caps
        self._run_inputs = RunInputs(database, store, queue, limits)
        self.runs = RunsInFlight()
        self.share = FairShare()
        #: Since when, by the steady clock, jobs may be ready of which none has gone out; None
        #: while there are none.
        self.waiting_since: float | None = None

    def wants_to_claim(self, now: float) -> bool:
        """Whether a space may have a job that a worker is free for."""
        # Asked first in any case: a hint that nobody takes up would keep the loop from sleeping.
        turns = self._turns(now)
        hot = self._queue.hot_spaces(now, without=turns.full_integrations)
        if not hot:
            self.waiting_since = None
        elif self.waiting_since is None:
            self.waiting_since = now
        if not hot or turns.are_over() or self.runs.is_exclusive:
            return False
        return any(turns.has_worker(space_key) for space_key in turns.within_reach(hot))

    def move_workers(self, now: float) -> None:
        """Move workers to spaces that still have work, as far as others can spare them.

        After each step: nothing else would wake the loop when a space has just run out of work.
        """
        if not self.runs.is_exclusive and self._pool.free_workers().bound:
            hot = self._queue.spaces_left_hot()
            self._pool.rebalance(self.share.used_seconds(hot, now))

    def claim(self, now: float) -> list[Batch]:
        """Claim jobs for each free worker, the least served space first; in a transaction.

        Nothing has gone out yet: call `send` once the transaction is on disk.
        """
        if self.runs.is_exclusive:
            return []
        if self._queue.has_suspect(now):
            # It runs alone. Nothing new goes out before it, or on a busy day it never would.
            suspect = None if self.runs else self._queue.claim_suspect(now)
            return self._prepare_alone(suspect, now) if suspect else []
        batches: list[Batch] = []
        turns = self._turns(now)
        hot = self._queue.hot_spaces(now, without=turns.full_integrations)
        reachable, at_work = turns.within_reach(hot), self.runs.at_work(now)
        waiting: Iterable[int] = self.share.in_turn(reachable, now, at_work)
        # Rounds of one turn a space, so that a space with many jobs gets what others leave.
        while not turns.are_over():
            served = []
            for space_key in waiting:
                if not turns.has_worker(space_key):
                    continue
                found = self._claim_turn(space_key, now, turns.full_integrations)
                if found is None:
                    continue
                served.append(space_key)
                if found:
                    turns.take(found[0].run.claim)
                    batches.append(found)
                    if turns.are_over():
                        break
            if not served:
                break
            waiting = served
        return batches

    def claim_job(self, job_id: int, now: float) -> list[Batch]:
        """Claim one job by its id; nothing when it does not wait any more. In a transaction."""
        if self.runs.is_exclusive:
            return []
        claim = self._queue.claim_job(job_id, is_alone=not self.runs)
        return self._prepare_alone(claim, now) if claim is not None else []

    def send(self, batch: Batch) -> list[RunFinished]:
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
            return [RunFinished(specs[0], 0, "", death=first.problem)]
        try:
            if not self._pool.dispatch(space_key, specs):
                return [RunFinished(spec, 0, "") for spec in specs]
        except FrameError as error:
            text = f"Its state is too large to run with: {error}."
            failure = Failure(FailureCause.STATE_SIZE, text)
            return [RunFinished(spec, 0, "", death=failure) for spec in specs]
        return []

    def field(self, wanted: FieldWanted) -> FieldValue:
        """Answer a run that touched a large field, at the version it was promised."""
        run = self.runs.named(wanted.run_id)
        if run is None or wanted.field not in run.versions:
            return FieldValue(wanted.field, None)
        link = run.links.get(wanted.field)
        try:
            if link is not None:
                target = self._store.charms.get(link.target_key)
                cell = self._store.links.read(target, link) if target else None
            else:
                cell = self._store.cells.read(run.charm, wanted.field)
        except InvalidInput:
            cell = None
        if cell is None or cell.version != run.versions[wanted.field]:
            return FieldValue(wanted.field, None)
        return FieldValue(wanted.field, cell.value)

    def finished(self, ended: Sequence[tuple[InFlight, RunFinished]]) -> None:
        """Forget runs that are settled, and charge their spaces for the time of each."""
        now = self._clock.steady()
        by_space: dict[int, list[float]] = {}
        by_source: dict[str, list[float]] = {}
        for run, end in ended:
            self.runs.drop(run, now)
            by_space.setdefault(run.claim.space_key, []).append(end.seconds)
            # Measured from outside, a run is as long as this process was busy meanwhile.
            own = end.answer.duration_seconds if end.answer is not None else end.seconds
            by_source.setdefault(run.charm.source_hash, []).append(own)
        for space_key, used in by_space.items():
            self.share.charge(space_key, sum(used), now, len(used))
        for source_hash, used in by_source.items():
            self._run_inputs.times.note(source_hash, 1000 * sum(used) / len(used))

    def _turns(self, now: float) -> Admission:
        return Admission(self._pool.free_workers(), self.runs, self.share, self._caps, now)

    def _claim_turn(self, space_key: int, now: float, without: Set[str]) -> Batch | None:
        """Claim what one worker makes in a go; None when the space has nothing ready."""
        choice = self._run_inputs.choice()
        together = batching.most_runs(self.share.typical_seconds(space_key))
        most = 1 if self._caps.per_integration else together
        most = min(most, self._pool.most_in_a_go)
        claims = self._queue.claim(space_key, most, now, without=without, choose=choice.choose)
        if not claims:
            return None
        if len(claims) == 1:
            return next(iter(self._prepare_alone(claims[0], now)), [])
        return self._run_inputs.take_together(choice, claims, now)

    def _prepare_alone(self, claim: Claim, now: float) -> list[Batch]:
        found = self._run_inputs.take(claim, now)
        return [[found]] if found is not None else []
