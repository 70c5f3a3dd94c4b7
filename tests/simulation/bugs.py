"""Bugs that are planted on purpose, at least one for each invariant: the simulation finds each.

Each is a subclass of a production part, a statement changed on its way to SQLite, or a machine that
does not do what it says.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import pairwise
from typing import Any

from msgspec.structs import replace

from bg_charm_service.domain.errors import CommitInDoubt, ServiceStopping, StorageError
from bg_charm_service.domain.events.hooks import hash_of
from bg_charm_service.domain.items import TouchedItems
from bg_charm_service.domain.model import Job, Outcome
from bg_charm_service.domain.notices import Message, MessageStatus, Notice
from bg_charm_service.domain.oauth import SignInKey
from bg_charm_service.domain.outcomes.backoff import MAX_DELAY_SECONDS
from bg_charm_service.domain.outcomes.run_endings import Ending
from bg_charm_service.domain.schedules.schedule import Schedule
from bg_charm_service.domain.schedules.words import Missed
from bg_charm_service.domain.web.requests import HttpRequest
from bg_charm_service.notices.messages import Report, ReportKind
from bg_charm_service.service.dependencies import PartTypes
from bg_charm_service.service.hooks.intake import HookIntake, OpenHook
from bg_charm_service.service.hooks.pokes import Pokes
from bg_charm_service.service.notices.delivery import NoticeDelivery
from bg_charm_service.service.token_keeper import TokenKeeper, _Asked
from bg_charm_service.sign_in.messages import AnswerKind, ProviderAnswer
from bg_charm_service.storage.records import CharmRecord, Claim, NewJob, ScheduleEntry
from bg_charm_service.storage.sql.job_queue import sql
from bg_charm_service.storage.sql.job_queue.poll_batches import PollBatches
from bg_charm_service.storage.sql.plain_polls import PlainPoll
from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.storage.sqlite.job_queue import JobQueue
from bg_charm_service.supervisor.completer import Completer, Settled
from bg_charm_service.supervisor.dispatcher import Dispatcher
from bg_charm_service.supervisor.in_flight import InFlight
from bg_charm_service.supervisor.loop import Supervisor
from bg_charm_service.supervisor.notices import NoticeBook
from bg_charm_service.supervisor.planning.poll_planner import PollPlanner
from bg_charm_service.supervisor.planning.timetable import Turn
from bg_charm_service.supervisor.reminders import ReminderSchedule
from bg_charm_service.supervisor.run_items import RunItems
from bg_charm_service.supervisor.token_gate import Later, Need
from bg_charm_service.workers.pool.events import PoolEvent, RunFinished
from bg_charm_service.workers.pool.pool import Pool
from bg_charm_service.workers.pool.worker_process import WorkerProcess
from bg_charm_service.workers.protocol.messages import Answer, RunSpec
from tests.simulation.cast import Deed
from tests.simulation.plan import as_drawn, brief
from tests.simulation.timeline import LifeClock
from tests.simulation.workers import SimulatedProcesses
from tests.simulation.world import Bug


class ForgetfulPlanner(PollPlanner):
    """Does not store when a charm is due."""

    def poll_now(self, charm_key: int, space: str) -> None:
        super().poll_now(charm_key, space)
        self._store.health.set_due(charm_key, None)


class StubbornPlanner(PollPlanner):
    """Goes on polling whatever it is told to poll no more."""

    def drop(self, charm_key: int) -> None: ...


class EvenPlanner(PollPlanner):
    """Spreads missed polls over the service's interval, also of charms with a shorter one.

    This was once so.
    """

    def _take_up(self, entries: Sequence[tuple[str, ScheduleEntry]]) -> None:
        super()._take_up(
            [(space, replace(entry, interval_seconds=None)) for space, entry in entries]
        )


class DistantPlanner(PollPlanner):
    """Puts times of their own off by a year."""

    def begin_by(self, schedule: Schedule | None, charm_key: int, space: str, **since: Any) -> None:
        super().begin_by(schedule, charm_key, space, **since)
        if schedule is not None and schedule.cron:
            far = self._clock.steady() + 366 * 86400.0
            self._database.after_commit(lambda: self._place(charm_key, space, far))


class SleeplessPlanner(PollPlanner):
    """Polls in quiet hours too."""

    def _turn(self, charm: CharmRecord, entry: ScheduleEntry, *rest: Any) -> Turn:
        schedule, *others = rest
        return super()._turn(charm, entry, dataclasses.replace(schedule, quiet=None), *others)


class ThoroughPlanner(PollPlanner):
    """Makes up for what was missed, also where that is to be skipped."""

    def _turn(self, charm: CharmRecord, entry: ScheduleEntry, *rest: Any) -> Turn:
        schedule, *others = rest
        once = dataclasses.replace(schedule, missed=Missed.ONCE)
        return super()._turn(charm, entry, once, *others)


class UnmovedPlanner(PollPlanner):
    """Polls charms in their places, whatever they wait for."""

    def move(self, charm_key: int, due: float) -> None: ...


class TrustingItems(RunItems):
    """Takes it that nothing of a collection moves while a run is under way."""

    def have_moved(self, run: InFlight, touched: Sequence[TouchedItems]) -> bool:
        return False


class HastyItems(RunItems):
    """Looks only at the keys that a run looked for or wrote, not at the ranges that it saw."""

    def have_moved(self, run: InFlight, touched: Sequence[TouchedItems]) -> bool:
        keys = [replace(one, ranges=(), counts=()) for one in touched]
        return super().have_moved(run, keys)


class ForgetfulItems(RunItems):
    """Writes no items into the charm itself."""

    def write(self, run: InFlight, touched: Sequence[TouchedItems]) -> None:
        super().write(run, [one for one in touched if one.field in run.links])


class ForgetfulKeeper(TokenKeeper):
    """Asks a provider, and has put on disk that it does only until then."""

    def _note_asked(self, key: SignInKey) -> _Asked | Ending:
        asked = super()._note_asked(key)
        if isinstance(asked, _Asked):
            with self._database.transaction():
                self._store.sign_ins.put(asked.record)
        return asked


class TardyKeeper(TokenKeeper):
    """Lets those run who waited for an answer, and stores that once they have begun."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._unwritten: set[SignInKey] = set()

    def _check(self, claim: Claim, need: Need, needed_until: float) -> Later | Ending | None:
        is_let = need.key in self._unwritten
        return None if is_let else super()._check(claim, need, needed_until)

    def _take_in(self, key: SignInKey, asked: _Asked, answer: ProviderAnswer) -> Ending | None:
        if answer.kind is not AnswerKind.DONE:
            return super()._take_in(key, asked, answer)
        self._unwritten.add(key)
        asyncio.get_running_loop().call_later(1.0, self._write, key, asked, answer)
        return None

    def _write(self, key: SignInKey, asked: _Asked, answer: ProviderAnswer) -> None:
        self._unwritten.discard(key)
        with contextlib.suppress(StorageError, CommitInDoubt), self._database.transaction():
            super()._take_in(key, asked, answer)


