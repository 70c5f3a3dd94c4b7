"""Batches in real workers: whatever one run does, the others of its batch are what they were."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.limits import Limits
from bg_charm_service.workers.pool.batch_monitor import STALL_SECONDS
from bg_charm_service.workers.pool.contract import Isolation, PoolLimits
from bg_charm_service.workers.pool.events import FieldWanted, PoolEvent, RunFinished
from bg_charm_service.workers.pool.pool import Pool
from bg_charm_service.workers.protocol.messages import FieldValue, RunSpec
from tests.process.pools import run_with_pool

#: The longest that anything is waited for, in seconds.
PATIENCE_SECONDS = 60.0

LIMITS = Limits(timeout_seconds=50.0)

SOURCE = """\
import contextlib, ctypes, os, signal, socket, stat, threading, time
from bg_charm_service import Charm

KEPT = []

class Some(Charm):
    told: str = ""
    big: str = ""

    def bg_updater(self, event: dict) -> None:
        if "diary" in event:
            with open(event["diary"], "a") as diary:
                diary.write(f"{self.context.run_id}\\n")
        getattr(self, event["do"])(event)

    def well(self, event):
        assert [] == os.listdir(), os.listdir()
        assert "MARK" not in os.environ
        self.told = str(os.getpid())

    def crash(self, event):
        ctypes.string_at(0)

    def exit(self, event):
        os._exit(3)

    def hang(self, event):
        # Nothing inside can stop it.
        signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
        open("begun", "w").close()
        while True:
            time.sleep(1)

    def sleep(self, event):
        time.sleep(event["seconds"])

    def leak(self, event):
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()

    def leave_file(self, event):
        with open("left", "w") as file:
            file.write("secret")

    def leave_tree(self, event):
        os.makedirs("/".join("a" * 20))

    def change(self, event):
        os.environ["MARK"] = "1"
        os.umask(0)

    def close_files(self, event):
        import resource
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard - 1, hard - 1))

    def write(self, event):
        os.write(1, event["text"].encode())

    def print(self, event):
        print(event["text"] * event["times"])

    def fetch(self, event):
        self.told = self.big

    def answer_for_the_next(self, event):
        from bg_charm_service.workers.protocol.messages import FROM_WORKER, Answer
        answer = Answer(event["run_id"], 0.001, writes={"told": b'"forged"'})
        os.write(sockets()[0], FROM_WORKER.encode(answer))
        time.sleep(1000)

    def answer_for_all(self, event):
        from bg_charm_service.workers.protocol.messages import FROM_WORKER, Answer
        for run_id in (self.context.run_id, event["run_id"]):
            answer = Answer(run_id, 0.001, writes={"told": b'"forged"'})
            os.write(sockets()[0], FROM_WORKER.encode(answer))
        time.sleep(1000)

    def break_the_tickets(self, event):
        for fd in sockets()[1:]:
            with socket.socket(fileno=os.dup(fd)) as one, contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RD)

    def take_the_tickets(self, event):
        for fd in sockets()[1:]:
            with socket.socket(fileno=os.dup(fd)) as one, contextlib.suppress(OSError):
                one.recv(65536, socket.MSG_DONTWAIT)


def sockets():
    return [fd for fd in range(3, 64) if is_socket(fd)]


def is_socket(fd):
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False
"""


class Clock:
    """A clock that is moved by hand: on a busy machine too, nothing is late unless it is to be."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        return time.time()

    def steady(self) -> float:
        return self.seconds

    def awake(self) -> float:
        return self.steady()


