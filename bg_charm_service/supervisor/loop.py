"""The one loop of the service: collect, settle, plan, claim, commit, dispatch.

Everything that a step decides is committed in one transaction before anything of it shows
outside. Time, chance and the pool come in as arguments; the parts own the rules. Run by `service`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loguru import logger

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.errors import ServiceError, ServiceStopping, StorageError
from bg_charm_service.storage.contract import Database, JobQueue, Store
from bg_charm_service.supervisor.completer import Completer, Settled
from bg_charm_service.supervisor.dispatcher import Batch, Dispatcher
from bg_charm_service.supervisor.job_waiters import JobWaiters
from bg_charm_service.supervisor.pacing import Pace
from bg_charm_service.supervisor.poll_planner import PollPlanner
from bg_charm_service.supervisor.recovery import rescue_claims
from bg_charm_service.supervisor.run_endings import RunEndings
from bg_charm_service.supervisor.source_inspections import SourceInspections
from bg_charm_service.supervisor.storage_health import StorageHealth
from bg_charm_service.workers.pool.contract import WorkerPool
from bg_charm_service.workers.pool.events import FieldWanted, InspectFinished, PoolEvent
from bg_charm_service.workers.protocol.messages import FieldValue


@dataclass(frozen=True, slots=True)
class Parts:
    """What the loop works with."""

    database: Database
    store: Store
    queue: JobQueue
    pool: WorkerPool
    planner: PollPlanner
    dispatcher: Dispatcher
    completer: Completer
    inspections: SourceInspections
    clock: Clock


class Supervisor:
    """Runs charms until it is told to stop."""

    def __init__(
        self, parts: Parts, *, polling: bool, watch_seconds: float, wake: asyncio.Event
    ) -> None:
        self.parts = parts
        self.storage = StorageHealth(parts.clock)
        parts.database.on_failure.append(self.storage.note)
        self.is_draining = False
        #: Steps done so far: the watchdog sees by it that the loop advances.
        self.turns = 0
        #: Called with the settlements of a step once they are on disk.
        self.on_settled: list[Callable[[Sequence[Settled]], None]] = []
        #: Why nothing runs any more; None while the service is open.
        self.ended_by: ServiceError | None = None
        self._is_over = False
        self._settled_something = asyncio.Event()
        self._polling = polling
        self.pace = Pace(
            *(parts.clock, parts.planner, parts.queue, parts.pool, parts.dispatcher, wake),
            watch_seconds=watch_seconds,
        )
        self._unsettled: list[PoolEvent] = []
        self._waiters = JobWaiters()
        self._endings = RunEndings(parts.database, parts.store, parts.dispatcher, parts.completer)

    def rescue(self) -> None:
        """Give jobs that were claimed when an earlier supervisor died back to the queue."""
        parts = self.parts
        with parts.database.transaction():
            settled = rescue_claims(parts.store, parts.queue, parts.completer, parts.clock)
            parts.store.totals.flush()
        self._tell(settled)

    async def run(self) -> None:
        """Step until `stop_now` is called; raises what makes the service unable to go on."""
        try:
            while not self._is_over:
                self.step()
                retry_at = self.storage.retry_at if self.storage.problem else None
                is_polling = self._polling and not self.is_draining
                await self.pace.rest(retry_at=retry_at, is_polling=is_polling)
        except BaseException as error:
            # Nobody is left to answer those who wait.
            fault = ServiceError("The service ended by a fault of its own.")
            self._let_everybody_go(error if isinstance(error, ServiceError) else fault)
            raise

    def step(self) -> None:
        """Do one round; never raises for a charm's sake."""
        parts = self.parts
        self.turns += 1
        parts.pool.tick()
        now = parts.clock.steady()
        self._take_in(parts.pool.collect())
        if self.storage.is_waiting:
            return
        events, self._unsettled = self._unsettled, []
        planned: list[tuple[float, int]] = []
        try:
            settled, batches = self._commit(events, planned, now)
        except StorageError as error:
            # Nothing of this step happened: keep what came in, and claim nothing meanwhile.
            parts.planner.restore(planned)
            parts.store.totals.discard()
            self._unsettled = events
            self.storage.note(error)
            return
        self.storage.clear()
        self._tell(settled)
        with self.storage.noting():
            self._waiters.let_go_dropped(parts.queue.is_live)
        if events:
            self._settled_something.set()
            if not parts.dispatcher.runs:
                # A suspect may have waited for this; it was still counted as out a moment ago.
                self.pace.stir()
        for batch in batches:
            unstarted = parts.dispatcher.send(batch)
            if unstarted:
                self._take_in(unstarted)
                self.pace.stir()
        if self._polling and not self.is_draining:
            parts.dispatcher.move_workers(now)

    async def drain(self, timeout_seconds: float) -> None:
        """Plan and claim nothing more, and let the runs under way end, for so long at most."""
        self.is_draining = True
        self.wake()
        try:
            async with asyncio.timeout(timeout_seconds):
                while (self.parts.dispatcher.runs or self._unsettled) and not self._is_over:
                    await self._settled_something.wait()
                    self._settled_something.clear()
        except TimeoutError:
            logger.bind(event="drain_over").warning(
                "{} runs did not finish in time; they are stopped and given back",
                len(self.parts.dispatcher.runs),
            )

    async def stop_now(self) -> None:
        """End what runs and give its jobs back, at no cost for any charm."""
        if self._is_over:
            return
        self._is_over = True
        self.wake()
        self.parts.pool.stop()
        self._take_in(self.parts.pool.collect())
        # Where that cannot be written, the next start rescues what is still claimed.
        with self.storage.noting():
            with self.parts.database.transaction():
                settled = self._endings.settle(self._unsettled)
                self._unsettled = []
                for run in list(self.parts.dispatcher.runs):
                    self.parts.queue.release(run.claim, self.parts.clock.steady())
                    self.parts.dispatcher.runs.drop(run, self.parts.clock.steady())
                self.parts.store.totals.flush()
            self._tell(settled)
        self._let_everybody_go(ServiceStopping("The service stopped first."))

    def wake(self) -> None:
        """Let the loop take its next step at once."""
        self.pace.hurry()

    def run_job(self, job_id: int) -> None:
        """Run a job that was just queued, also when the service does not poll."""
        if not self._polling:
            self._waiters.wanted.add(job_id)
            self.parts.pool.start()
        self.wake()

    def settlement_of(self, job_id: int) -> asyncio.Future[Settled | None]:
        """A future of what becomes of a job's next attempt; None when the job is dropped first."""
        return self._waiters.wait_for(job_id)

    def _take_in(self, events: Sequence[PoolEvent]) -> None:
        """Answer what needs no transaction at once, keep the rest for it; workers are free now."""
        now = self.parts.clock.steady()
        for event in events:
            if isinstance(event, FieldWanted):
                self.parts.pool.give_field(event.run_id, self._field(event))
            elif isinstance(event, InspectFinished):
                self.parts.inspections.finish(event)
            else:
                self.parts.dispatcher.runs.note_end(event.run.job_id, now)
                self._unsettled.append(event)

    def _commit(
        self, events: list[PoolEvent], planned: list[tuple[float, int]], now: float
    ) -> tuple[list[Settled], list[Batch]]:
        """Settle, plan and claim in one transaction; an idle step opens none."""
        parts = self.parts
        batches: list[Batch] = []
        is_open = not self.is_draining
        has_due = is_open and self._polling and (parts.planner.next_due or now + 1) <= now
        wants_jobs = is_open and (
            parts.dispatcher.wants_to_claim(now) if self._polling else bool(self._waiters.wanted)
        )
        if not (events or has_due or wants_jobs or self.storage.problem):
            return [], batches
        self.pace.note_commit(now)
        with parts.database.transaction():
            if self.storage.problem:
                # A step that has nothing to write would not show that the trouble is over.
                parts.database.probe(write=True)
            settled = self._endings.settle(events)
            if has_due:
                planned += parts.planner.plan(now)
            if is_open and self._polling:
                batches = parts.dispatcher.claim(now)
            elif wants_jobs:
                batches = self._claim_wanted(now)
            parts.store.totals.flush()
        return settled, batches

    def _claim_wanted(self, now: float) -> list[Batch]:
        """Claim a job that was asked for, again when it came back; one a step."""
        if self.parts.pool.free_workers().count:
            for job_id in sorted(self._waiters.wanted):
                found = self.parts.dispatcher.claim_job(job_id, now)
                if found:
                    return found
        return []

    def _tell(self, settled: list[Settled]) -> None:
        if not settled:
            return
        for listener in self.on_settled:
            listener(settled)
        self._waiters.tell(settled)

    def _let_everybody_go(self, error: ServiceError) -> None:
        self.ended_by = self.ended_by or error
        self.parts.inspections.stop(self.ended_by)
        self._waiters.close()

    def _field(self, wanted: FieldWanted) -> FieldValue:
        try:
            return self.parts.dispatcher.field(wanted)
        except StorageError as error:
            # Without the value the run ends as a stale one: it is made again, at no cost.
            self.storage.note(error)
            return FieldValue(wanted.field, None)
