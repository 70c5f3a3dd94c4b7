"""What a run may use: read from outside, and named when it is too much."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from bg_charm_service.domain.limits import Limits
from bg_charm_service.workers.pool.contract import PoolLimits
from bg_charm_service.workers.pool.process_usage import (
    Processes,
    Totals,
    Usage,
    read_cpu_seconds,
    read_totals,
    read_usage,
)
from bg_charm_service.workers.pool.resource_monitor import (
    ALERT_SECONDS,
    LESS_MEMORY_BYTES,
    LESS_ROOM_BYTES,
    LONGEST_PAUSE_SECONDS,
    MORE_THREADS,
    MOST_MEASUREMENTS_A_SECOND,
    ResourceMonitor,
    excess,
)
from bg_charm_service.workers.pool.scratch.directory import ScratchRoot
from bg_charm_service.workers.pool.scratch.usage import ScratchUsage
from bg_charm_service.workers.pool.worker_process import (
    FIRST_EXACT_SECONDS,
    FIRST_LOOK_SECONDS,
    Ending,
    WorkerProcess,
    WorkerState,
)

MEGABYTE = 1024 * 1024
LIMITS = Limits(memory_bytes=64 * MEGABYTE, threads=8, cpu_seconds=2.0)


@pytest.mark.parametrize(
    ("usage", "cpu_seconds", "expected"),
    [
        (Usage(64 * MEGABYTE, 8), 2.5, None),
        (
            Usage(65 * MEGABYTE, 1),
            0.0,
            (Ending.MEMORY, "using 65 MB of memory; its limit is 64 MB"),
        ),
        (Usage(0, 9), 0.0, (Ending.THREADS, "running 9 threads; its limit is 8")),
        (
            Usage(0, 1),
            2.51,
            (Ending.CPU, "using 2.5 s of processor time; its limit is 2 s"),
        ),
    ],
    ids=["all at their limits", "memory", "threads", "processor time"],
)
def test_excess_is_named_with_both_numbers(
    usage: Usage, cpu_seconds: float, expected: tuple[Ending, str] | None
) -> None:
    """A run is told what it used and what it may use; it has half a second to stop by itself."""
    assert expected == excess(usage, cpu_seconds, LIMITS, grace_seconds=0.5)


def test_usage_is_that_of_the_process() -> None:
    """Threads, processor time and memory are read as the system knows them."""
    before = read_usage(os.getpid())
    assert before is not None
    held, over = bytearray(os.urandom(1024)) * 64 * 1024, threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    after = read_usage(os.getpid())
    over.set()
    thread.join()
    assert after is not None
    assert before.threads + 1 == after.threads
    assert after.memory_bytes - before.memory_bytes > len(held) * 0.9
    assert 0 < before.cpu_seconds <= after.cpu_seconds
    assert after.memory_bytes <= psutil.Process().memory_info().rss * 1.1


def test_totals_are_those_of_the_machine(tmp_path: Path) -> None:
    """Threads of all processes, and the room where a directory lies; what is unknown is 0."""
    disk = os.statvfs(tmp_path)
    most = disk.f_blocks * disk.f_frsize
    assert 0 < read_totals(tmp_path).free_bytes <= most
    assert 0 == read_totals(None).free_bytes == read_totals(tmp_path / "none").free_bytes
    if sys.platform == "linux":
        assert psutil.Process().num_threads() < read_totals(None).threads


def test_process_that_is_gone_uses_nothing() -> None:
    """A process that ended, waited for or not, is no error."""
    with subprocess.Popen(["/bin/true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        zombie = read_usage(process.pid)
        assert zombie is not None
        assert 0 == zombie.memory_bytes
    assert read_usage(process.pid) is None
    assert 0.0 == read_cpu_seconds(process.pid)


def told(process: subprocess.Popen[bytes], word: bytes) -> Usage:
    """Let a program do something and wait again; gives what it uses then."""
    assert process.stdin is not None
    process.stdin.write(word + b"\n")
    process.stdin.flush()
    return waiting(process)


def waiting(process: subprocess.Popen[bytes]) -> Usage:
    """Read what a program uses once it has answered, and waits for the next word."""
    assert process.stdout is not None
    assert b"done\n" == process.stdout.readline()
    # It has answered a moment before it waits.
    while psutil.Process(process.pid).status() != psutil.STATUS_SLEEPING:
        pass
    usage = read_usage(process.pid)
    assert usage is not None
    return usage


WAITER = """
import subprocess, sys, threading, time
print("done", flush=True)
for word in sys.stdin:
    if word == "thread\\n":
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    if word == "child\\n":
        subprocess.Popen(["/bin/sleep", "600"], stdin=subprocess.DEVNULL)
    print("done", flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_process_that_waits_stands_still() -> None:
    """One that has not run since is known to be as it was; threads and children may have run."""
    processes = Processes()
    command = [sys.executable, "-c", WAITER]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        first = waiting(process)
        again = read_usage(process.pid)
        assert again is not None
        assert processes.stands_still(process.pid, again, first)
        woken = told(process, b"nothing")
        assert not processes.stands_still(process.pid, woken, first)
        with_child = told(process, b"child")
        assert not processes.stands_still(process.pid, with_child, with_child)
        processes.end_group(process.pid)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        waiting(process)
        with_thread = told(process, b"thread")
        assert not processes.stands_still(process.pid, with_thread, with_thread)
        processes.end_group(process.pid)
    assert not Usage(threads=1).is_still(Usage(threads=1))


class Clock:
    """Time that a test sets."""

    seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def steady(self) -> float:
        return self.seconds

    def awake(self) -> float:
        return self.steady()


class FakeProcesses(Processes):
    """What a test says that a process uses, by its number; counts how often each was asked for."""

    def __init__(self) -> None:
        self.uses: dict[int, Usage] = {}
        self.readings: Counter[int] = Counter()
        self.exact_readings: Counter[int] = Counter()

    def usage(self, pid: int) -> Usage | None:
        self.readings[pid] += 1
        return self.uses.get(pid, Usage(MEGABYTE, 1, 0.0, 7))

    def stands_still(self, pid: int, now: Usage, before: Usage) -> bool:
        return now.is_still(before)

    def own_bytes(self, pid: int) -> int:
        self.exact_readings[pid] += 1
        return 0


class CountingScratch(ScratchRoot):
    """Remembers whose files were counted, and whether the hidden ones too."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.counted: list[tuple[int, bool]] = []
        self.used = ScratchUsage(0)
        #: Called at each counting, which may take its time.
        self.on_counting: Callable[[], None] = lambda: None

    def measure(
        self, worker_no: int, pid: int, limit_bytes: int, *, with_hidden: bool = True
    ) -> ScratchUsage:
        self.counted.append((worker_no, with_hidden))
        self.on_counting()
        return self.used


#: What a machine has on which nothing happens.
CALM = Totals(threads=200, free_bytes=1 << 40, unused_bytes=1 << 40)


class Watched:
    """Workers without processes, and what measures them."""

    def __init__(self, path: Path, count: int) -> None:
        self.clock, self.processes = Clock(), FakeProcesses()
        self.scratch = CountingScratch(path)
        limits = PoolLimits()
        self.totals = CALM
        self._monitor = ResourceMonitor(limits, self.clock, self.scratch, lambda: self.totals)
        self.workers = [
            WorkerProcess(number, 0.0, self.processes) for number in range(1, count + 1)
        ]
        for worker in self.workers:
            worker.pid, worker.state = worker.worker_no, WorkerState.BUSY

    def look(self, seconds: float) -> None:
        """Let the monitor look for so long, a hundred times a second."""
        for _ in range(round(seconds * 100)):
            self.clock.seconds += 0.01
            assert [] == self._monitor.check(self.workers)

    def glance(self, seconds: float = 0.025) -> list[Ending | None]:
        """Glance forty times a second for so long; gives what for workers are to be ended."""
        endings = []
        for _ in range(round(seconds * 40)):
            self.clock.seconds += 0.025
            endings += [verdict.ending for verdict in self._monitor.glance(self.workers)]
        return endings

    def measured(self, seconds: float) -> int:
        """Glance for so long, and count how often a worker was measured."""
        self.processes.readings.clear()
        self.glance(seconds)
        return self.processes.readings.total()

    def grow(self, *, threads: int = 0, file_bytes: int = 0, memory_bytes: int = 0) -> None:
        """Let the machine have more threads, and less room on the disk and in memory."""
        have = self.totals
        self.totals = Totals(
            have.threads + threads, have.free_bytes - file_bytes, have.unused_bytes - memory_bytes
        )

    @property
    def next_glance_seconds(self) -> float:
        """When it wants to glance next."""
        return self._monitor.next_glance_seconds

    def be_alert(self) -> None:
        """Say that a run begins."""
        self._monitor.be_alert()

    def hurry(self) -> None:
        """Ask for a look at everybody."""
        self._monitor.hurry(self.workers)

    def close(self) -> None:
        """Close the workers' ends."""
        for worker in self.workers:
            worker.close()


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[[int], Watched]]:
    """Measure so many workers."""
    made: list[Watched] = []

    def make(count: int) -> Watched:
        made.append(Watched(tmp_path, count))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_run_that_waits_is_counted_once(watch: Callable[[int], Watched]) -> None:
    """Scratch files are counted again only of a worker that may have made some since."""
    bench = watch(1)
    bench.look(10.0)
    assert [(1, True)] == bench.scratch.counted
    bench.processes.uses[1] = Usage(MEGABYTE, 1, 0.0, 8)
    bench.look(10.0)
    assert [(1, True)] * 2 == bench.scratch.counted