class Bench:
    """A pool with scratch directories."""

    def __init__(self, scratch: Path, **limits: object) -> None:
        self._news = asyncio.Event()
        wanted = PoolLimits(max_concurrent=1, kill_grace_seconds=0.5, scratch_root=scratch)
        wanted = PoolLimits(
            **{name: getattr(wanted, name) for name in wanted.__dataclass_fields__} | limits
        )
        self.scratch = scratch
        self.clock = Clock()
        self.pool = Pool(wanted, self.clock, self._news.set, lambda: 0.5)
        self.events: list[PoolEvent] = []
        self._runs = 0

    async def until(self, condition: Callable[[], object]) -> None:
        """Tick until something is true."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                self._news.clear()
                self.pool.tick()
                for event in self.pool.collect():
                    self.events.append(event)
                    if isinstance(event, FieldWanted):
                        value = FieldValue(event.field, f'"large {event.run_id}"'.encode())
                        self.pool.give_field(event.run_id, value)
                try:
                    async with asyncio.timeout(0.05):
                        await self._news.wait()
                except TimeoutError:
                    pass

    def spec(self, do: str, limits: Limits = LIMITS, **event: object) -> RunSpec:
        """A run that does something."""
        self._runs += 1
        return RunSpec(
            run_id=f"{self._runs}.1",
            job_id=self._runs,
            attempt=1,
            space="did:key:here",
            charm_id="charm",
            source_hash="hash",
            source=SOURCE,
            file_name="some.py",
            class_name="Some",
            stream="bgUpdater",
            event=msgspec.json.encode({"do": do, **event}),
            values={"told": b'""'},
            large=("big",),
            links={},
            last_success=None,
            limits=limits,
        )

    async def begin(self, *runs: RunSpec) -> None:
        """Give out a batch once a worker is free."""
        await self.until(lambda: self.pool.free_workers().count)
        assert self.pool.dispatch(1, runs)

    async def ends(self, *runs: RunSpec) -> list[RunFinished]:
        """Wait until all runs of a batch have ended."""
        await self.until(lambda: len(self.ended(*runs)) == len(runs))
        return self.ended(*runs)

    def ended(self, *runs: RunSpec) -> list[RunFinished]:
        """The ends of runs so far, in the order of the runs."""
        ends = [event for event in self.events if isinstance(event, RunFinished)]
        return [end for run in runs for end in ends if end.run.run_id == run.run_id]

    async def made(self, *runs: RunSpec) -> list[str]:
        """Have a batch made; gives how each run ended."""
        await self.begin(*runs)
        return [how(end) for end in await self.ends(*runs)]


def how(end: RunFinished) -> str:
    """Say in a word how a run ended."""
    if end.answer is not None:
        return end.answer.failure.cause if end.answer.failure else "well"
    if end.death is not None:
        return end.death.cause
    return "cancelled" if end.is_cancelled else "back"


def with_pool(scratch: Path, work: Callable[[Bench], Awaitable[None]], **limits: object) -> None:
    """Do something with a pool of real workers."""
    run_with_pool(lambda: Bench(scratch, **limits), work)


def test_whole_batch_is_made_by_one_worker(tmp_path: Path) -> None:
    """All runs are made in one process, in their order."""

    async def work(bench: Bench) -> None:
        runs = [bench.spec("well") for _ in range(50)]
        assert ["well"] * 50 == await bench.made(*runs)
        ends = [event for event in bench.events if isinstance(event, RunFinished)]
        assert runs == [end.run for end in ends]
        assert 1 == len({end.answer.writes["told"] for end in ends if end.answer})

    with_pool(tmp_path, work)


@pytest.mark.parametrize(
    ("deed", "cause"),
    [("crash", FailureCause.SIGNAL), ("exit", FailureCause.EXIT)],
)
def test_death_in_the_middle(tmp_path: Path, deed: str, cause: FailureCause) -> None:
    """The run that takes its worker along pays, the others do not; all can be made again."""

    async def work(bench: Bench) -> None:
        runs = [bench.spec(do) for do in ("well", "well", deed, "well", "well")]
        assert ["well", "well", cause, "back", "back"] == await bench.made(*runs)
        assert ["well", "well"] == await bench.made(bench.spec("well"), bench.spec("well"))

    with_pool(tmp_path, work)


def test_hang_in_the_middle(tmp_path: Path) -> None:
    """What waits behind a run that hangs is taken back soon; the run is killed at its limit."""

    async def work(bench: Bench) -> None:
        runs = [bench.spec(do) for do in ("well", "hang", "well", "well")]
        await bench.begin(*runs)
        await bench.ends(runs[0])
        bench.clock.seconds += 1.0
        await bench.ends(*runs[2:])
        assert ["well", "back", "back"] == [how(end) for end in bench.ended(*runs)]
        bench.clock.seconds += 100.0
        assert ["well", FailureCause.TIMEOUT, "back", "back"] == [
            how(end) for end in await bench.ends(*runs)
        ]

    with_pool(tmp_path, work)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_given_back_was_never_begun(tmp_path: Path, seed: int) -> None:
    """Whatever runs do, each ends once; those that are made begin once, the others never."""
    chance = random.Random(seed)
    diary = tmp_path / "diary"
    deeds = [*("well",) * 20, "sleep", "leave_file", "write", "change"]
    endings = {"crash": FailureCause.SIGNAL, "exit": FailureCause.EXIT, "leak": "well"}

    async def work(bench: Bench) -> None:
        ended: dict[str, str] = {}
        for _ in range(40):
            chosen = chance.choices([*deeds, *endings], k=chance.randint(1, 30))
            runs = [bench.spec(deed, diary=str(diary), seconds=0.01, text="raw") for deed in chosen]
            await bench.begin(*runs)
            await asyncio.sleep(chance.choice([0, 0.001, 0.01]))
            # From here on what waits may be taken back.
            bench.clock.seconds += STALL_SECONDS + 0.05
            for deed, end in zip(chosen, await bench.ends(*runs), strict=True):
                assert how(end) in ("back", endings.get(deed, "well"))
                ended[end.run.run_id] = how(end)
        begun = diary.read_text().split()
        assert len(begun) == len(set(begun))
        assert set(begun) == {run_id for run_id, end in ended.items() if end != "back"}
        assert {"back", "well"} <= set(ended.values())

    with_pool(tmp_path / "scratch", work)


def test_limit_is_that_of_each_run(tmp_path: Path) -> None:
    """Runs that together take longer than one may are fine; one that does is stopped alone."""

    async def work(bench: Bench) -> None:
        limits = structs.replace(LIMITS, timeout_seconds=1.0)
        naps = [bench.spec("sleep", limits, seconds=0.15) for _ in range(10)]
        assert ["well"] * 10 == await bench.made(*naps)
        long = bench.spec("sleep", limits, seconds=100)
        runs = [bench.spec("well", limits), long]
        assert ["well", FailureCause.TIMEOUT] == await bench.made(*runs)

    with_pool(tmp_path, work)


@pytest.mark.parametrize("deed", ["leak", "close_files"])
def test_leak_in_the_middle(tmp_path: Path, deed: str) -> None:
    """No run begins in a worker in which something is left: they are given back."""

    async def work(bench: Bench) -> None:
        runs = [bench.spec(do) for do in ("well", deed, "well", "well")]
        assert ["well", "well", "back", "back"] == await bench.made(*runs)
        (end,) = bench.ended(runs[1])
        assert end.answer is not None
        assert end.answer.leak

    with_pool(tmp_path, work)


def test_files_and_settings_in_the_middle(tmp_path: Path) -> None:
    """The next run of the batch finds an empty directory and the settings of before."""

    async def work(bench: Bench) -> None:
        deeds = ("well", "leave_file", "well", "change", "well", "leave_file", "leave_file", "well")
        assert ["well"] * 8 == await bench.made(*map(bench.spec, deeds))

    with_pool(tmp_path, work)


def test_tree_in_the_middle(tmp_path: Path) -> None:
    """Where a directory cannot be emptied quickly, the rest of the batch is given back."""

    async def work(bench: Bench) -> None:
        deeds = ("well", "leave_tree", "well")
        assert ["well", "well", "back"] == await bench.made(*map(bench.spec, deeds))
        assert ["well"] == await bench.made(bench.spec("well"))

    with_pool(tmp_path, work)


def test_output_belongs_to_who_wrote_it(tmp_path: Path) -> None:
    """What goes past Python into the pipe is in the log of its own run, run after run."""

    async def work(bench: Bench) -> None:
        texts = [f"run {number} says\n" if number % 3 else "" for number in range(60)]
        runs = [bench.spec("write", text=text) for text in texts]
        assert ["well"] * 60 == await bench.made(*runs)
        assert texts == [end.log for end in bench.ended(*runs)]

    with_pool(tmp_path, work)


def test_output_larger_than_a_pipe(tmp_path: Path) -> None:
    """A run that waits for its output to be read is no reason to lose any of it."""

    async def work(bench: Bench) -> None:
        text = "x" * 200_000
        limits = structs.replace(LIMITS, log_bytes=len(text))
        runs = [bench.spec("write", limits, text="a"), bench.spec("write", limits, text=text)]
        runs.append(bench.spec("write", limits, text="b"))
        await bench.begin(*runs)
        await bench.ends(runs[0])
        bench.clock.seconds += 1.0
        ends = await bench.ends(*runs)
        assert ["a", text, ""] == [end.log for end in ends]
        assert ["well", "well", "back"] == [how(end) for end in ends]

    with_pool(tmp_path, work)


def test_log_limit_is_that_of_each_run(tmp_path: Path) -> None:
    """A run that logs too much loses the rest of its own log only."""

    async def work(bench: Bench) -> None:
        limits = structs.replace(LIMITS, log_bytes=1000)
        runs = [
            bench.spec("print", limits, text=str(number), times=900 if number % 2 else 5000)
            for number in range(6)
        ]
        assert ["well"] * 6 == await bench.made(*runs)
        for number, end in enumerate(bench.ended(*runs)):
            assert end.log.startswith(str(number) * 900)
            assert ("dropped" in end.log) == (number % 2 == 0)
            assert len(end.log) < 1100

    with_pool(tmp_path, work)


def test_large_fields_in_the_middle(tmp_path: Path) -> None:
    """A run that fetches a field gets its own, though other runs lie in the way."""

    async def work(bench: Bench) -> None:
        runs = [bench.spec("fetch" if number % 2 else "well") for number in range(20)]
        assert ["well"] * 20 == await bench.made(*runs)
        for number, end in enumerate(bench.ended(*runs)):
            assert end.answer is not None
            if number % 2:
                assert f'"large {end.run.run_id}"'.encode() == end.answer.writes["told"]

    with_pool(tmp_path, work)


def test_cancelled_in_the_middle(tmp_path: Path) -> None:
    """A run that waits behind another is cancelled without harm to any of the others."""

    async def work(bench: Bench) -> None:
        runs = [bench.spec("sleep", seconds=0.1), *(bench.spec("well") for _ in range(3))]
        await bench.begin(*runs)
        assert bench.pool.cancel(runs[2].run_id)
        ends = await bench.ends(*runs)
        assert ["well", "well", "cancelled", "well"] == [how(end) for end in ends]
        assert 1 == len({end.worker_pid for end in ends if end.answer})

    with_pool(tmp_path, work)


def test_cancelled_while_the_batch_waits(tmp_path: Path) -> None:
    """Where the run that brought the source is cancelled, the next one with that source has it."""

    async def work(bench: Bench) -> None:
        assert ["well"] == await bench.made(bench.spec("well"))
        walls = structs.replace(LIMITS, ports=(443,))
        first, *others = (bench.spec("well", walls) for _ in range(3))
        batch = [first, *(structs.replace(run, source=None) for run in others)]
        assert bench.pool.dispatch(1, batch)
        assert bench.pool.cancel(first.run_id)
        assert ["cancelled", "well", "well"] == [how(end) for end in await bench.ends(*batch)]

    with_pool(tmp_path, work, isolation=Isolation.SHARED)


def test_cancelled_while_it_runs(tmp_path: Path) -> None:
    """A run under way is stopped with its worker, and the others of its batch are given back."""

    async def work(bench: Bench) -> None:
        runs = [bench.spec("hang"), bench.spec("well")]
        await bench.begin(*runs)
        await bench.until(lambda: list(bench.scratch.glob("*/begun")))
        assert bench.pool.cancel(runs[0].run_id)
        assert ["cancelled", "back"] == [how(end) for end in await bench.ends(*runs)]

    with_pool(tmp_path, work)


def test_answer_for_the_next_run(tmp_path: Path) -> None:
    """A charm that answers for the run behind it pays for that itself, and is not believed."""

    async def work(bench: Bench) -> None:
        victim = bench.spec("well")
        forger = bench.spec("answer_for_the_next", run_id=victim.run_id)
        assert [FailureCause.PROTOCOL, "back"] == await bench.made(forger, victim)

    with_pool(tmp_path, work)


def test_answer_for_itself_and_the_next_run(tmp_path: Path) -> None:
    """One interpreter is one trust: such an answer cannot be told from a true one."""

    async def work(bench: Bench) -> None:
        victim = bench.spec("well")
        forger = bench.spec("answer_for_all", run_id=victim.run_id)
        assert ["well", "well"] == await bench.made(forger, victim)

    with_pool(tmp_path, work)


def test_answer_for_the_next_run_under_run(tmp_path: Path) -> None:
    """Where each run has a process of its own, nobody can answer for another one."""

    async def work(bench: Bench) -> None:
        victim = bench.spec("well")
        forger = bench.spec("answer_for_all", run_id=victim.run_id)
        ends = await bench.made(forger, victim)
        assert "back" == ends[1]
        assert ["well"] == await bench.made(bench.spec("well"))

    with_pool(tmp_path, work, isolation=Isolation.RUN)


def test_tickets_of_others_taken(tmp_path: Path) -> None:
    """A charm that takes what lets the others begin holds them up, for one run's time at most."""

    async def work(bench: Bench) -> None:
        runs = [bench.spec(do) for do in ("take_the_tickets", "well", "well")]
        await bench.begin(*runs)
        await bench.ends(runs[0])
        bench.clock.seconds += 100.0
        assert ["well", FailureCause.TIMEOUT, "back"] == [
            how(end) for end in await bench.ends(*runs)
        ]
        assert ["well"] == await bench.made(bench.spec("well"))

    with_pool(tmp_path, work)


def test_tickets_broken(tmp_path: Path) -> None:
    """A worker whose box of tickets is broken ends, and the runs behind are given back."""

    async def work(bench: Bench) -> None:
        runs = [bench.spec(do) for do in ("break_the_tickets", "well", "well")]
        made = await bench.made(*runs)
        # What was in the box already may still be taken.
        assert made in (["well", *behind] for behind in (["well"] * 2, ["back"] * 2))
        pid = bench.ended(runs[0])[0].worker_pid
        await bench.until(lambda: pid not in [worker.pid for worker in bench.pool.workers])
        assert ["well"] == await bench.made(bench.spec("well"))

    with_pool(tmp_path, work)
