"""The loop with a pool of paper workers: what goes out when, and who is told of the end."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from loguru import logger

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.errors import (
    FailureCause,
    ServiceError,
    StorageError,
    StorageFull,
    WorkerBootError,
)
from bg_charm_service.domain.limits import Limits, Walls
from bg_charm_service.domain.model import (
    POLL_EVENT,
    CharmHealth,
    CharmRef,
    CharmSchema,
    DisabledBy,
    Failure,
    FieldKind,
    FieldSchema,
    Origin,
)
from bg_charm_service.domain.outcomes.policy import FailurePolicy, RunStatus
from bg_charm_service.storage.contract import Storage
from bg_charm_service.storage.disk_reserve import RESERVE_NAME, DiskReserve
from bg_charm_service.storage.records import SUSPECT_DELIVERIES, CharmRecord, Link, Pause
from bg_charm_service.storage.sql.store import open_store
from bg_charm_service.storage.sqlite.checks.examination import Doctor
from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.storage.sqlite.job_queue import JobQueue
from bg_charm_service.supervisor.charm_switch import CharmSwitch
from bg_charm_service.supervisor.completer import Completer, CompletionRules, Settled
from bg_charm_service.supervisor.dispatcher import Dispatcher
from bg_charm_service.supervisor.fair_share import Caps
from bg_charm_service.supervisor.in_flight import RunsInFlight
from bg_charm_service.supervisor.limit_resolver import LimitResolver
from bg_charm_service.supervisor.loop import Parts, Supervisor
from bg_charm_service.supervisor.notices import NoticeBook
from bg_charm_service.supervisor.planning.poll_planner import PollPlanner
from bg_charm_service.supervisor.planning.polled_charms import PolledCharms
from bg_charm_service.supervisor.refusal_advice import Place, RefusalAdvice
from bg_charm_service.supervisor.reminders import ReminderSchedule
from bg_charm_service.supervisor.run_inputs import RunInputs
from bg_charm_service.supervisor.run_items import ItemQuotas, RunItems
from bg_charm_service.supervisor.source_inspections import SourceInspections
from bg_charm_service.supervisor.suspects import SuspectTrial
from bg_charm_service.supervisor.waiting_charms import WaitingCharms
from bg_charm_service.workers.pool.contract import FreeWorkers, WorkerPool
from bg_charm_service.workers.pool.events import (
    FieldWanted,
    ItemsWanted,
    PoolEvent,
    RunFinished,
)
from bg_charm_service.workers.protocol.messages import (
    Answer,
    FieldValue,
    FoundItems,
    Inspect,
    RunSpec,
    TokenGiven,
    WantItems,
)


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.seconds = 1_790_000_000.0
        #: What the wall clock was set ahead of the steady one since.
        self.ahead = 0.0

    def now(self) -> float:
        return self.seconds + self.ahead

    def steady(self) -> float:
        return self.seconds

    def awake(self) -> float:
        return self.steady()


class FakePool:
    """Workers without processes: runs stay out until the test ends them."""

    wants_ticks = False
    most_runs_a_batch = 1000

    def __init__(self, workers: int) -> None:
        self.unbound = workers
        self.bound: Counter[int] = Counter()
        self.out: list[RunSpec] = []
        #: What each worker still has to make.
        self.batches: list[list[RunSpec]] = []
        self.events: list[PoolEvent] = []
        self.fields: list[FieldValue] = []
        self.given_items: list[FoundItems] = []
        #: What runs keep in files, by their jobs.
        self.files: Counter[int] = Counter()
        self.error: ServiceError | None = None
        #: Whom the pool was last asked to move workers to.
        self.needs: list[int] = []

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def tick(self) -> None: ...

    def collect(self) -> list[PoolEvent]:
        if self.error is not None:
            raise self.error
        events, self.events = self.events, []
        return events

    def free_workers(self) -> FreeWorkers:
        return FreeWorkers(self.bound.copy(), self.unbound)

    def rebalance(self, used_seconds: Mapping[int, float]) -> None:
        self.needs = list(used_seconds)

    def knows_source(self, space_key: int, walls: Walls, source_hash: str) -> bool:
        return False

    def dispatch(self, space_key: int, runs: Sequence[RunSpec]) -> bool:
        self.unbound -= 1
        self.out += runs
        self.batches.append(list(runs))
        return True

    def give_token(self, message: TokenGiven) -> None:
        raise AssertionError(message)

    def give_items(self, message: FoundItems) -> None:
        self.given_items.append(message)

    def give_field(self, run_id: str, message: FieldValue) -> None:
        self.fields.append(message)

    def inspect(self, request: Inspect) -> None: ...

    def job_with_most_files(self, least_bytes: int) -> int | None:
        return self.files.most_common(1)[0][0] if self.files else None

    def cancel(self, run_id: str) -> bool:
        return False

    def fail(self, run: RunSpec) -> None:
        """Let a run end its worker."""
        self._take_off(run)
        death = Failure(FailureCause.EXIT, "It ended its worker.")
        self.events.append(RunFinished(run, 1, "", death=death))

    def answer(self, run: RunSpec, answer: Answer) -> None:
        """Let a run be answered."""
        self._take_off(run)
        self.events.append(RunFinished(run, 1, "", answer=answer, seconds=0.1))

    def end(
        self,
        run: RunSpec,
        *,
        is_orphaned: bool = False,
        seconds: float = 0.1,
        writes: Mapping[str, bytes] | None = None,
    ) -> None:
        """End a run: well, or by the end of the workers' parent."""
        self._take_off(run)
        said = Answer(run.run_id, seconds, reads=tuple(run.values), writes=dict(writes or {}))
        answer = None if is_orphaned else said
        self.events.append(
            RunFinished(run, 1, "", answer=answer, is_orphaned=is_orphaned, seconds=seconds)
        )

    def give_up(self, run: RunSpec) -> None:
        """End a run whose worker says that it is stale."""
        self._take_off(run)
        answer = Answer(run.run_id, 0.1, stale=True)
        self.events.append(RunFinished(run, 1, "", answer=answer, seconds=0.1))

    def _take_off(self, run: RunSpec) -> None:
        self.out.remove(run)
        (batch,) = (one for one in self.batches if run in one)
        batch.remove(run)
        if not batch:
            self.batches.remove(batch)
            self.unbound += 1


