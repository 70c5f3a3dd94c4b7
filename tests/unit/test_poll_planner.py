"""The schedule in memory: it survives restarts and failing transactions."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bg_charm_service.domain.errors import StorageError
from bg_charm_service.storage.records import NewJob
from tests.unit.test_loop import Bench

HOUR = 3600.0


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A supervisor on an empty database."""
    made = Bench(tmp_path / "test.db")
    yield made
    made.database.close()


def test_restart_keeps_the_due_time_of_a_long_interval(bench: Bench, tmp_path: Path) -> None:
    """A charm that is polled once a day is not polled at every restart."""
    charm = bench.charm()
    due = bench.clock.steady() + 20 * HOUR
    with bench.database.transaction():
        bench.store.registrations.put(charm.charm_key, "manual", 0)
        bench.store.health.set_interval(charm.charm_key, 24 * HOUR)
        bench.store.health.set_due(charm.charm_key, due)
    bench.database.close()
    again = Bench(tmp_path / "test.db")
    again.planner.load()
    assert due == again.planner.due_at(charm.charm_key)
    again.database.close()
    # One that an integration lists comes with its scan.
    listed = Bench(tmp_path / "test.db")
    listed.planner.ensure([(charm.charm_key, charm.ref.space)])
    assert due == listed.planner.due_at(charm.charm_key)
    listed.database.close()


def test_missed_polls_of_listed_charms_are_spread(bench: Bench) -> None:
    """Charms that an integration lists all come at once: their missed polls do not start so."""
    charms = [bench.charm() for _ in range(2000)]
    now = bench.clock.steady()
    with bench.database.transaction():
        for charm in charms[1:]:
            bench.store.health.set_due(charm.charm_key, now - HOUR)
        bench.planner.ensure([(charm.charm_key, charm.ref.space) for charm in charms])
    # Never polled before, it does not wait behind the others.
    assert now == bench.planner.due_at(charms[0].charm_key)
    dues = [bench.planner.due_at(charm.charm_key) or 0.0 for charm in charms[1:]]
    assert 60 > max(dues) - now > 59
    assert 34 <= sum(due <= now + 1.01 for due in dues) <= 35


def first_start(path: Path, count: int) -> Bench:
    """Give a bench at the first start of a service with so many charms, none of which has run."""
    bench = Bench(path / "first.db")
    with bench.database.transaction():
        for number in range(count):
            charm = bench.charm(f"did:key:{number % 10}")
            bench.store.registrations.put(charm.charm_key, "manual", 0)
    bench.planner.load()
    bench.step()
    return bench


def pending_after_learning(bench: Bench) -> int:
    """Let the time pass in which the first charm shows its length; gives the jobs that wait."""
    bench.clock.seconds += 2.0
    for _ in range(10):
        bench.step()
    return bench.queue.pending


@pytest.mark.parametrize("seconds", [1.0, None], ids=["slow", "slower than anybody waited for"])
def test_many_new_charms_that_are_slow_are_spread(tmp_path: Path, seconds: float | None) -> None:
    """At a first start each has its place in the first interval: nothing piles up."""
    bench = first_start(tmp_path, 600)
    (run,) = bench.pool.out
    if seconds is not None:
        bench.pool.end(run, seconds=seconds)
    bench.clock.seconds += seconds or 0.0
    bench.step()
    assert 0 == pending_after_learning(bench)
    dues = [bench.planner.due_at(key) or 0.0 for key in range(1, 601)]
    assert 0 < min(dues) - bench.clock.seconds
    assert max(dues) - bench.clock.seconds <= 60
    in_a_second = Counter(int(due) for due in dues)
    assert max(in_a_second.values()) < 30
    bench.database.close()


def test_many_new_charms_that_are_quick_start_at_once(tmp_path: Path) -> None:
    """Nobody waits for his place where all are done in a moment."""
    bench = first_start(tmp_path, 600)
    (run,) = bench.pool.out
    bench.pool.end(run, seconds=0.001)
    assert 590 < pending_after_learning(bench)
    bench.database.close()


def test_who_is_asked_for_is_not_held_back(tmp_path: Path) -> None:
    """A charm that is enabled by hand meanwhile is polled now, like any other."""
    bench = first_start(tmp_path, 600)
    assert 0 == bench.queue.pending
    with bench.database.transaction():
        bench.planner.poll_now(300, "did:key:0")
    bench.step()
    assert 1 == bench.queue.pending
    bench.database.close()


def test_few_new_charms_start_at_once(tmp_path: Path) -> None:
    """A usual number of charms waits for nothing."""
    bench = first_start(tmp_path, 100)
    assert 100 == bench.queue.pending + len(bench.pool.out)
    bench.database.close()


def test_charm_whose_planning_failed_is_due_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the database fails in the midst of planning, no charm falls out of the schedule."""
    charms = [bench.charm(), bench.charm()]
    with bench.database.transaction():
        for charm in charms:
            bench.planner.poll_now(charm.charm_key, charm.ref.space)
    put = bench.queue.put_polls

    def fail_at_the_second(polls: Sequence[NewJob], *, now: float) -> None:
        put(polls[:1], now=now)
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(bench.queue, "put_polls", fail_at_the_second)
        with pytest.raises(StorageError), bench.database.transaction():
            bench.planner.plan(bench.clock.steady())
    now = bench.clock.steady()
    assert [now, now] == [bench.planner.due_at(charm.charm_key) for charm in charms]
    assert now == bench.planner.next_due
    with bench.database.transaction():
        assert 2 == bench.planner.plan(now)
    assert 2 == bench.queue.pending
