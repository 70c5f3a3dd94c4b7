"""Which runs go to a worker together, and that they are settled as if each were alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from bg_charm_service.domain.limits import LimitChanges
from bg_charm_service.domain.model import FieldKind
from bg_charm_service.storage.records import CharmRecord
from bg_charm_service.supervisor import batch_policy as batching
from bg_charm_service.supervisor.fair_share import Caps
from tests.unit.test_loop import Bench, logged

SHORT, LONG = 0.001, 0.5
SPACE = "did:key:here"


class Round:
    """A bench on which every charm has had its first run."""

    def __init__(
        self, path: Path, count: int, *, seconds: float = SHORT, caps: Caps | None = None
    ) -> None:
        self.bench = Bench(path, workers=2, caps=caps)
        self.charms = [self.bench.charm(counter=FieldKind.VALUE) for _ in range(count)]
        self.poll(seconds)

    def poll(self, seconds: float = SHORT, *, writes: bool = True) -> list[int]:
        """Poll every charm once; gives how many runs each worker got at once."""
        bench, sizes = self.bench, []
        for charm in self.charms:
            bench.put(charm)
        while bench.step():
            sizes += [len(batch) for batch in bench.pool.batches]
            for run in list(bench.pool.out):
                written = {"counter": b"%d" % (int(run.values["counter"]) + 1)} if writes else {}
                bench.pool.end(run, seconds=seconds, writes=written)
        return sizes

    def counters(self) -> list[bytes | None]:
        """The counters of all charms."""
        cells = [self.bench.store.cells.read(charm, "counter") for charm in self.charms]
        return [cell.value if cell else None for cell in cells]

    def successes(self) -> list[int]:
        """How many successes each charm had."""
        keys = [charm.charm_key for charm in self.charms]
        return [self.bench.store.health.get(key).successes for key in keys]


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """The place of a database; the benches on it are closed after the test."""
    yield tmp_path / "test.db"
    Bench.close_all()


def test_short_runs_go_to_one_worker(path: Path) -> None:
    """Charms of a space that are known to be quick are made by one worker in one go."""
    done = Round(path, 30)
    assert [30] == done.poll()
    assert [b"2"] * 30 == done.counters()
    assert [2] * 30 == done.successes()


def test_first_runs_go_by_their_source(path: Path) -> None:
    """A charm that has not run yet is taken for as quick as others of its source."""
    bench = Bench(path, workers=1)
    for _ in range(10):
        bench.put(bench.charm())
    for _ in range(2):
        assert 1 == len(bench.step())
        bench.pool.end(bench.pool.out[0], seconds=SHORT)
    assert 8 == len(bench.step())


def test_batch_is_bounded_by_count(path: Path) -> None:
    """No worker gets more than so many runs at once."""
    done = Round(path, batching.MOST_RUNS + 10, seconds=0.0001)
    assert [batching.MOST_RUNS, 10] == done.poll()


def test_batch_is_bounded_by_time(path: Path) -> None:
    """No worker gets more than it can make in a short time, going by earlier runs."""
    done = Round(path, 30, seconds=batching.MOST_SECONDS / 10)
    sizes = done.poll()
    assert sum(sizes) == 30
    assert max(sizes) <= 10


def test_batch_is_bounded_by_size(path: Path) -> None:
    """No worker gets more values at once than fit into memory with ease."""
    done = Round(path, 40)
    value = b'"' + b"x" * 60_000 + b'"'
    with done.bench.database.transaction():
        for charm in done.charms:
            done.bench.store.cells.write(charm, "counter", value)
    sizes = done.poll(writes=False)
    assert sum(sizes) == 40
    assert max(sizes) <= batching.MOST_BYTES // 60_000 + 1


def _is_slow(done: Round, charm: CharmRecord) -> None:
    store = done.bench.store
    health = store.health.get(charm.charm_key)
    assert health.last_ms < 500
    store.health.put(charm.charm_key, replace(health, last_ms=500.0))


def _failed(done: Round, charm: CharmRecord) -> None:
    store = done.bench.store
    health = store.health.get(charm.charm_key)
    failed = replace(health, last_error_at=health.last_success + 1)
    store.health.put(charm.charm_key, failed)


def _has_other_walls(done: Round, charm: CharmRecord) -> None:
    changes = LimitChanges(memory_bytes=64 * 1024 * 1024)
    done.bench.store.limits.put_charm(charm.charm_key, changes)


@pytest.mark.parametrize("make_unusual", [_is_slow, _failed, _has_other_walls])
def test_unusual_charm_runs_alone(
    path: Path, make_unusual: Callable[[Round, CharmRecord], None]
) -> None:
    """A slow charm, one that failed, and one with other limits hold up nobody behind them."""
    done = Round(path, 10)
    with done.bench.database.transaction():
        make_unusual(done, done.charms[4])
    assert [1, 9] == sorted(done.poll())
    assert [b"2"] * 10 == done.counters()


def test_caps_by_integration_count_single_runs(path: Path) -> None:
    """Under a cap for each integration a worker gets one run at a time."""
    done = Round(path, 6, caps=Caps(per_integration=1))
    assert [1] * 6 == done.poll()


def test_workers_of_single_runs_get_single_runs(path: Path) -> None:
    """Where each run has a worker of its own, none is claimed for another."""
    done = Round(path, 6)
    done.bench.pool.most_runs_a_batch = 1
    assert [1] * 6 == done.poll()


def test_value_changed_meanwhile_makes_its_run_stale_and_no_other(path: Path) -> None:
    """What a person changes while a batch is out is not overwritten; the others' writes count."""
    done = Round(path, 5)
    bench = done.bench
    for charm in done.charms:
        bench.put(charm)
    assert 5 == len(bench.step())
    with bench.database.transaction():
        bench.store.cells.write(done.charms[2], "counter", b"70")
    for run in list(bench.pool.out):
        bench.pool.end(run, seconds=SHORT, writes={"counter": b"2"})
    bench.step()
    (again,) = bench.step()
    assert done.charms[2].ref.charm_id == again
    assert [b"2", b"2", b"70", b"2", b"2"] == done.counters()
    bench.pool.end(bench.pool.out[0], seconds=SHORT, writes={"counter": b"71"})
    bench.step()
    assert b"71" == done.counters()[2]