def test_hidden_files_are_looked_for_more_seldom(watch: Callable[[int], Watched]) -> None:
    """Those of a worker that goes on and on are looked for every two seconds."""
    bench = watch(1)
    for second in range(10):
        bench.processes.uses[1] = Usage(MEGABYTE, 1, float(second), second)
        bench.look(1.0)
    assert 5 == bench.scratch.counted.count((1, True))
    assert len(bench.scratch.counted) > 5


@pytest.mark.parametrize(("count", "least", "most"), [(5, 35, 40), (400, 9, 10)])
def test_looking_costs_no_more_with_many_workers(
    watch: Callable[[int], Watched], count: int, least: int, most: int
) -> None:
    """Each worker is looked at four times a second, of very many each more seldom, and in turn."""
    bench = watch(count)
    bench.look(1.0)
    bench.processes.readings.clear()
    bench.look(10.0)
    readings = [bench.processes.readings[worker.pid] for worker in bench.workers]
    # Exact ones come on top, every quarter of a minute.
    assert least <= min(readings)
    assert max(readings) <= most + 1


def test_what_takes_long_is_made_a_few_at_a_time(watch: Callable[[int], Watched]) -> None:
    """Exact memory is read of all, in the end, but of five in one go at most."""
    bench = watch(12)
    bench.look(FIRST_EXACT_SECONDS - 0.1)
    assert 0 == bench.processes.exact_readings.total()
    bench.clock.seconds += 0.1
    for done in (5, 10, 12, 12):
        bench.look(0.01)
        assert done == bench.processes.exact_readings.total()
    bench.look(16.0)
    assert 24 == bench.processes.exact_readings.total()


