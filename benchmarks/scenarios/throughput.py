"""Point 1: how many tasks a second, beside others that do the same on the same machine.

The contenders take turns, round after round, the build before among them. Ours has 100,000 charms
in 1,000 spaces and an interval so short that work always waits (see `saturation`); it plans and
queues that work within the measured time, while the tasks of the others are queued before.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain, zip_longest
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.contender import Contender, measure
from benchmarks.machine import sync_ms
from benchmarks.peers import all_peers
from benchmarks.peers.huey_sqlite import HueySqlite
from benchmarks.populations import Population
from benchmarks.rows import Asked, Row, compared, over_rounds
from benchmarks.sampling import Unmeasurable, wait_until_more
from benchmarks.saturation import busy_interval
from benchmarks.service_process import ServiceProcess
from benchmarks.usage import usage_of

#: What is asked for of each level, beside the build before, and what is tried first, in a second.
ASKED = {
    "shared": Asked("at least", 2.5, beside_before=True),
    "space": Asked("at least", 2.2, beside_before=True),
}
HOPED = {"shared": 12_000, "space": 8_000}

#: Beside huey, which waits for the disk with each task: on a quick disk, and on one that takes
#: longer than `SLOW_MS` for a flush.
BESIDE_HUEY, BESIDE_HUEY_ON_SLOW_DISKS, SLOW_MS = 4, 6, 0.06

#: What one round gave: figures by the names of their rows.
Round = dict[str, float]

#: What a run of ours costs, and the units.
COSTS = {"processor time of a run": "ms", "written for a run": "bytes"}

#: Of the two cores that the service is measured on, while runs wait.
BUSY = "the two cores, busy while runs wait"


class OurService:
    """A contender: this service under one level of isolation."""

    total = None

    def __init__(self, bench: Bench, level: str, intervals: dict[str, float]) -> None:
        self.name = f"{bench.build.name}, {level}"
        self.walls = ""
        self.level = level
        #: What the newest round cost: the figures by the names of their rows.
        self.costs: Round = {}
        #: In how many rounds there was a moment at which nothing waited.
        self.idle_rounds = 0
        self._waiting: list[int] = []
        self._bench = bench
        self._service: ServiceProcess | None = None
        self._population = bench.pick(Population(1000, 100), Population(100, 100))
        self._flags = ("--max-concurrent=2", f"--isolation={level}")
        #: Of each level; builds that take turns are asked for the same work.
        self._intervals = intervals

    @contextmanager
    def prepare(self, folder: Path) -> Iterator[None]:
        """Find the interval that keeps it busy; each run has a directory of its own."""
        if self.level not in self._intervals:
            self._intervals[self.level] = busy_interval(
                self._bench, self._population, self._flags, HOPED[self.level]
            )
        yield

    @contextmanager
    def run(self) -> Iterator[None]:
        """Run the service with two workers; every charm has run once, as on any later day."""
        interval = f"--interval={self._intervals[self.level]:.3f}"
        with self._bench.service(self._population, interval, *self._flags) as service:
            self._service = service
            self.walls = service.walls()
            wait_until_more(service.executions, self._population.size)
            yield

    def count(self) -> int:
        """Count the recorded runs; each came with its history in the same transaction."""
        status = self._running.status()
        self._waiting.append(int(status["jobs_pending"]))
        return int(status["executions"])

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Note what the processes use meanwhile, for each run."""
        self._waiting.clear()
        before, runs, began = usage_of([self._running.pid]), self.count(), time.monotonic()
        with self._bench.measuring(self._running):
            yield
        elapsed = time.monotonic() - began
        after, runs = usage_of([self._running.pid]), self.count() - runs
        if 0 in self._waiting:
            self.idle_rounds += 1
            self._intervals[self.level] /= 2
        used, written = COSTS
        cpu_seconds = after.cpu_seconds - before.cpu_seconds
        self.costs = {
            f"{self.name}: {BUSY}": cpu_seconds / elapsed / 2 * 100,
            f"{self.name}: {used}": cpu_seconds * 1000 / max(runs, 1),
            f"{self.name}: {written}": (after.written_bytes - before.written_bytes) / max(runs, 1),
        }

    @property
    def note(self) -> str:
        """Say it when the measured rate was the demand's, not the service's."""
        return f"{self.idle_rounds} rounds had too little work" if self.idle_rounds else ""

    @property
    def _running(self) -> ServiceProcess:
        assert self._service is not None
        return self._service


