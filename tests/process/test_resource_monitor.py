"""What a run uses is watched from outside: a worker that does not stop itself is killed for it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.limits import Limits
from bg_charm_service.workers.pool.contract import Isolation, PoolLimits
from bg_charm_service.workers.pool.events import InspectFinished, PoolEvent, RunFinished
from bg_charm_service.workers.pool.pool import Pool
from bg_charm_service.workers.protocol.messages import Inspect, RunSpec
from tests.process.pools import run_with_pool

#: The longest that anything here is waited for, in seconds.
PATIENCE_SECONDS = 60.0

LIMITS = Limits(timeout_seconds=50.0)

SOURCE = """\
import ctypes, mmap, os, signal, threading, time
from bg_charm_service import Charm

class Some(Charm):
    path: str = ""

    def bg_updater(self, event: dict) -> None:
        getattr(self, event["do"])()

    def spin(self):
        # Nothing inside can stop it.
        signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
        while True:
            pass

    def burn(self):
        # Many times what the system counts in, which is 10 ms.
        while time.process_time() < 0.5:
            pass

    def share(self):
        held = mmap.mmap(-1, 200 * 1024 * 1024)
        for start in range(0, len(held), 4096):
            held[start] = 1
        time.sleep(100)

    def threads(self):
        for _ in range(40):
            threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
        time.sleep(100)

    def hidden_threads(self):
        libc = ctypes.CDLL(None)
        for _ in range(20):
            libc.pthread_create(ctypes.byref(ctypes.c_ulong()), None, libc.pause, None)

    def thread_after_thread(self):
        # Of C, with small stacks: as many as can be, as fast as can be.
        libc, attributes = ctypes.CDLL(None), ctypes.create_string_buffer(64)
        libc.pthread_attr_init(attributes)
        libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(64 * 1024))
        pause = ctypes.cast(libc.pause, ctypes.c_void_p)
        for _ in range(2000):
            libc.pthread_create(ctypes.byref(ctypes.c_ulong()), attributes, pause, None)
        time.sleep(100)

    def fill(self):
        for number in range(40):
            with open(f"{number}", "wb") as file:
                file.write(bytes(1024 * 1024))
        time.sleep(100)

    def fill_unlinked(self):
        files = []
        for number in range(40):
            files.append(open(f"{number}", "wb"))
            os.unlink(f"{number}")
            files[-1].write(bytes(1024 * 1024))
        time.sleep(100)

    def leave_file(self):
        with open("left", "w") as file:
            file.write("secret")

    def leave_tree(self):
        os.makedirs("/".join("a" * 20))

    def look(self):
        assert [] == os.listdir(), os.listdir()

    def hoard(self):
        vars(os).update(hoard=bytearray(os.urandom(1024)) * 24 * 1024)

    def print(self):
        while True:
            os.write(1, b"x" * 65536)
"""


SPIN = """
signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
while True:
    pass
