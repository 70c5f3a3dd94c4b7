"""Point 1: how many tasks a second, beside others that do the same on the same machine.

The contenders take turns, round after round. Ours has 100,000 charms in 1,000 spaces and an
interval so short that work always waits (see `saturation`); it plans and queues that work within
the measured time, while the tasks of the others are queued before.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.contender import Contender, measure
from benchmarks.peers import all_peers
from benchmarks.peers.huey_sqlite import HueySqlite
from benchmarks.populations import Population
from benchmarks.rows import Asked, Row, over_rounds
from benchmarks.sampling import Unmeasurable, wait_until_more
from benchmarks.saturation import busy_interval
from benchmarks.service_process import ServiceProcess
from benchmarks.usage import usage_of

ASKED = {"shared": Asked("at least", 12_000), "space": Asked("at least", 8_000)}


class OurService:
    """A contender: this service under one level of isolation."""

    total = None

    def __init__(self, bench: Bench, level: str) -> None:
        self.name = f"this service, {level}"
        self.walls = ""
        self.level = level
        self.cpu_ms: list[float] = []
        self.written_bytes: list[float] = []
        #: In how many rounds there was a moment at which nothing waited.
        self.idle_rounds = 0
        self._waiting: list[int] = []
        self._bench = bench
        self._service: ServiceProcess | None = None
        self._population = bench.pick(Population(1000, 100), Population(100, 100))
        self._flags = ("--max-concurrent=2", f"--isolation={level}")
        self._interval_seconds = 0.0

    @contextmanager
    def prepare(self, folder: Path) -> Iterator[None]:
        """Find the interval that keeps it busy; each run has a directory of its own."""
        if not self._interval_seconds:
            self._interval_seconds = busy_interval(
                self._bench, self._population, self._flags, ASKED[self.level].value
            )
        yield

    @contextmanager
    def run(self) -> Iterator[None]:
        """Run the service with two workers; every charm has run once, as on any later day."""
        interval = f"--interval={self._interval_seconds:.3f}"
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
        before, runs = usage_of([self._running.pid]), self.count()
        with self._bench.measuring(self._running):
            yield
        after, runs = usage_of([self._running.pid]), self.count() - runs
        if 0 in self._waiting:
            self.idle_rounds += 1
            self._interval_seconds /= 2
        self.cpu_ms.append((after.cpu_seconds - before.cpu_seconds) * 1000 / max(runs, 1))
        self.written_bytes.append((after.written_bytes - before.written_bytes) / max(runs, 1))

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
    ours = [OurService(bench, level) for level in ASKED]
    peers, left_out = ([], []) if bench.profiler else all_peers(is_quick=bench.is_quick)
    for reason in left_out:
        bench.say(f"  {reason}")
    contenders: list[Contender] = [*ours, *peers]
    rates: dict[str, list[float]] = {}
    for number in range(bench.rounds):
        for contender in contenders:
            try:
                found = _measure(bench, contender)
            except Unmeasurable as error:
                bench.say(f"  round {number + 1}, {contender.name}: {error}")
                continue
            bench.say(f"  round {number + 1}, {contender.name}: {found:,.0f} a second")
            rates.setdefault(contender.name, []).append(found)
    rows = [
        over_rounds(
            contender.name,
            rates[contender.name],
            "/s",
            asked=ASKED[contender.level] if isinstance(contender, OurService) else None,
            walls=contender.walls,
            note=contender.note,
            picture="throughput",
        )
        for contender in contenders
        if contender.name in rates
    ]
    rows += [_ratio(one, rates) for one in ours if HueySqlite.name in rates]
    rows += [row for one in ours for row in _costs(one)]
    return rows


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


def _ratio(one: OurService, rates: dict[str, list[float]]) -> Row:
    """Compare round by round: whatever else the machine does hits both alike."""
    pairs = zip(rates[one.name], rates[HueySqlite.name], strict=False)
    ratios = [mine / other for mine, other in pairs]
    asked = Asked("at least", 4) if one.level == "shared" else None
    return over_rounds(f"{one.name}, beside huey", ratios, "times", asked=asked, walls=one.walls)


def _costs(one: OurService) -> list[Row]:
    return [
        over_rounds(f"{one.name}: processor time of a run", one.cpu_ms, "ms"),
        over_rounds(f"{one.name}: written for a run", one.written_bytes, "bytes"),
    ]
