"""The one loop of the service: collect, complete, plan, claim, commit, dispatch.

Everything that a step decides is committed in one transaction before anything of it shows
outside. Time, chance and the pool come in as arguments; the parts own the rules. Run by `service`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec
from loguru import logger

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.errors import ServiceError, ServiceStopping, StorageError
from bg_charm_service.storage.contract import Database, JobQueue, Storage, Store
from bg_charm_service.storage.disk_reserve import DiskReserve
from bg_charm_service.supervisor.answers.answer_checks import AnswerChecks
from bg_charm_service.supervisor.charm_switch import CharmSwitch
from bg_charm_service.supervisor.completer import Completer, Settled
from bg_charm_service.supervisor.dispatcher import Batch, Dispatcher
from bg_charm_service.supervisor.in_flight import InFlight, RunsInFlight
from bg_charm_service.supervisor.job_waiters import JobWaiters
from bg_charm_service.supervisor.loop_steps import LoopSteps
from bg_charm_service.supervisor.planning.pacing import Pace
from bg_charm_service.supervisor.planning.poll_planner import PollPlanner
from bg_charm_service.supervisor.recovery import recover_claims
from bg_charm_service.supervisor.reminders import ReminderSchedule
from bg_charm_service.supervisor.run_inputs import RunInputs
from bg_charm_service.supervisor.source_inspections import SourceInspections
from bg_charm_service.supervisor.storage_health import StorageHealth
from bg_charm_service.supervisor.suspects import SuspectTrial
from bg_charm_service.supervisor.token_gate import NoSignIns, TokenGate
from bg_charm_service.supervisor.waiting_charms import WaitingCharms
from bg_charm_service.workers.pool.contract import WorkerPool
from bg_charm_service.workers.pool.events import (
    FieldWanted,
    ItemsWanted,
    PoolEvent,
    RenewalWanted,
    RunFinished,
    WorkerSpent,
)
from bg_charm_service.workers.protocol.messages import (
    FieldValue,
    FoundItems,
    TokenGiven,
    TokenWanted,
    WantItems,
)

#: A step that comes so much later than it was to was held up: the service was stopped, or the
#: machine was.
_ASLEEP_SECONDS = 10.0

#: How often the storage is looked after while nothing is written, in seconds.
_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What the loop works with."""

    storage: Storage
    clock: Clock
    pool: WorkerPool
    runs: RunsInFlight
    inputs: RunInputs
    planner: PollPlanner
    dispatcher: Dispatcher
    completer: Completer
    inspections: SourceInspections
    trial: SuspectTrial
    waiting: WaitingCharms
    switch: CharmSwitch
    reminders: ReminderSchedule
    #: How long the steps of the loop take: whoever begins something long says what it is.
    steps: LoopSteps = field(default_factory=LoopSteps)
    #: Who keeps the tokens of sign-ins good.
    tokens: TokenGate = field(default_factory=NoSignIns)

    @property
    def database(self) -> Database:
        return self.storage.database

    @property
    def store(self) -> Store:
        return self.storage.store

    @property
    def queue(self) -> JobQueue:
        return self.storage.queue