def test_a_worker_that_lives_for_a_moment_costs_no_look(watch: Callable[[int], Watched]) -> None:
    """New workers are looked at like those that were looked at when they started."""
    bench = watch(3)
    bench.look(FIRST_LOOK_SECONDS - 0.01)
    assert 0 == bench.processes.readings.total() == bench.processes.exact_readings.total()
    bench.look(0.02)
    assert 3 == bench.processes.readings.total()


def test_a_glance_measures_nobody_where_nothing_grows(watch: Callable[[int], Watched]) -> None:
    """Some threads and some megabytes more are no reason to look at anybody."""
    bench = watch(5)
    bench.look(1.0)
    bench.grow(threads=MORE_THREADS - 1, file_bytes=LESS_ROOM_BYTES - 1)
    assert 0 == bench.measured(10.0)
    # What went back does not count with what comes then.
    bench.totals = CALM
    bench.glance()
    bench.grow(threads=MORE_THREADS - 1, file_bytes=LESS_ROOM_BYTES - 1)
    assert 0 == bench.measured(10.0)


def test_threads_are_found_at_once(watch: Callable[[int], Watched]) -> None:
    """Many threads more on the machine: whose they are is found at the next glance."""
    bench = watch(5)
    bench.look(1.0)
    assert [] == bench.glance()
    bench.processes.uses[3] = Usage(MEGABYTE, 65)
    bench.grow(threads=MORE_THREADS)
    bench.processes.readings.clear()
    assert [Ending.THREADS] == bench.glance()
    assert 5 == bench.processes.readings.total()
    # It was looked into: who stays as he is is not looked at again.
    bench.workers.pop(2).close()
    assert 0 == bench.measured(10.0)