def test_removed_charm_takes_nobody_along(path: Path) -> None:
    """A charm that is removed while its batch is out loses its run; the others keep theirs."""
    done = Round(path, 5)
    bench = done.bench
    for charm in done.charms:
        bench.put(charm)
    bench.step()
    with bench.database.transaction():
        bench.store.charms.mark_removed(done.charms[0].charm_key, 1)
    for run in list(bench.pool.out):
        bench.pool.end(run, seconds=SHORT, writes={"counter": b"2"})
    assert [] == bench.step()
    assert [None, b"2", b"2", b"2", b"2"] == done.counters()


def test_late_answer_takes_nobody_along(path: Path) -> None:
    """An answer whose claim is not the newest is refused and counted; the others count."""
    done = Round(path, 5)
    bench = done.bench
    for charm in done.charms:
        bench.put(charm)
    bench.step()
    late = bench.pool.out[3]
    with bench.database.transaction():
        bench.database.execute(
            "UPDATE ack_queue_jobs SET fence = fence + 1 WHERE _id = ?", (late.job_id,)
        )
    for run in list(bench.pool.out):
        bench.pool.end(run, seconds=SHORT, writes={"counter": b"2"})
    with logged() as events:
        bench.step()
    assert [] == events
    assert [b"2", b"2", b"2", b"1", b"2"] == done.counters()
    assert 1 == bench.store.totals.get("late_answers")


@pytest.mark.parametrize("value", [b"{", b"", b"[" * 200 + b"]" * 200])
def test_broken_value_fails_its_own_run(path: Path, value: bytes) -> None:
    """What is no JSON fails the run that left it; the others of its batch are stored."""
    done = Round(path, 5)
    bench = done.bench
    for charm in done.charms:
        bench.put(charm)
    bench.step()
    for place, run in enumerate(list(bench.pool.out)):
        bench.pool.end(run, seconds=SHORT, writes={"counter": value if place == 1 else b"2"})
    bench.step()
    assert [b"2", b"1", b"2", b"2", b"2"] == done.counters()
    failed = bench.store.health.get(done.charms[1].charm_key)
    assert (1, "state") == (failed.failures, failed.last_error_cause)


def test_batch_is_recorded_as_single_runs_are(path: Path) -> None:
    """Tables after a batch are those after the same runs one by one."""

    def tables(*, together: bool) -> dict[str, list[tuple[object, ...]]]:
        caps = None if together else Caps(per_integration=1)
        done = Round(path.with_name(f"{together}.db"), 12, caps=caps)
        sizes = done.poll() + done.poll(writes=False)
        assert ([12, 12] if together else [1] * 24) == sizes
        queries = {
            "cells": "SELECT charm_key, field, version, value FROM cells",
            "health": "SELECT * FROM health",
            "runs": "SELECT * FROM runs ORDER BY run_key",
            "chunks": "SELECT * FROM run_chunks ORDER BY chunk_key",
            "jobs": "SELECT * FROM ack_queue_jobs ORDER BY _id",
            "totals": "SELECT * FROM totals WHERE name NOT IN ('commits')",
        }
        return {name: done.bench.database.rows(query) for name, query in queries.items()}

    assert tables(together=False) == tables(together=True)


def test_of_slow_spaces_few_runs_are_looked_at() -> None:
    """Where a run takes longer than a whole go may, reading a hundred for each would be waste."""
    assert batching.MOST_RUNS == batching.most_runs(None)
    assert batching.MOST_RUNS == batching.most_runs(batching.MOST_SECONDS)
    assert 1 < batching.most_runs(1.0) < 10