class Supervisor:
    """Runs charms until it is told to stop."""

    def __init__(
        self,
        parts: Parts,
        *,
        polling: bool,
        watch_seconds: float,
        wake: asyncio.Event,
        reserve: DiskReserve | None = None,
    ) -> None:
        self.parts = parts
        self.storage_health = StorageHealth(parts.clock, reserve)
        self.storage_health.on_full.append(self._find_who_filled)
        parts.database.on_failure.append(self.storage_health.note)
        self.is_draining = False
        #: Since when the loop has stepped without a long break, and nothing was resumed, by the
        #: steady clock.
        self.awake_since = parts.clock.steady()
        self._stepped_at = self.awake_since
        #: Steps done so far: the watchdog sees by it that the loop advances.
        self.turns = 0
        self._turn_waiters: list[asyncio.Future[None]] = []
        #: Called with the settlements of a step once they are on disk.
        self.on_settled: list[Callable[[Sequence[Settled]], None]] = []
        #: Why nothing runs any more; None while the service is open.
        self.ended_by: ServiceError | None = None
        self._is_over = False
        self._settled_something = asyncio.Event()
        self._polling = polling
        self.pace = Pace(
            parts.clock,
            parts.planner,
            parts.reminders,
            parts.queue,
            parts.pool,
            parts.dispatcher,
            wake=wake,
            watch_seconds=watch_seconds,
        )
        #: Ends of runs that are not on disk yet.
        self._answers: list[RunFinished] = []
        #: Workers that were replaced for what a run did, which is not noted yet.
        self._spent: list[WorkerSpent] = []
        #: Called with each of them once it is.
        self.on_spent: list[Callable[[WorkerSpent], None]] = []
        #: Those of them that are large, and not looked at yet.
        self._checks = AnswerChecks()
        self._waiters = JobWaiters()
        #: The job whose run kept the most in files when the disk was full.
        self._filled_by: int | None = None
        #: When to look after the storage again, by the steady clock.
        self._look_at = 0.0

    def recover(self) -> None:
        """Give jobs that were claimed when an earlier supervisor died back to the queue."""
        parts = self.parts
        with parts.database.transaction():
            settled = recover_claims(parts.storage, parts.completer, parts.clock)
            if self._polling:
                parts.trial.begin()
            parts.store.totals.flush()
        self._publish(settled)

    async def run(self) -> None:
        """Step until `stop_now` is called; raises what makes the service unable to go on."""
        try:
            while not self._is_over:
                self.step()
                health = self.storage_health
                retry_at = health.retry_at if health.problem else None
                await self.pace.rest(
                    retry_at=retry_at,
                    latest_at=self.parts.trial.next_note,
                    is_polling=self._is_polling,
                )
        except BaseException as error:
            # Nobody is left to answer those who wait.
            fault = ServiceError("The service ended by a fault of its own.")
            self._let_everybody_go(error if isinstance(error, ServiceError) else fault)
            raise

    def step(self) -> None:
        """Collect, complete, plan, claim, commit, dispatch; never raises for a charm's sake.

        What is decided in between is one transaction: nothing of it shows outside before it is on
        disk. A step in which there is nothing to decide opens none.
        """
        answers = self._collect()
        now = self.parts.clock.steady()
        late_seconds = now - max(self._stepped_at, self.pace.rests_until)
        if late_seconds > _ASLEEP_SECONDS:
            self.awake_since = now
            self.parts.trial.pass_over(late_seconds)
        self._stepped_at = now
        self._look_after_storage(now)
        if self.storage_health.is_waiting:
            return
        settled: list[Settled] = []
        batches: list[Batch] = []
        if self._has_work(answers, now):
            self.parts.steps.note("{} answers to settle, and what is due", len(answers))
            try:
                with self._commit(now):
                    settled = self.parts.completer.complete(answers)
                    self._let_nobody_wait(settled, now)
                    # After the records of these runs, which may have come with them.
                    self.parts.completer.note_spent(self._spent)
                    self._plan(now)
                    batches = self._claim(now)
            except StorageError as error:
                self._undo(error)
                return
            self._answers = []
            self._tell_of_spent()
        self._publish(settled, were_answered=bool(answers))
        self._dispatch(batches, now)

    def _tell_of_spent(self) -> None:
        spent, self._spent = self._spent, []
        for one in spent:
            for listener in self.on_spent:
                listener(one)

    def _look_after_storage(self, now: float) -> None:
        """Notice what is wrong with the storage also while nothing is written."""
        if now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            with self.storage_health.noting():
                self.parts.database.ask_guards()

    def _collect(self) -> list[RunFinished]:
        """Take in what workers said; gives the ends of runs, with those not settled before."""
        self.turns += 1
        if self._turn_waiters:
            self._tell_of_turn()
        self.parts.pool.tick()
        self._answers += self._checks.advance()
        self._take_in(self.parts.pool.collect())
        if self._checks:
            self.pace.stir()
        return self._answers

    def _tell_of_turn(self) -> None:
        waiters, self._turn_waiters = self._turn_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _has_work(self, answers: list[RunFinished], now: float) -> bool:
        """Whether there is something to decide, or a write is to show that the disk is back."""
        if self._is_polling:
            # Both are asked in any case: the second notes since when jobs wait.
            is_due = self.parts.planner.is_due(now)
            wants = self.parts.dispatcher.wants_to_claim(now, self._waiters.wanted.values())
            has_work = wants or is_due or self.parts.reminders.is_due()
        else:
            has_work = bool(self._waiters.wanted) and not self.is_draining
        has_news = bool(answers) or bool(self._spent) or now >= self.parts.trial.next_note
        return has_work or has_news or bool(self.storage_health.problem)

    @contextmanager
    def _commit(self, now: float) -> Iterator[None]:
        """Commit what is decided inside, all of it or nothing."""
        self.pace.note_commit(now)
        with self.parts.database.transaction():
            if self.storage_health.problem:
                # A step that has nothing to write would not show that the trouble is over.
                self.parts.database.probe(write=True)
            yield
            self.parts.trial.note(now)
            if self._filled_by is not None:
                self.parts.queue.suspect(self._filled_by)
            self.parts.store.totals.flush()
        self._tell_who_filled()
        self.storage_health.clear()

    def _let_nobody_wait(self, settled: Sequence[Settled], now: float) -> None:
        """Have what people wait for run, also where its charm has to wait since a moment ago."""
        wanted = self._waiters.wanted
        if wanted and any(one.decision.waiting is not None for one in settled):
            self.parts.queue.hasten_jobs(wanted, now)

    def _plan(self, now: float) -> None:
        if self._is_polling:
            self.parts.planner.plan(now)
            if self.parts.reminders.is_due():
                self.parts.reminders.send_due()

    def _claim(self, now: float) -> list[Batch]:
        if self.is_draining:
            return []
        if self._polling:
            if not self.storage_health.has_room:
                return []
            return self.parts.dispatcher.claim(now, self._waiters.wanted.values())
        return self.parts.dispatcher.claim_wanted(self._waiters.wanted.keys(), now)

    def _undo(self, error: StorageError) -> None:
        """Nothing of this step happened: what came in is kept, and nothing claimed meanwhile."""
        self.parts.planner.restore()
        self.parts.store.totals.discard()
        self.storage_health.note(error)

    def _find_who_filled(self, least_bytes: int) -> None:
        """Find the run that has filled the disk: if the service dies with it, it runs alone."""
        self._filled_by = self.parts.pool.job_with_most_files(least_bytes)

    def _tell_who_filled(self) -> None:
        if self._filled_by is not None:
            logger.bind(event="disk_filled", job=self._filled_by).warning(
                "When the disk was full, the run of job {} kept the most in files", self._filled_by
            )
            self._filled_by = None

    def _publish(self, settled: list[Settled], *, were_answered: bool = False) -> None:
        """Tell those who wait of what is on disk now."""
        if settled:
            self.parts.completer.note_settled(settled)
            for listener in self.on_settled:
                listener(settled)
            self._waiters.tell(settled)
        with self.storage_health.noting():
            self._waiters.let_go_dropped(self.parts.queue.is_live)
        if were_answered:
            self._settled_something.set()
            if not self.parts.runs:
                # A suspect may have waited for this; it was still counted as out a moment ago.
                self.pace.stir()

    def _dispatch(self, batches: list[Batch], now: float) -> None:
        """Give workers what was claimed, and workers to those who have none."""
        for batch in batches:
            not_started = self.parts.dispatcher.dispatch(batch)
            if not_started:
                self._take_in(not_started)
                self.pace.stir()
        if self._is_polling:
            self.parts.dispatcher.move_workers(now, self._waiters.wanted.values())

    @property
    def _is_polling(self) -> bool:
        return self._polling and not self.is_draining and self.storage_health.has_room

    async def drain(self, timeout_seconds: float) -> None:
        """Plan and claim nothing more, and let the runs under way end, for so long at most."""
        self.is_draining = True
        self.wake()
        try:
            async with asyncio.timeout(timeout_seconds):
                while (self.parts.runs or self._answers) and not self._is_over:
                    await self._settled_something.wait()
                    self._settled_something.clear()
        except TimeoutError:
            logger.bind(event="drain_over").warning(
                "{} runs did not finish in time; they are stopped and given back",
                len(self.parts.runs),
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
        with self.storage_health.noting():
            with self.parts.database.transaction():
                settled = self.parts.completer.complete(self._answers)
                self._answers = []
                for run in list(self.parts.runs):
                    self.parts.queue.release(run.claim, self.parts.clock.steady())
                    self.parts.runs.drop(run, self.parts.clock.steady())
                self.parts.store.totals.flush()
                if self._polling:
                    self.parts.trial.end_well()
            self._publish(settled)
        self._let_everybody_go(ServiceStopping("The service stopped first."))

    def wake(self) -> None:
        """Let the loop take its next step at once."""
        self.pace.hurry()

    async def takes_turn(self, within_seconds: float) -> bool:
        """Ask the loop for a turn: whether it comes in time."""
        turn = asyncio.get_running_loop().create_future()
        self._turn_waiters.append(turn)
        self.pace.stir()
        try:
            async with asyncio.timeout(within_seconds):
                await turn
        except TimeoutError:
            return False
        finally:
            if turn in self._turn_waiters:
                self._turn_waiters.remove(turn)
        return True

    def note_resumed(self) -> None:
        """Note that what waited until now waited for a person, not for a worker."""
        self.awake_since = self.parts.clock.steady()

    def run_job(self, job_id: int, space_key: int) -> None:
        """Run a job that somebody waits for, also where nothing is polled, or all is paused."""
        self._waiters.wanted[job_id] = space_key
        if not self._polling:
            self.parts.pool.start()
        self.wake()

    def settlement_of(self, job_id: int) -> asyncio.Future[Settled | None]:
        """A future of what becomes of a job's next attempt; None when the job is dropped first."""
        return self._waiters.wait_for(job_id)

    def _take_in(self, events: Sequence[PoolEvent]) -> None:
        """Answer what needs no transaction at once, keep the rest for it; workers are free now."""
        now = self.parts.clock.steady()
        for event in events:
            if isinstance(event, RunFinished):
                self.parts.runs.note_end(event.run.job_id, now)
                if not self._checks.holds_back(event):
                    self._answers.append(event)
            elif isinstance(event, WorkerSpent):
                self._spent.append(event)
            elif isinstance(event, FieldWanted):
                self.parts.pool.give_field(event.run_id, self._field(event))
            elif isinstance(event, ItemsWanted):
                self.parts.pool.give_items(self._items(event.wanted))
            elif isinstance(event, RenewalWanted):
                self._renew(event.wanted)
            else:
                self.parts.inspections.finish(event)

    def _let_everybody_go(self, error: ServiceError) -> None:
        self.ended_by = self.ended_by or error
        self.parts.inspections.stop(self.ended_by)
        self._waiters.close()

    def _renew(self, wanted: TokenWanted) -> None:
        """Have a token renewed for a run, which goes on once it has another one."""
        run = self.parts.runs.named(wanted.run_id)
        if run is None:
            return

        def give(answer: TokenGiven) -> None:
            self.parts.pool.give_token(msgspec.structs.replace(answer, run_id=wanted.run_id))
            self.pace.stir()

        try:
            self.parts.tokens.renew(run, wanted, give)
        except StorageError as error:
            self.storage_health.note(error)
            give(TokenGiven(wanted.field, None))

    def _field(self, wanted: FieldWanted) -> FieldValue:
        run = self.parts.runs.named(wanted.run_id)
        if run is None:
            return FieldValue(wanted.field, None)
        try:
            return FieldValue(wanted.field, self.parts.inputs.field(run, wanted.field))
        except StorageError as error:
            self._note_unserved(run, error)
            return FieldValue(wanted.field, None)

    def _items(self, wanted: WantItems) -> FoundItems:
        run = self.parts.runs.named(wanted.run_id)
        if run is None:
            return FoundItems(wanted.run_id, is_lost=True)
        try:
            return self.parts.inputs.items(run, wanted)
        except StorageError as error:
            self._note_unserved(run, error)
            return FoundItems(wanted.run_id, is_lost=True)

    def _note_unserved(self, run: InFlight, error: StorageError) -> None:
        """Let a run that cannot be given what it asked for end as a stale one, at no cost."""
        self.storage_health.note(error)
        self.parts.runs.unserved.add(run.claim.job.job_id)