class Bench:
    """A supervisor on an empty database, stepped by hand."""

    #: The databases of all benches that `close_all` has not closed.
    _opened: ClassVar[list[Database]] = []

    def __init__(
        self,
        path: Path,
        *,
        workers: int = 1,
        polling: bool = True,
        caps: Caps | None = None,
        open_pool: Callable[[Clock, Callable[[], None]], WorkerPool] | None = None,
        reserve: DiskReserve | None = None,
        policy: FailurePolicy | None = None,
    ) -> None:
        self.database = Database.open(path)
        self._opened.append(self.database)
        self.store, self.queue = open_store(self.database), JobQueue(self.database)
        self.pool, self.clock, self.wake = FakePool(workers), Time(), asyncio.Event()
        pool = open_pool(self.clock, self.wake.set) if open_pool else self.pool
        doctor = Doctor(self.database, self.queue)
        storage = Storage(self.database, self.store, self.queue, doctor)
        clock = self.clock
        self.planner = PollPlanner(storage, clock, interval_seconds=60, max_concurrent=1)
        limits = LimitResolver(Limits(), self.store.limits)
        self.inspections = SourceInspections(pool, RefusalAdvice(self.store, limits))
        runs = RunsInFlight()
        items = RunItems(self.store, ItemQuotas())
        inputs = RunInputs(storage, limits, runs.durations, items)
        rules = CompletionRules(policy or FailurePolicy(), limits, history_runs=10)
        polled = PolledCharms(self.store)
        trial = SuspectTrial(storage, clock)
        waiting = WaitingCharms(storage, clock, self.planner)
        switch = CharmSwitch(storage, clock, self.planner, polled, waiting)
        self.notices = NoticeBook(storage, clock)
        self.supervisor = Supervisor(
            Parts(
                storage=storage,
                clock=clock,
                pool=pool,
                runs=runs,
                inputs=inputs,
                planner=self.planner,
                dispatcher=Dispatcher(
                    self.queue,
                    self.store.pauses,
                    pool,
                    clock,
                    runs,
                    inputs,
                    trial,
                    caps or Caps(),
                ),
                completer=Completer(
                    storage,
                    clock,
                    lambda: 0.5,
                    runs,
                    self.planner,
                    polled,
                    waiting,
                    switch,
                    rules,
                    items,
                    self.notices,
                ),
                inspections=self.inspections,
                trial=trial,
                reminders=ReminderSchedule(storage, clock, waiting),
                waiting=waiting,
                switch=switch,
            ),
            polling=polling,
            watch_seconds=0.1,
            wake=self.wake,
            reserve=reserve,
        )
        self.told: list[Settled] = []
        self.supervisor.on_settled.append(self.told.extend)

    @classmethod
    def close_all(cls) -> None:
        """Close the databases of all benches, at the end of a test."""
        while cls._opened:
            cls._opened.pop().close()

    def charm(self, space: str = "did:key:here", **fields: FieldKind) -> CharmRecord:
        """Add a charm."""
        schemas = tuple(FieldSchema(name, kind, b"0") for name, kind in fields.items())
        count = len(self.store.charms.page(space=None, after=0, limit=1000))
        with self.database.transaction():
            home = self.store.spaces.ensure(space, name="", owner="did:key:me", now=0)
            charm = self.store.charms.add(
                CharmRef(space, f"charm{count}"),
                home.space_key,
                cause=f"charm{count}",
                file_name="some.py",
                source="",
                schema=CharmSchema("Some", "Some", "", schemas, ("bgUpdater",)),
                now=0,
            )
            self.store.health.create(charm.charm_key)
            for name, kind in fields.items():
                if kind is FieldKind.VALUE:
                    self.store.cells.write(charm, name, b"0")
        return charm

    def put(self, charm: CharmRecord) -> int:
        """Queue a poll."""
        job = (charm.space_key, charm.charm_key, charm.ref, "bgUpdater", POLL_EVENT)
        now = self.clock.now()
        with self.database.transaction():
            job_id = self.queue.put_poll(*job, origin=Origin.POLL, run_at=now, now=now)
        assert job_id is not None
        return job_id

    def suspect(self, job_id: int) -> None:
        """Let several supervisors die with a job."""
        for _ in range(SUSPECT_DELIVERIES):
            with self.database.transaction():
                claim = self.queue.claim_job(job_id)
                assert claim is not None
                self.queue.rescue(claim, self.clock.steady())

    def step(self) -> list[str]:
        """Take a step; gives the charms whose runs are out."""
        self.supervisor.step()
        return [run.charm_id for run in self.pool.out]