class _Unheeded(dict[Any, Any]):
    """Nobody finds what is in it; it may be taken out twice."""

    def get(self, key: Any, default: Any = None) -> Any:
        return default

    def __delitem__(self, key: Any) -> None:
        self.pop(key, None)


class LonelyKeeper(TokenKeeper):
    """Has a token renewed for each charm that wants it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._under_way = _Unheeded()


class TrustingKeeper(TokenKeeper):
    """Takes every token for good until its end."""

    def _check(self, claim: Claim, need: Need, needed_until: float) -> Later | Ending | None:
        return super()._check(claim, need, self._clock.now())


class StubbornKeeper(TokenKeeper):
    """Gives a run the same token once more that its provider has refused."""

    def _is_another(self, key: SignInKey, seen: str) -> bool:
        return True


class LoyalKeeper(TokenKeeper):
    """Keeps what a provider answers, though somebody has signed out meanwhile."""

    def _take_in(self, key: SignInKey, asked: _Asked, answer: ProviderAnswer) -> Ending | None:
        if self._store.sign_ins.get(key) is None:
            self._store.cells.write(asked.charm, key.field, asked.stored)
            self._store.sign_ins.put(asked.record)
        return super()._take_in(key, asked, answer)


class NotingKeeper(TokenKeeper):
    """Writes in the charm that its token was renewed: what it reads has moved."""

    def _take_token(self, key: SignInKey, asked: _Asked, *said: Any) -> Ending | None:
        self._store.cells.write(asked.charm, "note", b'"renewed"')
        return super()._take_token(key, asked, *said)


class HeedlessQueue(JobQueue):
    """Lets what waits in the queue run, whatever its charm waits for."""

    def put_off(self, space_key: int, charm_key: int, until: float) -> None: ...


class DeafQueue(JobQueue):
    """Overlooks every third job that may run."""

    heard = 0

    def _hint(self, space_key: int, run_at: float) -> None:
        self.heard += 1
        if self.heard % 3:
            super()._hint(space_key, run_at)


class MiscountingQueue(JobQueue):
    """Shows a wrong number of dead letters."""

    def _tally(self, *, pending: int = 0, claimed: int = 0, dead: int = 0) -> None:
        super()._tally(pending=pending, claimed=claimed)


class ImpatientQueue(JobQueue):
    """Lets retries run at once when the service starts."""

    def bring_near(self, now: float, latest: float) -> None:
        super().bring_near(now, now)


class TardyBatches(PollBatches):
    """Writes down what a worker is given once the worker has it."""

    def take(self, polls: Sequence[PlainPoll], now: float) -> None:
        row = sql.batch_of(self._ids.take(), polls, now)
        self._polls.take(polls, -polls[0].job_id)

        def write() -> None:
            self._database.execute(sql.INSERT_BATCH, row)

        self._database.after_commit(write)


class AdvancingBatches(PollBatches):
    """Stores when a charm is due next when its poll is put, though nothing else stands for that."""

    def put(self, polls: Sequence[NewJob], now: float) -> None:
        super().put(polls, now)
        moved = [(poll.next_due, poll.charm_key) for poll in polls]
        self._database.executemany(sql.MOVE_DUE, moved)


class RecountingBatches(PollBatches):
    """Gives polls that come back the id that is the next one."""

    def write_out(self, poll: PlainPoll, status: int, job: Job) -> None:
        super().write_out(poll, status, replace(job, job_id=self._ids.take()))


class _OtherQueue(JobQueue):
    """Has something else for the rows of batches."""

    batches: type[PollBatches]

    def __init__(self, database: Database, **options: Any) -> None:
        super().__init__(database, **options)
        self._batches = self.batches(database, self._finished, self._ids)


class TardyQueue(_OtherQueue):
    batches = TardyBatches


class AdvancingQueue(_OtherQueue):
    batches = AdvancingBatches


class RecountingQueue(_OtherQueue):
    batches = RecountingBatches


class CarefreeQueue(JobQueue):
    """Lets polls that are out rest on due times that move."""

    def write_out(self, charm_key: int) -> None:
        if self._plain.waiting_of(charm_key) is not None:
            super().write_out(charm_key)


class HurriedQueue(JobQueue):
    """Claims jobs before their time, once they wait for it."""

    def claim(self, space_key: int, limit: int, now: float, **options: Any) -> Sequence[Claim]:
        return super().claim(space_key, limit, now + MAX_DELAY_SECONDS, **options)


class BlamingCompleter(Completer):
    """Lets a run pay for the death of the workers' parent."""

    def _is_to_blame(self, run: InFlight, finished: RunFinished) -> bool:
        return True