def test_memory_is_found_at_once(watch: Callable[[int], Watched]) -> None:
    """Much less unused memory on the machine: who took it is found at the next glance."""
    bench = watch(5)
    bench.look(1.0)
    bench.grow(memory_bytes=LESS_MEMORY_BYTES - 1)
    assert 0 == bench.measured(1.0)
    bench.processes.uses[3] = Usage(513 * MEGABYTE, 1)
    bench.grow(memory_bytes=1)
    assert [Ending.MEMORY] == bench.glance()


def test_whose_memory_grows_is_looked_at_often(watch: Callable[[int], Watched]) -> None:
    """A run with more memory than at the last look is looked at again and again, alone."""
    bench = watch(5)
    bench.look(1.0)
    bench.processes.uses[2] = Usage(5 * MEGABYTE, 1)
    bench.look(0.25)
    bench.processes.readings.clear()
    for megabytes in range(9, 513, 4):
        bench.processes.uses[2] = Usage(megabytes * MEGABYTE, 1)
        assert [] == bench.glance()
    assert Counter({2: 126}) == bench.processes.readings
    bench.processes.uses[2] = Usage(513 * MEGABYTE, 1)
    assert [Ending.MEMORY] == bench.glance()
    bench.processes.uses[2] = Usage(512 * MEGABYTE, 1)
    bench.glance()
    assert 0 == bench.measured(1.0)


def test_whose_threads_grow_is_looked_at_often(watch: Callable[[int], Watched]) -> None:
    """A run with more threads than at the last look is looked at again and again, alone."""
    bench = watch(5)
    bench.look(1.0)
    bench.processes.uses[2] = Usage(MEGABYTE, 2)
    bench.look(0.25)
    bench.processes.readings.clear()
    for threads in range(3, 65):
        bench.processes.uses[2] = Usage(MEGABYTE, threads)
        assert [] == bench.glance()
    assert Counter({2: 62}) == bench.processes.readings
    bench.processes.uses[2] = Usage(MEGABYTE, 65)
    assert [Ending.THREADS] == bench.glance()
    bench.processes.uses[2] = Usage(MEGABYTE, 64)
    bench.glance()
    assert 0 == bench.measured(1.0)