@contextmanager
def broken(database: Database) -> Iterator[None]:
    """Let everything fail that SQLite is asked for, reading too."""
    database.connection.set_progress_handler(lambda: 1, 1)
    try:
        yield
    finally:
        database.connection.set_progress_handler(None, 0)


@contextmanager
def logged() -> Iterator[list[str]]:
    """Collect the events of the log."""
    events: list[str] = []
    sink = logger.add(lambda line: events.append(line.record["extra"]["event"]))
    try:
        yield events
    finally:
        logger.remove(sink)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """The place of a database; the benches on it are closed after the test."""
    yield tmp_path / "test.db"
    Bench.close_all()


@pytest.fixture
def bench(path: Path) -> Bench:
    """A bench with one worker."""
    return Bench(path)


def test_suspect_gets_its_turn_on_a_busy_day(path: Path) -> None:
    """A job that runs alone waits for the runs that are out, but not for those that come later."""
    bench = Bench(path, workers=2)
    suspect, busy, later = bench.charm(), bench.charm(), bench.charm()
    bench.put(busy)
    bench.step()
    bench.suspect(bench.put(suspect))
    bench.put(later)
    assert [busy.ref.charm_id] == bench.step()
    bench.pool.end(bench.pool.out[0])
    bench.wake.clear()
    assert [] == bench.step()
    assert bench.wake.is_set()
    assert [suspect.ref.charm_id] == bench.step()
    assert [suspect.ref.charm_id] == bench.step()
    bench.pool.end(bench.pool.out[0])
    bench.step()
    assert [later.ref.charm_id] == bench.step()


def test_space_with_nothing_to_do_keeps_no_worker_from_others(bench: Bench) -> None:
    """A look into a space that has no job after all costs the next space nothing."""
    idle, waiting = bench.charm("did:key:a"), bench.charm("did:key:b")
    job_id = bench.put(idle)
    with bench.database.transaction():
        bench.queue.drop_poll(idle.charm_key)
    bench.put(waiting)
    assert not bench.queue.is_live(job_id)
    assert [waiting.ref.charm_id] == bench.step()


def test_charm_that_a_settlement_disables_is_not_planned(path: Path) -> None:
    """A charm that becomes due in the step that disables it is polled no more."""
    bench = Bench(path)
    charm = bench.charm()
    bench.supervisor.run_job(bench.put(charm), charm.space_key)
    bench.step()
    with bench.database.transaction():
        health = CharmHealth(consecutive_failures=4)
        bench.store.health.put(charm.charm_key, health)
    for _ in range(3):
        bench.pool.fail(bench.pool.out[0])
        bench.step()
        bench.clock.seconds += 30
        bench.step()
    with bench.database.transaction():
        bench.planner.poll_now(charm.charm_key, charm.ref.space)
    bench.pool.fail(bench.pool.out[0])
    assert [] == bench.step()
    assert 0 == bench.queue.active_size()
    assert bench.store.health.entry(charm.charm_key).due_at is None
    assert not bench.planner.is_polled(charm.charm_key)


def test_worker_moves_as_soon_as_its_space_has_nothing_more(path: Path) -> None:
    """What waits in other spaces gets a worker in the step that finds no more work for it here."""
    bench = Bench(path)
    first, waiting = bench.charm("did:key:a"), bench.charm("did:key:b")
    bench.put(first)
    bench.step()
    bench.pool.bound[first.space_key] += 1
    bench.put(waiting)
    bench.pool.end(bench.pool.out[0])
    bench.pool.unbound = 0
    bench.step()
    bench.step()
    assert [waiting.space_key] == bench.pool.needs