class KindCompleter(Completer):
    """Counts a run as a success whatever its worker says."""

    def _outcome(self, run: InFlight, finished: RunFinished) -> Outcome:
        outcome = super()._outcome(run, finished)
        return Outcome(outcome.duration_seconds) if outcome.failure is not None else outcome


class RepeatingCompleter(Completer):
    """Ends each run twice."""

    def conclude(
        self,
        run: InFlight,
        outcome: Outcome,
        *,
        worker: int,
        log: str,
        retired: str = "",
        requests: tuple[HttpRequest, ...] = (),
    ) -> Settled:
        super().conclude(run, outcome, worker=worker, log=log)
        return super().conclude(run, outcome, worker=worker, log=log)


class MuteCompleter(Completer):
    """Forgets the events that runs send."""

    def _outcome(self, run: InFlight, finished: RunFinished) -> Outcome:
        return replace(super()._outcome(run, finished), sends=())


class RootedDispatcher(Dispatcher):
    """Leaves workers with a space that has just run out of work; this was once so."""

    def move_workers(self, now: float, by_hand: Collection[int] = ()) -> None: ...


class RestlessDispatcher(Dispatcher):
    """Looks for jobs in all spaces, whatever is paused."""

    def _awake(self, hot: set[int], by_hand: Collection[int]) -> set[int]:
        return hot


class GreedyQueue(JobQueue):
    """Takes back all that waits, whatever it is told to."""

    def withdraw(self, charm_key: int, job_ids: Sequence[int]) -> int:
        everything = [job.job_id for job in self.page(0, 1000, charm_key=charm_key)]
        return super().withdraw(charm_key, everything)


class DreamyReminders(ReminderSchedule):
    """Takes what is due, and sends nothing."""

    def send_due(self) -> None:
        self._store.reminders.take(self._store.reminders.due(self._clock.now(), 100))


class LateReminders(ReminderSchedule):
    """Never finds anything due."""

    next_due = None

    def is_due(self) -> bool:
        return False


class SternPool(Pool):
    """Lets the next run of a batch pay for the death of its worker too."""

    def collect(self) -> list[PoolEvent]:
        events = super().collect()
        death = None
        for index, event in enumerate(events):
            if isinstance(event, RunFinished):
                if death is not None and event.answer is None and event.death is None:
                    events[index] = replace(event, death=death)
                death = event.death
        return events


class CountingPool(Pool):
    """Says of runs that it gives back that they may have begun."""

    def collect(self) -> list[PoolEvent]:
        return [
            replace(event, is_orphaned=event.answer is None and event.death is None)
            if isinstance(event, RunFinished)
            else event
            for event in super().collect()
        ]


class CrossedPool(Pool):
    """Takes the answers of a batch for each other's."""

    def collect(self) -> list[PoolEvent]:
        events = super().collect()
        for one, (this, other) in enumerate(pairwise(events)):
            if isinstance(this, RunFinished) and isinstance(other, RunFinished):
                events[one] = replace(this, answer=other.answer)
                events[one + 1] = replace(other, answer=this.answer)
                break
        return events


