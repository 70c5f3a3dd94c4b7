"""What is kept does not grow with time: a week of polls in a minute, under a clock set by hand.

A shortened scale: 100 charms two hours apart for the 2,000 that are polled once a minute, and ten
runs of history for the hundred. Each limit is per charm and per run, so it scales with both.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.model import Failure, FieldKind
from bg_charm_service.service.maintenance import cycle
from bg_charm_service.workers.pool.events import RunFinished
from bg_charm_service.workers.protocol.messages import Answer, RunSpec
from tests.recorded_runs import recorded_runs
from tests.soak.audit import MOST_BATCHES_OVER
from tests.unit.test_loop import Bench
from tests.unit.test_maintenance_cycle import make_cycle

CHARMS = 100
INTERVAL_SECONDS = 7200.0
HOUR, DAY = 3600.0, 86400.0

#: What the bench keeps of a charm.
HISTORY_RUNS = 10
LOG_BYTES = 16 * 1024

#: What may be kept, in bytes: of a run its log and 2 kB; of a charm 4 kB beside its runs; of the
#: queue a thousand finished jobs; and a thousand free pages that are not worth giving back.
RUN_BYTES = LOG_BYTES + 2048
DATABASE_BYTES = CHARMS * (HISTORY_RUNS * RUN_BYTES + 4096) + 1000 * 512 + 1000 * 4096

#: The log is folded into the file at 8 MB, and cut to 16 MB after a larger transaction.
WAL_BYTES = 16 * 1024 * 1024

#: What memory may grow by in six days, in bytes: the allocator's play, nothing that is kept.
MEMORY_PLAY_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Held:
    """What the process and its files take at a moment."""

    database_bytes: int
    wal_bytes: int
    memory_bytes: int
    descriptors: int
    runs: int
    jobs: int
    batches: int


class Week:
    """A supervisor with its maintenance, and a clock that jumps from one due time to the next."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.bench = bench = Bench(path, workers=CHARMS)
        self._cycle = make_cycle(bench)
        self._charms = [
            bench.charm(f"did:key:space{number % 4}", counter=FieldKind.VALUE)
            for number in range(CHARMS)
        ]
        with bench.database.transaction():
            for charm in self._charms:
                bench.store.health.set_interval(charm.charm_key, INTERVAL_SECONDS)
                bench.planner.poll_now(charm.charm_key, charm.ref.space)
        self.runs = 0
        self._tidied_at = bench.clock.seconds

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with every poll that falls due in it and a maintenance cycle an hour."""
        clock = self.bench.clock
        until = clock.seconds + seconds
        while clock.seconds < until:
            self.bench.step()
            while self.bench.pool.out:
                for run in list(self.bench.pool.out):
                    self._end(run)
                self.bench.step()
            self.bench.told.clear()
            if clock.seconds >= self._tidied_at + HOUR:
                self.tidy()
            later = (self.bench.planner.next_due, self.bench.queue.next_run_at())
            next_at = min([until, *(at for at in later if at is not None)])
            clock.seconds = max(clock.seconds, next_at)

    def tidy(self) -> None:
        """Do one maintenance cycle."""
        asyncio.run(self._cycle.run_cycle())
        self._tidied_at = self.bench.clock.seconds

    def forget_polls(self) -> None:
        """Poll no charm any more."""
        with self.bench.database.transaction():
            for charm in self._charms:
                self.bench.planner.drop(charm.charm_key)

    def held(self) -> Held:
        """Measure."""
        gc.collect()
        process = psutil.Process()
        count = self.bench.database.row
        return Held(
            self._path.stat().st_size,
            Path(f"{self._path}-wal").stat().st_size,
            process.memory_info().rss,
            len(os.listdir("/proc/self/fd")),
            sum(1 for _ in recorded_runs(self.bench.database.connection.execute)),
            count("SELECT count(*) FROM ack_queue_jobs WHERE origin <> 'batch'")[0],
            count("SELECT count(*) FROM ack_queue_jobs WHERE origin = 'batch'")[0],
        )

    def _end(self, run: RunSpec) -> None:
        """Answer a run; every seventh has failed, with as much text as there may be."""
        self.runs += 1
        answer = Answer(run.run_id, 0.001, writes={"counter": str(self.runs).encode()})
        if self.runs % 7 == 0:
            failure = Failure(FailureCause.ERROR, "it failed", "a line of a traceback\n" * 40)
            answer = Answer(run.run_id, 0.001, failure=failure)
        pool = self.bench.pool
        pool.out.remove(run)
        pool.unbound += 1
        pool.events.append(RunFinished(run, 1, "x" * LOG_BYTES, answer=answer))


@pytest.fixture
def week(tmp_path: Path) -> Iterator[Week]:
    """A week that has not begun."""
    made = Week(tmp_path / "week.db")
    yield made
    made.bench.database.close()


def test_a_week_holds_no_more_than_a_day(week: Week) -> None:
    """Database, log, memory and descriptors stay where they were after the first day."""
    week.pass_time(DAY)
    first = week.held()
    week.pass_time(6 * DAY)
    last = week.held()

    assert week.runs > CHARMS * 7 * DAY / INTERVAL_SECONDS
    assert last.runs == CHARMS * HISTORY_RUNS
    assert last.jobs <= 1000 + CHARMS
    assert last.batches <= MOST_BATCHES_OVER + CHARMS
    assert last.database_bytes <= DATABASE_BYTES
    assert max(first.wal_bytes, last.wal_bytes) <= WAL_BYTES
    assert last.memory_bytes <= first.memory_bytes + MEMORY_PLAY_BYTES
    assert last.descriptors == first.descriptors


def test_what_is_deleted_is_given_back(week: Week, monkeypatch: pytest.MonkeyPatch) -> None:
    """When runs grow old and no new ones come, the file gets smaller again, a slice a cycle.

    The newest of each charm stay, whatever their age; one of them, so that there is something to
    delete of a history as short as this.
    """
    monkeypatch.setattr(cycle, "_KEPT_RUNS", 1)
    week.pass_time(DAY)
    full = week.held()
    week.forget_polls()
    week.pass_time(2 * DAY)
    for _ in range(10):
        week.tidy()
    week.bench.database.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    empty = week.held()

    assert full.runs > CHARMS
    assert empty.runs == CHARMS
    assert empty.database_bytes < full.database_bytes - CHARMS * HISTORY_RUNS * LOG_BYTES / 2