def test_unreadable_state_fails_its_own_run_only(path: Path) -> None:
    """Where a state cannot be read, that run fails and the service goes on."""
    bench = Bench(path, workers=2)
    target, sound = bench.charm("did:key:a", x=FieldKind.VALUE), bench.charm()
    broken = bench.charm(link=FieldKind.CELL)
    with bench.database.transaction():
        link = Link("link", target.charm_key, ("x", "y"), is_writable=False)
        bench.store.links.put(broken.charm_key, link)
        bench.database.execute("UPDATE cells SET value = ?", (b"{broken",))
    bench.put(broken)
    bench.put(sound)
    assert [sound.ref.charm_id] == bench.step()
    bench.step()
    (told,) = bench.told
    assert broken.charm_key == told.run.claim.charm_key
    assert told.outcome.failure is not None
    assert FailureCause.STATE is told.outcome.failure.cause


def test_removed_charm_never_runs_again(bench: Bench) -> None:
    """The run of a removed charm is over, also when its worker ended by nobody's fault."""
    charm = bench.charm()
    bench.put(charm)
    bench.step()
    with bench.database.transaction():
        bench.store.charms.mark_removed(charm.charm_key, 1)
    bench.pool.end(bench.pool.out[0], is_orphaned=True)
    assert [] == bench.step()
    assert [RunStatus.CANCELLED] == [one.decision.status for one in bench.told]
    assert 0 == bench.queue.active_size()


def test_removed_charm_does_not_run_after_a_crash(path: Path) -> None:
    """A supervisor that dies while it stops a removed charm leaves nothing that runs later."""
    first = Bench(path)
    charm = first.charm()
    first.put(charm)
    first.step()
    with first.database.transaction():
        first.store.charms.mark_removed(charm.charm_key, 1)
    first.database.close()
    second = Bench(path)
    second.supervisor.recover()
    assert [] == second.step()
    assert [RunStatus.CANCELLED] == [one.decision.status for one in second.told]


async def _loop(bench: Bench) -> asyncio.Task[None]:
    task = asyncio.create_task(bench.supervisor.run())
    await asyncio.sleep(0)
    return task


def test_due_poll_is_out_with_one_commit(bench: Bench) -> None:
    """A poll is planned and claimed together, where a worker is free for it."""
    charm = bench.charm()
    with bench.database.transaction():
        bench.planner.poll_now(charm.charm_key, charm.ref.space)
    before = bench.database.commits
    assert [charm.ref.charm_id] == bench.step()
    assert 1 == bench.database.commits - before


class _BusyPool(FakePool):
    """Has news again and again, and sends a request in the third step."""

    def __init__(self, wake: Callable[[], None], send: Callable[[], object]) -> None:
        super().__init__(workers=1)
        self._wake, self._send = wake, send
        self.steps = 0

    def tick(self) -> None:
        self.steps += 1
        if self.steps == 3:
            self._send()
        if self.steps < 1000:
            self._wake()


def test_requests_are_answered_between_steps(path: Path) -> None:
    """However busy the loop is, who asked during a step is answered before the next one."""

    async def work() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        pools: list[_BusyPool] = []
        answered_after: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def open_pool(_: Clock, wake: Callable[[], None]) -> WorkerPool:
            pools.append(_BusyPool(wake, lambda: theirs.send(b"!")))
            return pools[0]

        async def answer() -> None:
            answered_after.set_result(pools[0].steps)

        tasks = []

        def read() -> None:
            ours.recv(1)
            tasks.append(asyncio.create_task(answer()))

        bench = Bench(path, open_pool=open_pool)
        asyncio.get_running_loop().add_reader(ours, read)
        tasks.append(asyncio.create_task(bench.supervisor.run()))
        assert 3 == await answered_after
        await bench.supervisor.stop_now()
        await asyncio.gather(*tasks)
        bench.database.close()
        asyncio.get_running_loop().remove_reader(ours)
        ours.close()
        theirs.close()

    asyncio.run(work())


def test_loop_sleeps_while_it_may_not_claim(path: Path) -> None:
    """Jobs that are ready and not to be claimed keep no processor busy."""

    async def turns(bench: Bench) -> int:
        task = await _loop(bench)
        # A loop that does not sleep takes a turn each time it gets the chance.
        for _ in range(1000):
            await asyncio.sleep(0)
        await bench.supervisor.stop_now()
        await task
        return bench.supervisor.turns

    waiting = Bench(path, polling=False)
    waiting.put(waiting.charm())
    assert asyncio.run(turns(waiting)) < 10
    waiting.database.close()
    alone = Bench(path, workers=2)
    alone.suspect(alone.put(alone.charm()))
    alone.step()
    alone.put(alone.charm())
    assert asyncio.run(turns(alone)) < 10