@pytest.mark.parametrize("count", [1, 5, 100, 400])
def test_glances_cost_no_more_with_many_workers(
    watch: Callable[[int], Watched], count: int
) -> None:
    """However much grows, no more is looked at in a second than usual; each comes to its turn."""
    bench = watch(count)
    bench.look(1.0)
    bench.processes.readings.clear()
    for _ in range(400):
        bench.grow(threads=MORE_THREADS, file_bytes=LESS_ROOM_BYTES)
        bench.glance()
    readings = [bench.processes.readings[worker.pid] for worker in bench.workers]
    assert sum(readings) <= 10 * MOST_MEASUREMENTS_A_SECOND
    assert min(readings) >= min(400, 8 * MOST_MEASUREMENTS_A_SECOND // count)


def test_files_are_counted_when_the_room_shrinks(watch: Callable[[int], Watched]) -> None:
    """Much less room on the disk: all files are counted, whatever pause was meant to be made."""
    bench = watch(5)

    def take_long() -> None:
        bench.clock.seconds += 0.04

    bench.scratch.on_counting = take_long
    bench.look(0.02)
    bench.look(0.02)
    bench.scratch.counted.clear()
    assert [] == bench.glance()
    bench.processes.uses |= {pid: Usage(MEGABYTE, 1, 0.1, 8) for pid in range(1, 6)}
    bench.grow(file_bytes=LESS_ROOM_BYTES)
    bench.scratch.used = ScratchUsage(0, "too much")
    assert [Ending.SCRATCH] * 5 == bench.glance()
    assert 5 == len(bench.scratch.counted)
    # Four times as long as that took it is not done again: 5 times 40 ms.
    bench.processes.uses |= {pid: Usage(MEGABYTE, 1, 0.2, 9) for pid in range(1, 6)}
    bench.grow(file_bytes=LESS_ROOM_BYTES)
    bench.glance(0.775)
    assert 5 == len(bench.scratch.counted)
    bench.glance(0.05)
    assert 10 == len(bench.scratch.counted)


def test_the_pause_between_countings_is_bounded(watch: Callable[[int], Watched]) -> None:
    """Files of which counting takes long are counted again after a second, not after twenty."""
    bench = watch(1)

    def take_long() -> None:
        bench.clock.seconds += 1.0

    bench.scratch.on_counting = take_long
    bench.look(0.01)
    bench.scratch.counted.clear()
    for number in range(5):
        bench.processes.uses[1] = Usage(MEGABYTE, 1, float(number), number)
        bench.look(LONGEST_PAUSE_SECONDS + 0.25)
        assert number + 1 == len(bench.scratch.counted)


def test_glances_are_paused_where_they_take_long(watch: Callable[[int], Watched]) -> None:
    """A disk that is slow to tell its room is asked more seldom, but once a second."""
    bench = watch(1)

    def read_slowly(seconds: float) -> Totals:
        bench.clock.seconds += seconds
        return CALM

    for seconds, pause in ((0.0, 0.02), (0.01, 0.2), (3.0, LONGEST_PAUSE_SECONDS)):
        read = partial(read_slowly, seconds)
        monitor = ResourceMonitor(PoolLimits(), bench.clock, None, read)
        monitor.be_alert()
        monitor.glance(bench.workers)
        assert pause == pytest.approx(monitor.next_glance_seconds)


def test_a_look_at_everybody_can_be_asked_for(watch: Callable[[int], Watched]) -> None:
    """When the disk is full, the next check measures all workers with their files."""
    bench = watch(5)
    bench.look(0.02)
    bench.processes.uses |= {pid: Usage(MEGABYTE, 1, 0.1, 8) for pid in range(1, 6)}
    bench.scratch.counted.clear()
    bench.look(0.02)
    assert [] == bench.scratch.counted
    bench.hurry()
    bench.look(0.01)
    assert 5 == len(bench.scratch.counted)


def test_glances_are_slower_where_nothing_happens(watch: Callable[[int], Watched]) -> None:
    """Runs that wait cost little waking up; when something grows, glances follow quickly again."""
    bench = watch(5)
    bench.look(1.0)
    paces = []

    def note_pace() -> None:
        bench.glance()
        paces.append(round(bench.next_glance_seconds, 3))

    note_pace()
    bench.grow(threads=MORE_THREADS)
    note_pace()
    bench.glance(2 * ALERT_SECONDS)
    note_pace()
    bench.processes.uses[2] = Usage(MEGABYTE, 2)
    bench.look(0.25)
    note_pace()
    bench.glance(2 * ALERT_SECONDS)
    bench.be_alert()
    note_pace()
    assert [0.05, 0.02, 0.05, 0.02, 0.02] == paces
