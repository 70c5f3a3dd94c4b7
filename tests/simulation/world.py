"""One seed's world: the lives of a service on one disk, until its faults are over and it is calm.

Runs the production service, put together by its own `open_service`, on simulated time. Checks after
every step that was written to disk; the first thing that does not hold ends the world.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from bg_charm_service.domain.errors import CommitInDoubt, FailureCause, WorkerBootError
from bg_charm_service.domain.identity import Identity
from bg_charm_service.domain.limits import Limits
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.outcomes.policy import FailurePolicy
from bg_charm_service.domain.sandbox_mode import SandboxMode
from bg_charm_service.scanning.scanner import Catalogue, Scanner, ScanResult
from bg_charm_service.service.bootstrap import Service, ServiceConfig, open_service
from bg_charm_service.service.dependencies import Dependencies, PartTypes
from bg_charm_service.service.notices.telling import NoticeRules
from bg_charm_service.storage.engines import SQLiteEngine
from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.storage.sqlite.job_queue import JobQueue
from bg_charm_service.supervisor.completer import Settled
from bg_charm_service.supervisor.run_inputs import Prepared
from bg_charm_service.workers.pool.contract import PoolLimits
from bg_charm_service.workers.protocol.messages import RunSpec
from tests.recorded_runs import recorded_runs
from tests.simulation import invariants
from tests.simulation.cast import (
    AUTH,
    NEITHER,
    SIGN_IN,
    Deed,
    Kind,
    Temper,
    host_of,
    payload_of,
    reminder_of,
)
from tests.simulation.disk import Disk, FaultyConnection
from tests.simulation.ledger import Ledger, RecordedRun
from tests.simulation.plan import OVERDUE_SECONDS, Plan, as_drawn, brief
from tests.simulation.provider import TIMEOUT_SECONDS, SimulatedProvider
from tests.simulation.receiver import RULES, SimulatedReceiver
from tests.simulation.timeline import Killed, LifeClock, SimulatedLoop, Stuck, Timeline
from tests.simulation.workers import Manners, SimulatedProcesses, Truth

#: When every simulation begins, in seconds since the epoch.
EPOCH = 1_790_000_000.0

LISTER = "lister"

#: More lives than this in one seed mean that the service cannot stay alive.
_MOST_LIVES = 400

#: More runs than this in one seed are a storm: no plan has so many polls, retries and events.
_MOST_RUNS = 4000


@cache
def _operator() -> Identity:
    return Identity.from_passphrase("simulation")


class Violated(AssertionError):
    """Something that must always hold did not."""


@dataclass(slots=True)
class Member:
    """A charm of the simulation, as its world knows it."""

    ref: CharmRef
    kind: Kind
    temper: Temper
    #: So many of its successes sent an event that was queued: what was queued once stays so.
    sent: int = 0


@dataclass(slots=True)
class Report:
    """What became of one seed."""

    seed: int
    hours: float = 0.0
    lives: int = 0
    runs_checked: int = 0
    executions: int = 0
    commands: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    commit_points: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    #: Everything that happened, line by line, with its time; two runs of one seed have the same.
    log: list[str] = field(default_factory=list, repr=False)
    #: A short form of the log.
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Bug:
    """A bug that is planted on purpose: other classes, other SQL, another machine."""

    name: str
    parts: PartTypes = field(default_factory=PartTypes)
    sql: tuple[tuple[str, str], ...] = ()
    clock: type[LifeClock] = LifeClock
    processes: type[SimulatedProcesses] = SimulatedProcesses
    database: type[Database] = Database
    queue: type[JobQueue] = JobQueue
    #: The commands that show it, by their names; they are given more often for that.
    favourite: str = ""
    #: What has to go wrong for it to show, and does so more often for that: a trick of `Chaos`.
    trick: str = ""
    #: What a world has to be like in which it shows soon.
    world: Callable[[Plan], Plan] = field(default_factory=brief)


#: Somebody who acts in a life of the service, and never ends by itself.
Director = Callable[["World", Service], Coroutine[Any, Any, None]]


class World:
    """Everything around a service, and what is known of what happened in it."""

    def __init__(self, plan: Plan, data_dir: Path, bug: Bug | None = None) -> None:
        self.bug = bug or Bug("none", world=as_drawn)
        self.plan = plan = self.bug.world(plan)
        self.timeline = Timeline(EPOCH)
        self.disk = Disk(self.bug.database, self.note)
        self.ledger = Ledger(plan.interval_seconds)
        self.disk.on_cut = self._read_last
        self.truth = Truth()
        self.report = Report(plan.seed)
        self.members: dict[str, Member] = {}
        self.listed: list[CharmRef] = []
        #: The providers that answer nobody now.
        self.down: set[str] = set()
        #: Payloads of events that a caller was told are queued, or are not.
        self.accepted: set[str] = set()
        self.refused: set[str] = set()
        #: Those that a caller was told are sent later.
        self.promised: set[str] = set()
        #: The commands that are given most often, where a test wants some.
        self.favourite = self.bug.favourite
        #: Where the process is to die at once; empty while it is not.
        self.is_to_die = ""
        #: The next commands that are given, by their names.
        self.wanted_commands: list[str] = []
        self.is_calm = False
        self.is_over = False
        self.calm_since = 0.0
        self.chaos_ends_at = self.timeline.monotonic + plan.chaos_seconds
        self.service: Service | None = None
        self._clock: LifeClock | None = None
        self.loop: SimulatedLoop | None = None
        self.processes: SimulatedProcesses | None = None
        self.deploy = asyncio.Event()
        self._run_began = asyncio.Event()
        self.random = random.Random(f"world {plan.seed}")
        self.manners = Manners(
            random.Random(f"manners {plan.seed}"), self._choose, self._take_down, plan.run_seconds
        )
        self.provider = SimulatedProvider(
            self.timeline,
            random.Random(f"provider {plan.seed}"),
            self.truth.problems,
            self.note,
            lambda: self.disk.connection,
            lambda: self.is_calm,
        )
        self.receiver = SimulatedReceiver(
            random.Random(f"receiver {plan.seed}"),
            self.truth.problems,
            self.note,
            lambda: self.disk.connection,
            lambda: self.is_calm,
        )
        #: The jobs that were given to the dispatcher in this life, each with its attempt.
        self._given_out: set[tuple[int, int]] = set()
        self._config = ServiceConfig(
            data_dir,
            _operator(),
            is_polling=True,
            sandbox=SandboxMode.OFF,
            interval_seconds=plan.interval_seconds,
            limits=Limits(timeout_seconds=plan.timeout_seconds),
            policy=FailurePolicy(),
            pool=PoolLimits(
                max_concurrent=plan.workers,
                max_runs=plan.max_runs,
                max_age_seconds=max(3600.0, plan.interval_seconds),
                # What the real machine has in all is none of a simulated one's business.
                glance_seconds=0.0,
            ),
            history_runs=plan.history_runs,
            history_jobs=plan.history_jobs,
            watch_seconds=0.5,
            disabled_retry_seconds=plan.disabled_retry_seconds,
            integrations=(LISTER,),
            token_refresh_seconds=TIMEOUT_SECONDS,
            notices=RULES if plan.tellers else NoticeRules(),
        )
        if self.bug.sql:
            self.disk.rewrite = self._rewrite

    def live_once(self, directors: Sequence[Director]) -> None:
        """Let the service live until it is killed, told to stop, or ends by itself."""
        self.report.lives += 1
        self.ledger.life = self.report.lives
        if self.report.lives > _MOST_LIVES:
            raise Violated(f"the service was started {_MOST_LIVES} times")
        self.loop = loop = SimulatedLoop(self.timeline)
        self.deploy = asyncio.Event()
        self._run_began = asyncio.Event()
        loop.watch_turns(self._look)
        self.provider.begin_life(self.report.lives)
        self.receiver.life = self.report.lives
        self._given_out.clear()
        disk_faults = self._disk_faults()
        has_ended_well = False
        try:
            loop.run_until_complete(self._life(directors))
            has_ended_well = disk_faults == self._disk_faults()
        except Killed as killed:
            self.note(f"killed {killed}")
            self.report.faults[f"supervisor killed {str(killed).partition(' of ')[0]}"] += 1
            self._read_after_death()
        except CommitInDoubt:
            # As it should: neither the commit nor a look at it told what is on disk.
            self.report.faults["service ended: a commit in doubt"] += 1
            self._read_after_death()
        except WorkerBootError:
            # As it should: no worker got ready. Whoever runs the service starts it again.
            self.report.faults["service ended: no worker boots"] += 1
        finally:
            if not has_ended_well:
                self.provider.excused.add(self.report.lives)
                self.receiver.excused.add(self.report.lives)
            self.disk.cut()
            self.service = None
            # What is left of a process takes no time of the next one's.
            with self.timeline.stopped():
                _bury(loop)
            if self.processes is not None:
                self.processes.close_all()
            self.truth.running.clear()

    def _disk_faults(self) -> int:
        """How often the disk has failed so far."""
        return self.disk.struck.total() + self.report.faults["fill disk"]

    async def bad_moment(self, chance: random.Random) -> None:
        """Wait for a while, and then often until some run is under way."""
        await asyncio.sleep(chance.expovariate(1 / self.plan.pause_seconds))
        if chance.random() < self.plan.watched_share:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.plan.interval_seconds):
                    await self._run_began.wait()
                await asyncio.sleep(chance.uniform(0.0, 1.2 * self.plan.run_seconds))

    def note(self, text: str) -> None:
        """Add to the log of what happened."""
        self.report.log.append(f"{self.timeline.monotonic!r} {text}")

    def finish(self) -> Report:
        """Give the report."""
        self.report.hours = (self.timeline.monotonic - 1000.0) / 3600
        self.report.runs_checked = self.ledger.runs
        self.report.executions = self.truth.executions
        self.report.faults.update({f"disk: {name}": n for name, n in self.disk.struck.items()})
        self.report.commit_points = self.disk.points
        log = "\n".join(self.report.log).encode()
        self.report.digest = hashlib.blake2b(log, digest_size=8).hexdigest()
        return self.report

    async def _life(self, directors: Sequence[Director]) -> None:
        kind = self.bug.processes
        self.processes = kind(self.truth, self.manners, 1000 * self.report.lives)
        parts = self.bug.parts
        self._clock = clock = self.bug.clock(self.timeline)
        dependencies = Dependencies(
            clock=clock,
            random=random.Random(f"chance {self.plan.seed} {self.report.lives}").random,
            open_zygote=self.processes.open_zygote,
            engine=SQLiteEngine(self._open, self.bug.queue),
            parts=replace(parts, scanner=_lister(self)),
            providers=self.provider,
            sender=self.receiver,
        )
        async with open_service(self._config, dependencies) as service:
            self.service = service
            self._check_start(service)
            # Whatever the service does in time, it does not do by looking often.
            service.supervisor.pace.longest_seconds = 600.0
            side = [asyncio.create_task(service.maintenance.cycle.run())]
            if self.plan.tellers:
                service.telling.look_seconds = 60.0
                side.append(asyncio.create_task(service.telling.run()))
            side += [asyncio.create_task(director(self, service)) for director in directors]
            ending = asyncio.create_task(self.deploy.wait())
            done, _ = await asyncio.wait(
                [ending, service.loop, *side], return_when=asyncio.FIRST_COMPLETED
            )
            for task in done - {ending}:
                task.result()
                raise Violated("a part of the service ended by itself, without an error")
            for task in side:
                task.cancel()
            await asyncio.gather(*side, return_exceptions=True)
            await service.supervisor.drain(5.0)
            await service.supervisor.stop_now()

    def _open(self, path: Path) -> Database:
        database = self.disk.open(path)
        assert self.disk.connection is not None
        self.ledger.attach(self.disk.connection, database.sole_writer.plain_polls)
        self._watch_callbacks(database, self.disk.connection)
        return database

    def _watch_callbacks(self, database: Database, connection: FaultyConnection) -> None:
        """Let nobody be told of a commit that is not made."""
        ask = database.after_commit

        def after_commit(callback: Callable[[], None]) -> None:
            def call() -> None:
                self.check_written(connection, "what waits for a commit is called")
                callback()

            ask(call)

        database.after_commit = after_commit  # type: ignore[method-assign]

    def check_written(self, connection: FaultyConnection | None, told: str) -> None:
        """Check that nothing is open that could still be lost."""
        if connection is not None and connection.in_transaction:
            self.truth.problems.append(f"{told} before it is written")

    def _check_settled(self, settled: Sequence[Settled]) -> None:
        """Check that the ends of runs that are told of are on disk."""
        connection = self.disk.connection
        if connection is None or self.disk.has_killed:
            return
        self.check_written(connection, "the end of a run is told")
        for one in settled:
            run_id = one.run.claim.job.run_id
            recorded = recorded_runs(connection.bare, one.run.claim.charm_key)
            if run_id not in {run.run_id for run in recorded}:
                self.truth.problems.append(f"the end of run {run_id} is told and not recorded")

    def _check_start(self, service: Service) -> None:
        """Check what a start did to the jobs that it found."""
        assert self.disk.connection is not None
        self._read_ledger(self.disk.connection, is_start=True)
        service.supervisor.on_settled.append(self._check_settled)
        self._watch_dispatcher(service)

    def _watch_dispatcher(self, service: Service) -> None:
        """Let no run begin with a token that is not good for it."""
        dispatcher, connection = service.parts.dispatcher, self.disk.connection
        assert connection is not None
        dispatch = dispatcher.dispatch

        def dispatch_and_check(batch: list[Prepared]) -> Any:
            for each in batch:
                job = each.run.claim.job
                self._given_out.add((job.job_id, job.attempt))
                if AUTH in each.values and each.problem is None:
                    timeout_seconds = each.limits.timeout_seconds
                    self.truth.problems += self.provider.unfit(
                        each.values[AUTH], timeout_seconds, connection
                    )
            return dispatch(batch)

        dispatcher.dispatch = dispatch_and_check  # type: ignore[method-assign]

    def _look(self) -> None:
        """Check what must hold, once something was written."""
        connection = self.disk.connection
        if not self.disk.is_dirty or connection is None or self.service is None:
            return
        self.disk.is_dirty = False
        self.check_written(connection, "the loop goes to sleep with a step")
        touched = self._read_ledger(connection)
        if isinstance(self.service.supervisor.ended_by, CommitInDoubt):
            # It does not know any more what is on disk, and is about to end for that.
            return
        if self.disk.has_killed:
            return
        problems = [
            *invariants.broken(self.service, connection, touched),
            *invariants.held_in_vain(connection, self._given_out),
        ]
        if problems:
            raise Violated("; ".join(problems[:3]))
        if self.is_to_die:
            where, self.is_to_die = self.is_to_die, ""
            raise Killed(where)

    def calm_down(self) -> None:
        """Let nothing go wrong any more."""
        self.is_calm = True
        self.calm_since = self.timeline.wall
        self.disk.armed.clear()
        self.disk.empty()
        self.manners.boot_death_rate = self.manners.boot_hang_rate = 0.0
        assert self.loop is not None
        self.loop.kill_after(None)

    def check_rested(self) -> None:
        """Check that every charm that is polled had a success since it is calm."""
        assert self.service is not None
        assert self.disk.connection is not None
        unsent = [*self.receiver.unsent(self.disk.connection, self.calm_since)]
        if unsent:
            raise Violated("; ".join(unsent[:3]))
        store = self.service.parts.store
        for member in self.members.values():
            charm = store.charms.find(member.ref)
            if charm is None or charm.charm_key not in self.service.polled_charms:
                continue
            health = store.health.get(charm.charm_key)
            has_rested = health.last_success >= self.calm_since
            if not has_rested and health.disabled_by in (None, "sign_in"):
                raise Violated(f"charm {charm.charm_key} had no success since it is calm")

    def check_overdue(self) -> None:
        """Check that nothing waits longer than the stated bound; once it is calm."""
        assert self.service is not None
        assert self.disk.connection is not None
        # What was committed a moment ago has not been read yet.
        self._look()
        # After deaths, suspects wait for one trial.
        bound_seconds = OVERDUE_SECONDS + self.service.parts.trial.target_seconds
        problems = [
            *invariants.overdue(self.service, self.disk.connection, bound_seconds),
            *invariants.forgotten(
                self.disk.connection, self.timeline.wall - bound_seconds, self.calm_since
            ),
            *self._lost_sends(),
            *self._unsent(self.service),
        ]
        if problems:
            raise Violated("; ".join(problems[:3]))

    def _read_after_death(self) -> None:
        """Check what a process left on disk that died in the middle of something."""
        connection = self.disk.undo()
        if connection is not None:
            touched = self._read_ledger(connection)
            problems = [*invariants.miscounted(connection, touched)]
            if problems:
                raise Violated("; ".join(problems[:3]))

    def _read_last(self, connection: FaultyConnection) -> None:
        """Take over what a process wrote last, which may have been with no turn of its loop after.

        Whatever is wrong with it is told with the next reading: nobody hears of it here.
        """
        if self._clock is not None:
            try:
                self._read_ledger(connection)
            except Violated as violated:
                self.truth.problems.append(str(violated))

    def _read_ledger(self, connection: FaultyConnection, *, is_start: bool = False) -> set[int]:
        """Take over what was committed; gives the charms that had runs."""
        touched = set()
        if self.ledger.runs > _MOST_RUNS:
            raise Violated(f"a storm of {self.ledger.runs} runs")
        assert self._clock is not None
        for run in self.ledger.read(connection, self._clock.steady(), is_start=is_start):
            touched.add(run.charm_key)
            self.note(f"{run.run_id} {run.charm_key} {run.status} {run.cause}")
            self._check_blame(run, connection)
            if run.status == "success" and self.plan.tellers:
                is_teller = invariants.class_of(connection, run.charm_key) == Kind.TELLER
                self.receiver.successes[run.charm_key] += is_teller
            if run.status == "success" and run.run_id in self.truth.asked:
                self._check_asked(run)
        for run_id in self.ledger.delivered:
            if run_id not in self.truth.begun:
                raise Violated(f"run {run_id} never began, and counts as delivered")
        self.ledger.delivered.clear()
        problems = self.ledger.problems + self.truth.problems + [*self.provider.broken(connection)]
        if self.plan.tellers:
            problems += self.receiver.broken(connection)
        if problems:
            raise Violated("; ".join(problems[:3]))
        return touched

    def _check_asked(self, run: RecordedRun) -> None:
        if reminder_of(run.run_id) not in self.ledger.asked:
            raise Violated(f"run {run.run_id} asked for a reminder, and none was kept")

    def _check_blame(self, run: RecordedRun, connection: FaultyConnection) -> None:
        if run.status == "success" and run.run_id not in self.truth.done_well:
            raise Violated(f"run {run.run_id} is a success, and no worker did it")
        needs_sign_in = invariants.class_of(connection, run.charm_key) in SIGN_IN
        if needs_sign_in and run.status == "stale":
            raise Violated(f"run {run.run_id} is stale, and only its token was renewed")
        is_neither = run.status in NEITHER.values()
        if needs_sign_in:
            # It may have begun in a life before, with a token that is good no more.
            is_neither &= not self.provider.may_have_said(run.status, run.error)
        if is_neither and (run.run_id, run.status) not in self.truth.neither:
            raise Violated(f"run {run.run_id} ended as {run.status}, and no worker said so")
        if run.status != "failure":
            return
        deserved = self.truth.deserved.get(run.run_id, set())
        if run.cause == FailureCause.SUPERVISOR:
            if run.claims <= 3:
                raise Violated(f"run {run.run_id} pays for a death before it was a suspect")
        elif run.cause not in deserved:
            raise Violated(
                f"run {run.run_id} of charm {run.charm_key} pays for what it did not do: "
                f"{run.cause}: {run.error}; it deserved {sorted(deserved)}"
            )

    def _lost_sends(self) -> Iterator[str]:
        """Name events that were told to be queued and are not, or the other way round."""
        queued, again = self.ledger.by_payload, self.ledger.dead_again
        for n in self.accepted:
            if not 1 <= queued[n] <= 1 + again[n]:
                yield f"event {n} was accepted once, and queued {queued[n]} times"
        for n in self.ledger.asked:
            if queued[n] > 1 + again[n]:
                yield f"the reminder {n!r} was sent {queued[n]} times"
        for n in self.promised - self.ledger.asked:
            yield f"event {n} was to be sent later, and was never kept"
        for n in self.refused:
            if queued[n] or n in self.ledger.asked:
                yield f"event {n} was refused, and queued all the same"

    def _unsent(self, service: Service) -> Iterator[str]:
        """Name events that a run sent and that were never queued, though the run is a success."""
        for member in self.members.values():
            if member.kind is not Kind.SENDER:
                continue
            charm = service.parts.store.charms.find(member.ref)
            if charm is None:
                continue
            successes = service.parts.store.health.get(charm.charm_key).successes
            for count in range(member.sent + 1, successes + 1):
                if not self.ledger.by_payload[payload_of(member.ref.charm_id, count)]:
                    yield f"the event of success {count} of {member.ref} was never queued"
                    break
                member.sent = count

    def _choose(self, spec: RunSpec) -> Deed:
        self._run_began.set()
        self._run_began = asyncio.Event()
        member = self.members.get(spec.charm_id)
        if self.is_calm or member is None:
            return Deed.WELL
        if host_of(spec.charm_id) in self.down:
            return Deed.DOWN
        if not self.manners.is_drawn(member.temper.rate):
            return Deed.WELL
        return self.manners.random.choice(member.temper.deeds)

    def _take_down(self) -> None:
        raise Killed("by a charm")

    def _rewrite(self, sql: str) -> str:
        for old, new in self.bug.sql:
            sql = sql.replace(old, new)
        return sql


def _lister(world: World) -> type[Scanner]:
    class Lister(Scanner):
        """An integration that lists what the world wants it to."""

        async def describe(self) -> Catalogue:
            return Catalogue((), ())

        async def scan(self, integration_id: str) -> ScanResult:
            return ScanResult(tuple(world.listed))

    return Lister


def _bury(loop: SimulatedLoop) -> None:
    """End what is left of a process: its tasks find neither disk nor workers any more."""
    loop.disarm()
    # In the end they fail in many ways, none of which anybody would have seen.
    loop.set_exception_handler(lambda *_: None)
    for _ in range(10):
        if not loop.living_tasks():
            break
        for task in loop.living_tasks():
            task.cancel()
        with contextlib.suppress(Stuck, Killed, Violated):
            loop.run_until_complete(asyncio.sleep(1.0))
    left = loop.living_tasks()
    if left:
        raise RuntimeError(f"tasks outlive their process: {left}")
    loop.close()