def test_who_waits_for_a_dropped_job_is_let_go(bench: Bench) -> None:
    """A poll that a person took out of the queue ends the wait for it."""

    async def wait() -> Settled | None:
        charm = bench.charm()
        waiting = bench.supervisor.settlement_of(bench.put(charm))
        with bench.database.transaction():
            bench.queue.hold(charm.charm_key)
        bench.step()
        return await asyncio.wait_for(waiting, 1)

    assert asyncio.run(wait()) is None


def test_job_that_came_back_runs_again_without_polling(path: Path) -> None:
    """A poll that was asked for runs again when its worker ended by nobody's fault."""
    bench = Bench(path, polling=False)
    charm = bench.charm()
    bench.supervisor.run_job(bench.put(charm), charm.space_key)
    bench.step()
    bench.pool.end(bench.pool.out[0], is_orphaned=True)
    assert [charm.ref.charm_id] == bench.step()
    bench.pool.end(bench.pool.out[0])
    assert [] == bench.step()
    assert [RunStatus.SUCCESS] == [one.decision.status for one in bench.told]


def test_run_that_ended_just_before_a_stop_is_told(bench: Bench) -> None:
    """What a stop settles is told to those who wait, as any other settlement."""

    async def stop() -> Settled | None:
        waiting = bench.supervisor.settlement_of(bench.put(bench.charm()))
        bench.step()
        bench.pool.end(bench.pool.out[0])
        await bench.supervisor.stop_now()
        return await asyncio.wait_for(waiting, 1)

    settled = asyncio.run(stop())
    assert settled is not None
    assert [settled] == bench.told
    assert RunStatus.SUCCESS is settled.decision.status


def test_end_of_the_loop_lets_everybody_go(bench: Bench) -> None:
    """When the service cannot go on, nobody waits for it in vain, neither now nor later."""

    async def fail() -> None:
        waiting = bench.supervisor.settlement_of(bench.put(bench.charm()))
        inspecting = asyncio.create_task(
            bench.inspections.inspect("", "some.py", place=Place("demo"))
        )
        await asyncio.sleep(0)
        bench.pool.error = WorkerBootError("no worker boots")
        with pytest.raises(WorkerBootError):
            await bench.supervisor.run()
        assert await asyncio.wait_for(waiting, 1) is None
        with pytest.raises(WorkerBootError):
            await asyncio.wait_for(inspecting, 1)
        with pytest.raises(WorkerBootError):
            await asyncio.wait_for(bench.inspections.inspect("", "some.py", place=Place("demo")), 1)
        assert await asyncio.wait_for(bench.supervisor.settlement_of(1), 1) is None

    asyncio.run(fail())


def test_broken_disk_holds_up_and_loses_nothing(bench: Bench) -> None:
    """While nothing can be read or written, nothing goes out; what came in is settled later.

    It is said once, and once when it is over, also when nothing waits to be written then.
    """
    first, second = bench.charm(), bench.charm()
    bench.put(first)
    bench.step()
    bench.put(second)
    with logged() as lines:
        with broken(bench.database):
            bench.pool.end(bench.pool.out[0])
            for _ in range(3):
                assert [] == bench.step()
                bench.clock.seconds += 10
        assert (["storage_problem"], []) == (lines, bench.told)
        assert [second.ref.charm_id] == bench.step()
        assert ["storage_problem", "storage_back"] == lines
    assert [first.charm_key] == [one.run.claim.charm_key for one in bench.told]


class Reserve(DiskReserve):
    """A reserve on a disk of which a test says how much is free."""

    free_bytes = 1 << 30

    def _free_bytes(self) -> int:
        return self.free_bytes


@contextmanager
def full(database: Database) -> Iterator[None]:
    """Leave no room for another page."""
    (pages,) = database.row("PRAGMA page_count")
    database.execute(f"PRAGMA max_page_count = {pages}")
    try:
        yield
    finally:
        database.execute("PRAGMA max_page_count = 1073741823")


def run_into_full_disk(bench: Bench) -> None:
    """Let somebody's change find no room."""
    with full(bench.database), pytest.raises(StorageFull), bench.database.transaction():
        bench.database.execute("CREATE TABLE more AS SELECT zeroblob(1000000) AS data")