class HastyPool(Pool):
    """Gives the runs behind the first to others, and lets their worker begin with them as well."""

    def dispatch(self, space_key: int, runs: Sequence[RunSpec]) -> bool:
        is_out = super().dispatch(space_key, runs)
        worker = self.workers.running(runs[0].run_id)
        if worker is not None:
            self._give_back([run for _, run in worker.queued_runs])
            worker.queued_runs.clear()
        return is_out


class TolerantPool(Pool):
    """Goes on with workers in which something was left."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        is_spent = self._message_handler._is_spent

        def is_spent_otherwise(worker: WorkerProcess, answer: Answer) -> bool:
            return is_spent(worker, replace(answer, leak=""))

        self._message_handler._is_spent = is_spent_otherwise  # type: ignore[method-assign]


class SilentSupervisor(Supervisor):
    """Tells nobody of the end of a run."""

    def settlement_of(self, job_id: int) -> asyncio.Future[Settled | None]:
        return asyncio.get_running_loop().create_future()


class HastySupervisor(Supervisor):
    """Tells of the ends of runs before they are written."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        complete = self.parts.completer.complete

        def complete_and_tell(answers: Sequence[RunFinished]) -> list[Settled]:
            settled = complete(answers)
            for listener in self.on_settled:
                listener(settled)
            return settled

        self.parts.completer.complete = complete_and_tell  # type: ignore[method-assign]


class LazyDatabase(Database):
    """Writes what was acknowledged with the next transaction."""

    _is_late = False

    def _commit(self) -> bool:
        self._is_late = True
        return True

    def _undo(self) -> None:
        if self._is_late and self.connection.in_transaction:
            self._is_late = False
            super()._commit()
        super()._undo()


class LaterBook(NoticeBook):
    """Writes what is to be told once what has caused it is on disk."""

    def tell(self, notice: Notice) -> None:
        def later() -> None:
            with self._database.transaction():
                super(LaterBook, self).tell(notice)

        self._database.after_commit(later)


class HeedlessBook(NoticeBook):
    """Takes whatever is of one kind for the same thing."""

    def tell(self, notice: Notice) -> None:
        super().tell(replace(notice, subject="all"))


class SparingBook(NoticeBook):
    """Tells nothing that was told a moment ago, and forgets it."""

    def tell(self, notice: Notice) -> None:
        due = self._store.notices.next_due()
        if due is None:
            super().tell(notice)


class HastyDelivery(NoticeDelivery):
    """Sends, and then writes down that it is about to."""

    def _begun(self, message: Message) -> Message:
        return replace(message, status=MessageStatus.SENDING, tries=message.tries + 1)


class ForgetfulDelivery(NoticeDelivery):
    """Does not write down that a message was taken."""

    def _settled(self, message: Message, report: Report, *, is_last: bool = False) -> Message:
        if report.kind is ReportKind.DONE:
            report = Report(ReportKind.REFUSED)
        return super()._settled(message, report, is_last=is_last)


class StubbornDatabase(Database):
    """Goes on remembering what was undone."""

    def on_rollback(self, callback: Callable[[], None]) -> None: ...


class TardyRowsDatabase(Database):
    """Keeps what is packed into rows in memory, until more of it comes."""

    _late: Sequence[Any] = ()

    def executemany(self, sql: str, rows: Iterable[Any]) -> sqlite3.Cursor:
        if sql.startswith("INSERT INTO run_chunks"):
            rows, self._late = self._late, list(rows)
        return super().executemany(sql, rows)


class EagerDatabase(Database):
    """Calls what waits for a commit, and then commits."""

    def _commit(self) -> bool:
        callbacks, self._after_commit = self._after_commit, []
        for callback in callbacks:
            callback()
        return super()._commit()