"""


class Clock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    def steady(self) -> float:
        return time.monotonic()

    def awake(self) -> float:
        return self.steady()


class Bench:
    """A pool of one worker, with a scratch directory."""

    def __init__(self, scratch: Path) -> None:
        self._news = asyncio.Event()
        # Under `shared` there is none in reserve.
        isolation = Isolation.SHARED
        limits = PoolLimits(1, kill_grace_seconds=0.5, scratch_root=scratch, isolation=isolation)
        self.pool = Pool(limits, Clock(), self._news.set, lambda: 0.5)
        self.events: list[PoolEvent] = []
        self._runs = 0

    async def until(self, condition: Callable[[], object]) -> None:
        """Tick until something is true."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                self._news.clear()
                self.pool.tick()
                self.events += self.pool.collect()
                try:
                    async with asyncio.timeout(0.1):
                        await self._news.wait()
                except TimeoutError:
                    pass

    async def between_ticks(self) -> None:
        """Wait for news without a tick: what happens until then, glances have done."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self.events:
                self._news.clear()
                self.events += self.pool.collect()
                if not self.events:
                    await self._news.wait()

    async def run(self, do: str, limits: Limits = LIMITS, *, has_ticks: bool = True) -> RunFinished:
        """Let a charm do something; gives how that ended."""
        await self.until(lambda: self.pool.free_workers().count)
        self._runs += 1
        run = RunSpec(
            run_id=f"{self._runs}.1",
            job_id=1,
            attempt=1,
            space="did:key:here",
            charm_id="charm",
            source_hash="hash",
            source=SOURCE,
            file_name="some.py",
            class_name="Some",
            stream="bgUpdater",
            event=b'{"do": "%b"}' % do.encode(),
            values={"path": b'""'},
            large=(),
            links={},
            last_success=None,
            limits=limits,
        )
        assert self.pool.dispatch(1, [run])
        self.events.clear()
        await (self.until(lambda: self.events) if has_ticks else self.between_ticks())
        (end,) = self.events
        assert isinstance(end, RunFinished)
        return end

    async def death(
        self, do: str, limits: Limits = LIMITS, *, has_ticks: bool = True
    ) -> tuple[FailureCause, str]:
        """Let a charm do what it is killed for."""
        end = await self.run(do, limits, has_ticks=has_ticks)
        assert end.answer is None
        assert end.death is not None
        return end.death.cause, end.death.message


def with_pool(scratch: Path, work: Callable[[Bench], Awaitable[None]]) -> None:
    """Do something with a pool of real workers."""
    run_with_pool(lambda: Bench(scratch), work)


def test_processor_time(tmp_path: Path) -> None:
    """A run that computes on and on is killed for it, long before its time is over."""

    async def work(bench: Bench) -> None:
        cause, text = await bench.death("spin", replace(LIMITS, cpu_seconds=0.5))
        assert FailureCause.CPU is cause
        assert text.startswith("Killed for using ")
        assert text.endswith(" s of processor time; its limit is 0.5 s.")

    with_pool(tmp_path, work)


def test_processor_time_is_that_of_the_run(tmp_path: Path) -> None:
    """What earlier runs of a worker used does not count."""

    async def work(bench: Bench) -> None:
        assert (await bench.run("burn")).answer is not None
        (worker,) = bench.pool.workers
        worker.measure()
        assert worker.cpu_seconds > 0.4
        end = await bench.run("look", replace(LIMITS, cpu_seconds=0.25))
        assert end.answer is not None
        assert end.answer.failure is None
        worker.measure()
        assert worker.run_cpu_seconds < 0.25

    with_pool(tmp_path, work)


def test_shared_memory(tmp_path: Path) -> None:
    """Memory that is shared, which no limit inside counts, counts from outside."""

    async def work(bench: Bench) -> None:
        limits = replace(LIMITS, memory_bytes=128 * 1024 * 1024)
        cause, text = await bench.death("share", limits)
        assert FailureCause.MEMORY is cause
        assert text.endswith(" of memory; its limit is 128 MB.")

    with_pool(tmp_path, work)


def test_memory_that_is_left_behind(tmp_path: Path) -> None:
    """A worker in which a run left half of what it may hold makes no other run."""

    async def work(bench: Bench) -> None:
        for size, is_replaced in ((64, True), (256, False)):
            limits = replace(LIMITS, memory_bytes=size * 1024 * 1024)
            end = await bench.run("hoard", limits)
            assert end.answer is not None
            assert is_replaced == ("MB of memory" in end.answer.leak)
            after = await bench.run("look", limits)
            assert is_replaced == (end.worker_pid != after.worker_pid)

    with_pool(tmp_path, work)


def test_threads(tmp_path: Path) -> None:
    """A run with more threads than it may have is killed, and told both numbers."""

    async def work(bench: Bench) -> None:
        cause, text = await bench.death("threads", replace(LIMITS, threads=20))
        assert FailureCause.THREADS is cause
        assert text.startswith("Killed for running ")
        assert text.endswith(" threads; its limit is 20.")

    with_pool(tmp_path, work)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_whose_threads_grow_is_found_between_two_looks(tmp_path: Path) -> None:
    """Nobody has to look at the workers in turn: the machine's threads in all tell who grows."""

    async def work(bench: Bench) -> None:
        cause, _ = await bench.death("thread_after_thread", has_ticks=False)
        assert FailureCause.THREADS is cause

    with_pool(tmp_path, work)


def test_threads_that_python_does_not_see(tmp_path: Path) -> None:
    """A worker in which many threads of C are left makes no other run."""

    async def work(bench: Bench) -> None:
        end = await bench.run("hidden_threads")
        assert end.answer is not None
        assert "thread" in end.answer.leak
        first = end.worker_pid
        assert first != (await bench.run("look")).worker_pid

    with_pool(tmp_path, work)


def test_scratch(tmp_path: Path) -> None:
    """Files count together, also those that have no name any more."""

    async def work(bench: Bench) -> None:
        limits = replace(LIMITS, scratch_bytes=20 * 1024 * 1024)
        for do in ("fill", "fill_unlinked"):
            cause, text = await bench.death(do, limits)
            assert FailureCause.SCRATCH is cause
            assert "in its scratch directory" in text

    with_pool(tmp_path, work)


def test_scratch_is_empty_for_the_next_run(tmp_path: Path) -> None:
    """What a run leaves there is gone: the worker goes on, or another comes for the next."""

    async def work(bench: Bench) -> None:
        pids = []
        for do in ("leave_file", "look", "leave_tree", "look"):
            end = await bench.run(do)
            assert end.answer is not None
            assert end.answer.failure is None
            pids.append(end.worker_pid)
        assert pids[0] == pids[1] == pids[2] != pids[3]
        await bench.until(lambda: len(list(tmp_path.iterdir())) <= 1)

    with_pool(tmp_path, work)


def test_raw_output(tmp_path: Path) -> None:
    """A run that writes to its output without end is killed for it."""

    async def work(bench: Bench) -> None:
        cause, text = await bench.death("print")
        assert FailureCause.LOG is cause
        assert "a run may write 16 MB" in text

    with_pool(tmp_path, work)


def test_inspection(tmp_path: Path) -> None:
    """A source that uses too much while it is loaded is killed, and it is said for what."""

    async def work(bench: Bench) -> None:
        limits = replace(LIMITS, cpu_seconds=0.5)
        source = SOURCE + SPIN
        request = Inspect(
            request_id=1,
            source=source,
            file_name="some.py",
            class_name=None,
            values=(),
            limits=limits,
        )
        bench.pool.inspect(request)
        await bench.until(lambda: bench.events)
        (end,) = bench.events
        assert isinstance(end, InspectFinished)
        assert end.death is not None
        assert FailureCause.CPU is end.death.cause

    with_pool(tmp_path, work)