def test_full_disk_gives_the_reserve_up(path: Path) -> None:
    """What runs did is stored then, and nothing is begun before there is a reserve again.

    It is said once, and once when it is over.
    """
    reserve = Reserve(path.parent)
    bench = Bench(path, workers=2, reserve=reserve)
    assert reserve.hold()
    first, second = bench.charm(), bench.charm()
    bench.put(first)
    bench.step()
    with logged() as lines:
        run_into_full_disk(bench)
        assert not (path.parent / RESERVE_NAME).exists()
        reserve.free_bytes = 0
        bench.put(second)
        bench.pool.end(bench.pool.out[0])
        for _ in range(3):
            bench.clock.seconds += 10
            assert [] == bench.step()
        assert [first.charm_key] == [one.run.claim.charm_key for one in bench.told]
        assert "full" in bench.supervisor.storage_health.problem
        reserve.free_bytes = 1 << 30
        bench.clock.seconds += 10
        bench.step()
        assert (path.parent / RESERVE_NAME).exists()
        assert [second.ref.charm_id] == bench.step()
    assert ["reserve_given_up", "storage_problem", "storage_back"] == lines


def test_start_without_room_for_the_reserve_begins_nothing(path: Path) -> None:
    """A start on a disk that is nearly full says so, and goes on when there is room."""
    reserve = Reserve(path.parent)
    bench = Bench(path, reserve=reserve)
    reserve.free_bytes = 0
    with logged() as lines:
        bench.supervisor.storage_health.take_reserve()
        bench.put(bench.charm())
        bench.clock.seconds += 10
        assert [] == bench.step()
        reserve.free_bytes = 1 << 30
        bench.clock.seconds += 10
        bench.step()
        assert 1 == len(bench.step())
    assert ["storage_problem", "storage_back"] == lines


@pytest.mark.parametrize("ends", [True, False])
def test_run_that_filled_the_disk_is_a_suspect(path: Path, *, ends: bool) -> None:
    """If the service dies with it, it runs alone then; once it is over it is like any other."""
    bench = Bench(path, workers=2, reserve=Reserve(path.parent))
    guilty, other = bench.charm(), bench.charm()
    jobs = bench.put(guilty), bench.put(other)
    bench.step()
    bench.pool.files[jobs[0]] = 1 << 30
    run_into_full_disk(bench)
    if ends:
        bench.pool.end(next(run for run in bench.pool.out if run.job_id == jobs[0]))
    bench.clock.seconds += 10
    bench.step()
    assert [0 if ends else SUSPECT_DELIVERIES, 1] == [
        claim.job.deliveries if claim is not None and bench.queue.is_live(claim.job.job_id) else 0
        for claim in map(bench.queue.find, jobs)
    ]


def test_trouble_that_others_had_is_over_when_something_was_written(bench: Bench) -> None:
    """An idle service that was told of a failing database tries it, and does not just believe."""
    bench.supervisor.storage_health.note(StorageError("The disk is gone."))
    bench.clock.seconds += 10
    with broken(bench.database):
        bench.step()
    assert "interrupted" in bench.supervisor.storage_health.problem
    bench.clock.seconds += 10
    bench.step()
    assert "" == bench.supervisor.storage_health.problem


def test_large_field_that_cannot_be_read_makes_the_run_stale(bench: Bench) -> None:
    """A run that asks for a value while the disk fails gets none, which ends it at no cost."""
    charm = bench.charm(big=FieldKind.VALUE)
    bench.put(charm)
    bench.step()
    with broken(bench.database):
        bench.pool.events.append(FieldWanted(bench.pool.out[0].run_id, "big"))
        bench.step()
    assert [FieldValue("big", None)] == bench.pool.fields
    assert "interrupted" in bench.supervisor.storage_health.problem


@pytest.mark.parametrize("kind", [FieldKind.VALUE, FieldKind.SECRET, FieldKind.ITEMS])
def test_only_charms_with_collections_pay_for_them(bench: Bench, kind: FieldKind) -> None:
    """The run of a charm that has none asks the database for nothing of them."""
    bench.put(bench.charm(field=kind))
    asked: list[str] = []
    bench.database.connection.set_trace_callback(asked.append)
    bench.step()
    bench.pool.end(bench.pool.out[0])
    bench.step()
    bench.database.connection.set_trace_callback(None)
    assert [RunStatus.SUCCESS] == [one.decision.status for one in bench.told]
    named = [sql for sql in asked if "collection" in sql or "items" in sql]
    assert (kind is FieldKind.ITEMS) == bool(named), named


def test_items_that_cannot_be_read_cost_nothing(bench: Bench) -> None:
    """A run that looks into a collection while the disk fails is made again, the same attempt."""
    charm = bench.charm(box=FieldKind.ITEMS)
    job_id = bench.put(charm)
    bench.step()
    run = bench.pool.out[0]
    with broken(bench.database):
        bench.pool.events.append(ItemsWanted(WantItems(run.run_id, "box")))
        bench.step()
    assert [FoundItems(run.run_id, is_lost=True)] == bench.pool.given_items
    bench.clock.seconds += 10
    bench.pool.give_up(run)
    bench.step()
    assert ([RunStatus.STALE], 0) == (
        [one.decision.status for one in bench.told],
        bench.store.health.get(charm.charm_key).failures,
    )
    bench.step()
    assert [run.run_id] == [one.run_id for one in bench.pool.out if one.job_id == job_id]