class HopefulDatabase(Database):
    """Takes what SQLite undid for undone; this was once so."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._numbered.undo_for_good = lambda error: None  # type: ignore[method-assign]


class TrustingDatabase(Database):
    """Believes every error of a commit, also of one that was made; this was once so."""

    def _commit(self) -> bool:
        self.connection.execute("COMMIT")
        return True


class CarelessDatabase(Database):
    """Takes every commit for made."""

    def _commit(self) -> bool:
        with contextlib.suppress(sqlite3.Error):
            super()._commit()
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        return True


class WallClock(LifeClock):
    """Schedules by a clock that people set."""

    def steady(self) -> float:
        return self.now()


class Undead(SimulatedProcesses):
    """Reports the death of workers that live on."""

    def end_group(self, pid: int) -> None:
        worker = self.workers.get(pid)
        if worker is not None:
            worker.live_on()


class HastyIntake(HookIntake):
    """Says that something is stored before it is."""

    def take(self, hook: OpenHook, delivery_id: str, event: bytes) -> int:
        take = super().take

        def store() -> None:
            with contextlib.suppress(Exception):
                take(hook, delivery_id, event)

        asyncio.get_running_loop().call_later(20.0, store)
        return 0


class RememberingIntake(HookIntake):
    """Remembers the id of a delivery before its event, and lets its sender wait in vain."""

    def take(self, hook: OpenHook, delivery_id: str, event: bytes) -> int:
        deliveries, hook_key = self._store.deliveries, hook.record.hook_key
        now, id_hash = self._parts.clock.steady(), hash_of(delivery_id)
        known = deliveries.find(hook_key, id_hash, now)
        if known is not None:
            return known.job_id
        with self._parts.database.transaction():
            deliveries.put(hook_key, id_hash, 0, now)
        take = super().take

        def store() -> None:
            with contextlib.suppress(Exception):
                take(hook, "", event)

        asyncio.get_running_loop().call_later(20.0, store)
        raise ServiceStopping("The connection broke.")


class BlurredIntake(HookIntake):
    """Takes ids of deliveries for those of all addresses."""

    def take(self, hook: OpenHook, delivery_id: str, event: bytes) -> int:
        record = replace(hook.record, hook_key=0)
        return super().take(replace(hook, record=record), delivery_id, event)


class ForgetfulPokes(Pokes):
    """Forgets what comes while a charm is polled."""

    def settled(self, settled: Sequence[Settled]) -> None:
        self._poked.clear()


_IDLE = """NOT EXISTS (SELECT 1 FROM ack_queue_jobs AS live
    WHERE live.charm_key = job.charm_key AND live.status IN (1, 2) AND live.origin <> 'batch'
    AND live.status = 2)"""

#: How often charms misbehave in worlds in which they do so for nothing, or for much.
NEVER = (0.0,)
OFTEN = (1.0, 0.5)

#: What worlds are like in which several bugs show soon.
THREE_SPACES = brief(charms=6, spaces=3)
DAYS = brief(
    charms=3,
    interval_seconds=3600.0,
    run_seconds=0.2,
    polls=16,
    moments=80,
    rates=NEVER,
    watched_share=0.2,
)
HUB = brief(charms=1, takers=4, workers=4, spaces=4)
SIGNED_IN = brief(charms=1, readers=3, workers=3, spaces=3)
TOLD = brief(charms=1, tellers=4, run_seconds=0.2)
HOOKED = brief(charms=1, hooked=2, moments=80)

#: Each bug with what the simulation says when it finds it.
BUGS = (
    (Bug("due times are not stored", PartTypes(planner=ForgetfulPlanner)), "enabled and due at"),
    (Bug("disabled charms stay due", PartTypes(planner=StubbornPlanner)), "disabled and due at"),
    (
        Bug(
            "missed polls are spread too far",
            PartTypes(planner=EvenPlanner),
            favourite="set_interval",
        ),
        "is due only in",
    ),
    (
        Bug(
            "quiet hours are not kept",
            PartTypes(planner=SleeplessPlanner),
            favourite="set_schedule",
            trick="change_temper",
            world=DAYS,
        ),
        "in the quiet hours",
    ),
    (
        Bug(
            "what is to be skipped is made up for",
            PartTypes(planner=ThoroughPlanner),
            favourite="set_schedule",
            world=brief(interval_seconds=3600.0, run_seconds=0.2, polls=24, moments=60),
        ),
        "makes up for a time",
    ),
    (
        Bug(
            "times of their own are a year away",
            PartTypes(planner=DistantPlanner),
            favourite="set_schedule",
        ),
        "is due only in",
    ),
    (
        Bug(
            "polls are put twice",
            sql=(("?8, ?9, ?10,\n", "?8, ?9 || NULL, ?10,\n"),),
            favourite="run_now",
        ),
        "second live poll",
    ),
    (Bug("charms overlap", sql=((_IDLE, "1"),), world=as_drawn), "was claimed while job"),
    (
        Bug("runs end twice", PartTypes(completer=RepeatingCompleter), world=as_drawn),
        "ended a second time",
    ),
    (
        Bug("writes are lost", sql=(("value = ?4", "value = iif(?4, value, 0)"),)),
        "and had .* successes",
    ),
    (Bug("failures are successes", PartTypes(completer=KindCompleter)), "no worker did it"),
    (Bug("runs send in vain", PartTypes(completer=MuteCompleter)), "was never queued"),
    (
        Bug(
            "sends overtake",
            sql=(("?8, ?9, ?10,\n", "0 * ?8, ?9, ?10,\n"),),
            favourite="send_many",
            world=brief(charms=2, moments=80, rates=OFTEN, deeds=(Deed.RAISE,)),
        ),
        "overtook the earlier send",
    ),
    (
        Bug(
            "disabling drops sends",
            sql=(("status = 1 AND origin = 'poll'", "status = 1"),),
            favourite="send_many disable",
            trick="change_temper",
            world=brief(
                charms=2,
                run_seconds=5.0,
                timeout_seconds=20.0,
                moments=60,
                rates=NEVER,
                watched_share=0.2,
            ),
        ),
        "a send, was deleted",
    ),
    (Bug("the innocent pay", PartTypes(completer=BlamingCompleter), world=as_drawn), "pays for"),
    (
        Bug("suspects too early", sql=(("deliveries = deliveries + 1", "deliveries = 4"),)),
        "before it was a suspect",
    ),
    (
        Bug(
            "nobody is rescued",
            sql=(
                (
                    "INDEXED BY jobs_live WHERE status IN (1, 2) AND origin <> 'batch'"
                    " AND status = 2",
                    "WHERE status = 77",
                ),
            ),
        ),
        "are claimed, and",
    ),
    (Bug("waiting charms stay due", PartTypes(planner=UnmovedPlanner)), "waits, and is due"),
    (Bug("events do not wait", queue=HeedlessQueue), "claimed while its charm waits"),
    (
        Bug(
            "waiting is cut short by a start",
            sql=(("CROSS JOIN waits ON charm_key = wanted", "CROSS JOIN waits ON charm_key < 0"),),
            trick="deploy",
            world=brief(rates=OFTEN, deeds=(Deed.WAIT, Deed.DOWN)),
        ),
        "waits, and is due",
    ),
    (
        Bug(
            "whoever is off comes back by time",
            sql=(("= 'failures' AND d", "<> '' AND d"),),
            favourite="disable",
            world=as_drawn,
        ),
        "let run again by nobody",
    ),
    (
        Bug(
            "successes drop events that were given up",
            sql=(("status = 9 AND origin <> 'send' AND _id", "status = 9 AND _id"),),
            favourite="send_many",
            world=brief(rates=OFTEN, deeds=(Deed.RAISE,)),
        ),
        "dropped by nobody",
    ),
    (Bug("jobs are overlooked", queue=DeafQueue, world=THREE_SPACES), "is due for|no success"),
    (
        Bug("workers are rooted", PartTypes(dispatcher=RootedDispatcher), world=THREE_SPACES),
        "is due for|no success",
    ),
    (
        Bug("the clock is the wall's", clock=WallClock, trick="set_clock"),
        "due|no success|never answered|sleeping",
    ),
    (
        Bug(
            "the queue is miscounted",
            queue=MiscountingQueue,
            world=brief(rates=OFTEN, deeds=(Deed.RAISE,)),
        ),
        "and shows",
    ),
    (
        Bug(
            "done jobs pile up",
            sql=(("status = 5 AND origin <> 'batch' AND _id", "status = 55 AND _id"),),
            world=brief(charms=1, takers=4, workers=4, spaces=4, moments=120),
        ),
        "finished jobs are kept",
    ),
    (
        Bug(
            "batches that are over pile up",
            sql=(("AND origin = 'batch'", "AND origin = 'none'"),),
            world=brief(charms=2, run_seconds=0.2, polls=400, rates=NEVER),
        ),
        "batches that are over are kept",
    ),
    (
        Bug(
            "histories grow",
            sql=(("FROM runs WHERE run_key B", "FROM runs WHERE -run_key B"),),
            world=brief(charms=2, history_runs=3, polls=20, rates=OFTEN, deeds=(Deed.RAISE,)),
        ),
        "too many runs",
    ),
    (
        Bug(
            "rows of packed runs pile up",
            sql=(("FROM run_chunks WHERE chunk_key B", "FROM run_chunks WHERE -chunk_key B"),),
            world=as_drawn,
        ),
        "too many runs",
    ),
    (
        Bug(
            "rings drop their newest",
            sql=((", ring = ? WHERE", ", ring = coalesce(ring, ?) WHERE"),),
            world=as_drawn,
        ),
        "and not recorded|is missing",
    ),
    (
        Bug(
            "runs leave their ring and get no row",
            sql=(("packed) VALUES (?, ?, ?, ?)", "packed) SELECT ?, ?, ?, ? WHERE 0"),),
        ),
        "is missing",
    ),
    (
        Bug(
            "rows of packed runs are written twice",
            sql=(
                (
                    "packed) VALUES (?, ?, ?, ?)",
                    "packed) SELECT ?1 + n, ?2, ?3, ?4 FROM (SELECT 0 AS n UNION ALL SELECT 1)",
                ),
            ),
        ),
        "recorded twice",
    ),
    (Bug("rows of packed runs come late", database=TardyRowsDatabase), "is missing"),
    (
        Bug(
            "mates pay",
            PartTypes(pool=SternPool),
            world=brief(
                charms=12, run_seconds=0.001, rates=(0.0, 0.5), deeds=(Deed.SIGNAL, Deed.EXIT)
            ),
        ),
        "pays for what it did not do",
    ),
    (
        Bug("mates count as begun", PartTypes(pool=CountingPool), world=as_drawn),
        "counts as delivered",
    ),
    (
        Bug(
            "answers are crossed",
            PartTypes(pool=CrossedPool),
            world=brief(
                charms=6,
                spaces=3,
                workers=3,
                run_seconds=0.001,
                rates=(0.0, 1.0),
                deeds=(Deed.RAISE,),
            ),
        ),
        "and had .* successes|no worker did",
    ),
    (Bug("mates are made twice", PartTypes(pool=HastyPool), world=as_drawn), "at once|pays for"),
    (
        Bug("leaks are lived with", PartTypes(pool=TolerantPool), world=as_drawn),
        "beside what another left",
    ),
    (
        Bug(
            "nobody is told",
            PartTypes(supervisor=SilentSupervisor),
            favourite="run_now",
            trick="change_temper",
            world=brief(polls=2),
        ),
        "never answered",
    ),
    (
        Bug("retries lose their delay at a start", queue=ImpatientQueue, world=as_drawn),
        "lost its delay",
    ),
    (Bug("retries come early", queue=HurriedQueue), "before its time"),
    (Bug("answers are told too early", PartTypes(supervisor=HastySupervisor)), "before it is w"),
    (Bug("acknowledged before it is written", database=LazyDatabase), "before it is written"),
    (Bug("callbacks before the commit", database=EagerDatabase), "before it is written"),
    (
        Bug(
            "refused and found", database=HopefulDatabase, favourite="send", trick="leave_in_doubt"
        ),
        "was refused, and queued all the same",
    ),
    (
        Bug("late errors are believed", database=TrustingDatabase, trick="break_disk"),
        "are claimed|shows|due at|queued",
    ),
    (
        Bug("batches are written late", queue=TardyQueue),
        "are claimed, and|and shows|all of its polls",
    ),
    (Bug("due times move early", queue=AdvancingQueue), "owes poll"),
    (
        Bug(
            "polls rest on due times that move",
            queue=CarefreeQueue,
            favourite="set_interval register enable",
            trick="change_temper",
            world=brief(spaces=2, run_seconds=10.0, timeout_seconds=30.0, moments=60, rates=NEVER),
        ),
        "owes poll",
    ),
    (Bug("polls come back under another id", queue=RecountingQueue), "second live poll"),
    (
        Bug("what was undone is remembered", database=StubbornDatabase, trick="break_disk"),
        "are claimed|and shows|owes poll",
    ),
    (
        Bug(
            "polls of a batch are lost with their life",
            sql=(("origin = 'batch' ORDER", "status = 77 ORDER"),),
        ),
        "are claimed|and shows|while job",
    ),
    (
        Bug(
            "failed commits count",
            database=CarelessDatabase,
            trick="break_disk",
            world=brief(charms=2),
        ),
        "are claimed|shows|due at|queued",
    ),
    (
        Bug(
            "pauses end with a life",
            sql=(("paused_by FROM pauses", "paused_by FROM pauses LIMIT 0"),),
            favourite="pause",
            trick="deploy",
        ),
        "was claimed while it is paused",
    ),
    (
        Bug(
            "pauses keep nobody",
            PartTypes(dispatcher=RestlessDispatcher),
            sql=((":is_whole = 0 AND job.charm_key", "1 = 1 OR :is_whole = 0 AND job.charm_key"),),
            favourite="pause",
        ),
        "was claimed while it is paused",
    ),
    (
        Bug(
            "paused polls are made up for",
            sql=(("AND origin = 'poll' LIMIT ?", "AND origin = 'none' LIMIT ?"),),
            favourite="pause set_interval set_interval",
            trick="deploy",
            world=brief(
                charms=8,
                run_seconds=40.0,
                timeout_seconds=90.0,
                moments=60,
                rates=NEVER,
                watched_share=0.2,
            ),
        ),
        "outlived the pause",
    ),
    (
        Bug(
            "what waits behind a cancelled event waits for ever",
            sql=(("origin = 'send' AND is_held = 0", "origin = 'send' AND is_held = 2"),),
            favourite="cancel",
        ),
        "are held, and it is enabled",
    ),
    (
        Bug(
            "purging takes all",
            queue=GreedyQueue,
            favourite="send_many purge",
            trick="change_temper",
            world=brief(
                charms=1,
                run_seconds=5.0,
                timeout_seconds=20.0,
                polls=2,
                moments=60,
                rates=NEVER,
                watched_share=0.2,
            ),
        ),
        "a send, was deleted",
    ),
    (
        Bug(
            "reminders come again",
            sql=(
                (
                    "DELETE FROM reminders WHERE reminder_id =",
                    "UPDATE reminders SET remind_at = remind_at + 20000 WHERE reminder_id =",
                ),
            ),
            world=brief(charms=1, interval_seconds=4 * 3600.0),
        ),
        "was sent .* times",
    ),
    (Bug("reminders are dropped", PartTypes(reminders=DreamyReminders)), "was never sent"),
    (
        Bug("reminders are late", PartTypes(reminders=LateReminders), world=brief(charms=2)),
        "is due for",
    ),
    (
        Bug(
            "what a run saw of collections is not checked",
            PartTypes(run_items=TrustingItems),
            favourite="run_now",
            world=HUB,
        ),
        "both sides of hub",
    ),
    (
        Bug(
            "only keys are checked, not ranges",
            PartTypes(run_items=HastyItems),
            favourite="run_now",
            world=HUB,
        ),
        "both sides of hub",
    ),
    (
        Bug(
            "a charm's own items are lost",
            PartTypes(run_items=ForgetfulItems),
            favourite="run_now",
            world=HUB,
        ),
        "has noted",
    ),
    (
        Bug(
            "providers are asked, and the disk does not know",
            PartTypes(tokens=ForgetfulKeeper),
            world=SIGNED_IN,
        ),
        "that is not on disk|nobody knows|does not say so",
    ),
    (
        Bug(
            "answers are stored once the run has begun",
            PartTypes(tokens=TardyKeeper),
            world=brief(charms=1, readers=3, timeout_seconds=60.0, rates=NEVER),
        ),
        "a run begins with a token",
    ),
    (
        Bug(
            "each asks for itself",
            PartTypes(tokens=LonelyKeeper),
            world=brief(charms=1, readers=3, workers=3, timeout_seconds=600.0, rates=NEVER),
        ),
        "twice at once",
    ),
    (
        Bug(
            "tokens end in runs",
            PartTypes(tokens=TrustingKeeper),
            world=brief(
                charms=1,
                readers=3,
                interval_seconds=1800.0,
                timeout_seconds=1800.0,
                polls=6,
                rates=NEVER,
            ),
        ),
        "a run begins with a token",
    ),
    (
        Bug(
            "renewals make runs stale",
            PartTypes(tokens=NotingKeeper),
            favourite="renew",
            trick="change_temper",
            world=brief(charms=1, readers=1, moments=60, rates=NEVER, watched_share=0.2),
        ),
        "only its token was renewed",
    ),
    (
        Bug(
            "notices are written after what causes them",
            PartTypes(notices=LaterBook),
            trick="break_disk",
            world=brief(charms=1, tellers=4, run_seconds=0.2, moments=80),
        ),
        "and .* are told|that is not told|before it is written",
    ),
    (
        Bug("what is of one kind is one thing", PartTypes(notices=HeedlessBook), world=TOLD),
        "things, and",
    ),
    (
        Bug("what was told lately is forgotten", PartTypes(notices=SparingBook), world=TOLD),
        "things, and",
    ),
    (
        Bug("notices are sent off the record", PartTypes(delivery=HastyDelivery), world=TOLD),
        "and that is not on disk",
    ),
    (
        Bug("notices are sent twice", PartTypes(delivery=ForgetfulDelivery), world=TOLD),
        "is sent again, and was taken",
    ),
    (
        Bug(
            "notices are told again and again",
            sql=(("SET taken_at = ? WHERE notice_id = ?", "SET taken_at = ? WHERE 0 = ?"),),
            world=TOLD,
        ),
        "were put into messages",
    ),
    (
        Bug(
            "202 is answered before the commit",
            PartTypes(hook_intake=HastyIntake),
            favourite="deliver",
            trick="change_temper",
            world=HOOKED,
        ),
        "was accepted once, and queued 0 times",
    ),
    (
        Bug(
            "an id is remembered before its event",
            PartTypes(hook_intake=RememberingIntake),
            favourite="deliver",
            trick="change_temper",
            world=HOOKED,
        ),
        "was accepted once, and queued 0 times",
    ),
    (
        Bug(
            "ids count for all addresses",
            PartTypes(hook_intake=BlurredIntake),
            favourite="deliver",
            trick="change_temper",
            world=HOOKED,
        ),
        "was accepted once, and queued 0 times",
    ),
    (
        Bug(
            "pokes are forgotten",
            PartTypes(pokes=ForgetfulPokes),
            favourite="poke",
            trick="change_temper",
            world=brief(
                charms=1,
                hooked=1,
                interval_seconds=3600.0,
                timeout_seconds=60.0,
                run_seconds=20.0,
                workers=4,
                polls=2,
                rates=NEVER,
            ),
        ),
        "was poked, and is not polled",
    ),
    (
        Bug("a refused token is given again", PartTypes(tokens=StubbornKeeper), world=SIGNED_IN),
        "is given no new token",
    ),
    (
        Bug(
            "a renewal undoes a sign-out",
            PartTypes(tokens=LoyalKeeper),
            favourite="sign_out sign_in",
            trick="change_temper",
            world=brief(charms=1, readers=1, moments=80, rates=NEVER, watched_share=0.2),
        ),
        "is there again",
    ),
    (Bug("the killed live on", processes=Undead), "at once"),
)