def run(bench: Bench) -> list[Row]:
    """Measure all contenders in turn, and compare."""
    intervals: dict[str, float] = {}
    ours = [OurService(bench, level, intervals) for level in ASKED]
    older = [OurService(bench.before, level, intervals) for level in ASKED] if bench.before else []
    peers, left_out = ([], []) if bench.profiler else all_peers(bench.say, is_quick=bench.is_quick)
    for reason in left_out:
        bench.say(f"  {reason}")
    rounds: list[Round] = []
    for number in range(bench.rounds):
        # Which of two builds is first changes every time.
        order = (older, ours) if number % 2 else (ours, older)
        builds = [one for one in chain(*zip_longest(*order)) if one]
        rounds.append(_round(bench, [*builds, *peers], number + 1))
    before = dict(zip_longest((one.name for one in ours), (one.name for one in older)))
    rows = [
        over_rounds(
            contender.name,
            rates,
            "/s",
            asked=ASKED[contender.level] if isinstance(contender, OurService) else None,
            before=compared(_pairs(rounds, contender.name, before.get(contender.name))),
            walls=contender.walls,
            note=contender.note,
            picture="throughput",
        )
        for contender in (*ours, *peers)
        if (rates := _values(rounds, contender.name))
    ]
    flush_ms = sync_ms(bench.folder)
    rows += [row for one in ours for row in _beside_huey(one, rounds, flush_ms)]
    rows += [row for one in ours for row in _busy(one, before[one.name], rounds)]
    rows += [row for one in ours for row in _costs(one, before[one.name], rounds)]
    return rows


def _round(bench: Bench, contenders: Sequence[Contender], number: int) -> Round:
    """Measure each once."""
    figures: Round = {}
    for contender in contenders:
        try:
            found = _measure(bench, contender)
        except Unmeasurable as error:
            bench.say(f"  round {number}, {contender.name}: {error}")
            continue
        bench.say(f"  round {number}, {contender.name}: {found:,.0f} a second")
        figures[contender.name] = found
        if isinstance(contender, OurService):
            figures |= contender.costs
    return figures


def _measure(bench: Bench, contender: Contender) -> float:
    folder = bench.folder / "contender"
    folder.mkdir()
    measuring: Callable[[], AbstractContextManager[None]] = nullcontext
    if isinstance(contender, OurService):
        measuring = contender.measuring
    try:
        return measure(contender, folder, bench.pick(8.0, 3.0), bench.pick(4.0, 1.0), measuring)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def beside_huey(flush_ms: float) -> Asked:
    """Give what is asked for beside huey on a disk whose flush takes so long."""
    return Asked("at least", BESIDE_HUEY_ON_SLOW_DISKS if flush_ms > SLOW_MS else BESIDE_HUEY)


def _beside_huey(one: OurService, rounds: Sequence[Round], flush_ms: float) -> Iterator[Row]:
    """Compare round by round: whatever else the machine does hits both alike."""
    ratios = [mine / other for mine, other in _pairs(rounds, one.name, HueySqlite.name)]
    asked = beside_huey(flush_ms) if one.level == "shared" else None
    if ratios:
        yield over_rounds(f"{one.name}, beside huey", ratios, "times", asked=asked, walls=one.walls)


def _busy(one: OurService, before: str | None, rounds: Sequence[Round]) -> Iterator[Row]:
    name = f"{one.name}: {BUSY}"
    if values := _values(rounds, name):
        pairs = _pairs(rounds, name, before and f"{before}: {BUSY}")
        yield over_rounds(name, values, "%", asked=Asked("at least", 90), before=compared(pairs))


def _costs(one: OurService, before: str | None, rounds: Sequence[Round]) -> Iterator[Row]:
    for cost, unit in COSTS.items():
        name = f"{one.name}: {cost}"
        if values := _values(rounds, name):
            pairs = _pairs(rounds, name, before and f"{before}: {cost}")
            yield over_rounds(name, values, unit, before=compared(pairs))


def _values(rounds: Sequence[Round], name: str) -> list[float]:
    return [figures[name] for figures in rounds if name in figures]


def _pairs(rounds: Sequence[Round], name: str, other: str | None) -> list[tuple[float, float]]:
    """Give both figures of the rounds that have both."""
    return [
        (figures[name], figures[other])
        for figures in rounds
        if other is not None and name in figures and other in figures
    ]