def test_missing_source_fails_its_own_run_only(path: Path) -> None:
    """A charm whose source is not in the database fails; the service and others go on."""
    bench = Bench(path, workers=2)
    gone, sound = bench.charm(), bench.charm()
    bench.database.execute("PRAGMA foreign_keys = OFF")
    bench.database.execute(
        "UPDATE charms SET source_hash = 'none' WHERE charm_key = ?", (gone.charm_key,)
    )
    bench.put(gone)
    bench.put(sound)
    assert [sound.ref.charm_id] == bench.step()
    bench.step()
    assert [gone.charm_key] == [one.run.claim.charm_key for one in bench.told]


LARGE = b"[" + b"[]," * 200_000 + b"1]"


def test_a_large_answer_is_settled_once_it_is_checked(path: Path) -> None:
    """Steps go by, in each of which the others are settled; then it is, once, as it was."""
    bench = Bench(path, workers=2)
    large, small = bench.charm(count=FieldKind.VALUE), bench.charm(count=FieldKind.VALUE)
    for charm in (large, small):
        bench.put(charm)
        bench.step()
    first, second = bench.pool.out
    bench.pool.end(first, writes={"count": LARGE})
    bench.pool.end(second, writes={"count": b"1"})
    bench.wake.clear()
    bench.step()
    assert [small.ref] == [one.run.claim.job.ref for one in bench.told]
    assert bench.wake.is_set()
    while len(bench.told) == 1:
        bench.step()
    assert [large.ref] == [one.run.claim.job.ref for one in bench.told[1:]]
    bench.step()
    assert 2 == len(bench.told)
    cell = bench.store.cells.read(large, "count")
    assert cell is not None
    assert LARGE == cell.value


def test_a_large_answer_that_is_no_json_is_a_failure(path: Path) -> None:
    """What is found while it is checked is what the run fails with."""
    bench = Bench(path)
    charm = bench.charm(count=FieldKind.VALUE)
    bench.put(charm)
    bench.step()
    bench.pool.end(bench.pool.out[0], writes={"count": LARGE[:-1] + b"[" * 100 + b"]" * 101})
    while not bench.told:
        bench.step()
    failure = bench.told[0].outcome.failure
    assert failure is not None
    assert FailureCause.STATE == failure.cause


def test_a_run_whose_answer_waits_is_given_back_at_a_stop(path: Path) -> None:
    """Nothing of an answer that waits is kept: the job runs again, as the same attempt."""
    bench = Bench(path)
    charm = bench.charm(count=FieldKind.VALUE)
    job_id = bench.put(charm)
    bench.step()
    bench.pool.end(bench.pool.out[0], writes={"count": LARGE})
    bench.step()
    asyncio.run(bench.supervisor.stop_now())
    assert [] == bench.told
    with bench.database.transaction():
        claim = bench.queue.claim_job(job_id)
    assert claim is not None
    assert 1 == claim.job.attempt


def pause(bench: Bench, space_key: int = 0, charm_key: int = 0) -> None:
    """Pause everything, a space, or a charm."""
    with bench.database.transaction():
        bench.store.pauses.put(Pause(space_key, charm_key, bench.clock.now(), "me"))


def resume(bench: Bench, space_key: int = 0, charm_key: int = 0) -> None:
    """Lift a pause."""
    with bench.database.transaction():
        bench.store.pauses.drop(space_key, charm_key)
        bench.queue.look_everywhere()


@pytest.mark.parametrize("wide", ["charm", "space", "everything"])
def test_what_is_paused_is_not_polled_and_not_made_up_for(bench: Bench, wide: str) -> None:
    """Its polls are left out and counted nowhere; once it is resumed its next time counts."""
    charm = bench.charm()
    with bench.database.transaction():
        bench.planner.poll_now(charm.charm_key, charm.ref.space)
    place = {
        "charm": (charm.space_key, charm.charm_key),
        "space": (charm.space_key,),
        "everything": (),
    }[wide]
    pause(bench, *place)
    for _ in range(5):
        assert [] == bench.step()
        bench.clock.seconds += 60
    health = bench.store.health.get(charm.charm_key)
    assert (0, 0) == (health.skipped_polls, bench.queue.pending)
    bench.step()
    resume(bench, *place)
    assert [] == bench.step(), "it is due at its next time, not now"
    due = bench.planner.due_at(charm.charm_key)
    assert due is not None
    assert bench.clock.seconds < due <= bench.clock.seconds + 60
    bench.clock.seconds = due
    assert [charm.ref.charm_id] == bench.step()


