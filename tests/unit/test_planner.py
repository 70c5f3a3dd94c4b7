"""The schedule in memory: it survives restarts and failing transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bg_charm_service.errors import StorageError
from bg_charm_service.job_queue import NewJob
from tests.unit.test_supervisor import Bench

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
        assert 2 == len(bench.planner.plan(now))
    assert 2 == bench.queue.pending