def test_events_of_what_is_paused_wait_in_their_place(bench: Bench) -> None:
    """They are not claimed, move no workers, and run in order once it is resumed."""
    charm = bench.charm()
    for wide in ((charm.space_key, charm.charm_key), (charm.space_key,), ()):
        pause(bench, *wide)
    bench.pool.bound[99] = 1
    with bench.database.transaction():
        now = bench.clock.now()
        for n in (b"1", b"2"):
            job = (charm.space_key, charm.charm_key, charm.ref, "bgUpdater", n)
            bench.queue.put_send(*job, run_at=now, now=now, is_held=False)
    for wide in ((), (charm.space_key,), (charm.space_key, charm.charm_key)):
        assert [] == bench.step()
        assert [] == bench.pool.needs
        resume(bench, *wide)
    bench.pool.bound.clear()
    bench.step()
    (first,) = bench.pool.out
    assert b"1" == first.event


@pytest.mark.parametrize("is_whole", [False, True])
def test_run_by_hand_passes_a_pause(bench: Bench, *, is_whole: bool) -> None:
    """What a person waits for runs, and nothing else of what is paused."""
    charm, other = bench.charm(), bench.charm()
    bench.put(other)
    pause(bench, charm.space_key)
    if not is_whole:
        resume(bench, charm.space_key)
        for one in (charm, other):
            pause(bench, charm.space_key, one.charm_key)
    with bench.database.transaction():
        now = bench.clock.now()
        job = (charm.space_key, charm.charm_key, charm.ref, "bgUpdater", POLL_EVENT)
        job_id = bench.queue.put_poll(*job, origin=Origin.RUN_NOW, run_at=now, now=now)
    assert job_id is not None
    bench.supervisor.run_job(job_id, charm.space_key)
    assert [charm.ref.charm_id] == bench.step()


def test_reminder_becomes_an_event_when_its_time_has_come(bench: Bench) -> None:
    """By the wall clock, behind what waits, once; that of a charm that was removed never."""
    charm, gone = bench.charm(), bench.charm()
    with bench.database.transaction():
        for one in (charm, gone):
            bench.store.reminders.put(
                one.charm_key,
                name=None,
                stream="bgUpdater",
                event=b'{"n":1}',
                remind_at=bench.clock.now() + 10,
                now=bench.clock.now(),
            )
        bench.store.charms.mark_removed(gone.charm_key, bench.clock.now())
    bench.clock.seconds += 9
    assert [] == bench.step()
    assert bench.clock.seconds + 1 == bench.supervisor.parts.reminders.next_due
    bench.clock.seconds += 1
    bench.step()
    bench.step()
    (run,) = bench.pool.out
    assert (charm.ref.charm_id, b'{"n":1}') == (run.charm_id, run.event)
    assert [None] == [bench.supervisor.parts.reminders.next_due]
    assert (0, 1) == (bench.queue.pending, bench.queue.claimed)


def test_reminder_of_a_disabled_charm_waits_as_an_event(bench: Bench) -> None:
    """It is not lost: it takes its place behind the events that wait until it is enabled."""
    charm = bench.charm()
    with bench.database.transaction():
        health = CharmHealth(disabled_by=DisabledBy.HAND)
        bench.store.health.put(charm.charm_key, health)
        now = bench.clock.now()
        bench.store.reminders.put(
            charm.charm_key, name="a", stream="bgUpdater", event=b"{}", remind_at=now, now=now
        )
    bench.step()
    assert [] == bench.step()
    assert 1 == bench.queue.waiting(charm.charm_key)
    with bench.database.transaction():
        bench.store.health.put(charm.charm_key, CharmHealth())
        bench.queue.unhold(charm.space_key, charm.charm_key, now)
    assert [charm.ref.charm_id] == bench.step()


def test_answer_of_a_withdrawn_run_is_refused(bench: Bench) -> None:
    """A run that was taken back after its worker had answered is cancelled all the same."""
    charm = bench.charm(field=FieldKind.VALUE)
    job_id = bench.put(charm)
    bench.step()
    (run,) = bench.pool.out
    bench.pool.end(run, writes={"field": b"1"})
    bench.supervisor.parts.runs.withdrawn.add(job_id)
    bench.step()
    (settled,) = bench.told
    assert RunStatus.CANCELLED == settled.decision.status
    health = bench.store.health.get(charm.charm_key)
    assert (0, 0) == (health.executions, health.consecutive_failures)
    cell = bench.store.cells.read(charm, "field")
    assert cell is not None
    assert b"0" == cell.value
    assert not bench.supervisor.parts.runs.withdrawn
