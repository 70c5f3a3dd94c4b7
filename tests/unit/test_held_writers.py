"""A charm that is stale again and again gets through: who writes what it reads waits its turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from bg_charm_service.domain.model import FieldKind
from bg_charm_service.storage.records import CharmRecord, Link
from bg_charm_service.supervisor.held_writers import PATIENCE, HeldWriters
from bg_charm_service.supervisor.in_flight import InFlight
from tests.unit.completing import ELSEWHERE, NOW, Bench

CELL = FieldKind.CELL


class MovedClock:
    """A clock that is set by hand."""

    steady_seconds = NOW

    def now(self) -> float:
        return self.steady_seconds

    def steady(self) -> float:
        return self.steady_seconds

    def awake(self) -> float:
        return self.steady_seconds


class Turns:
    """Charms that link to each other, and who is held back for whom."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.clock = MovedClock()
        self._runs: dict[int, InFlight] = {}
        self.held = HeldWriters(bench.store.pauses, bench.store, bench.queue, self.clock)
        value = FieldKind.VALUE
        self.target = bench.charm(count=value)
        self.reader = bench.charm(count=value, other=CELL)
        self.writer = bench.charm(count=value, other=CELL, third=CELL)
        self.far = bench.charm(ELSEWHERE, other=CELL)
        self.bystander = bench.charm(a=value, b=value, c=value, d=value)
        for charm in (self.reader, self.writer, self.far):
            self.link(charm, self.target)

    def link(self, charm: CharmRecord, target: CharmRecord, *, is_writable: bool = False) -> None:
        """Give a charm a link."""
        link = Link("other", target.charm_key, ("count",), is_writable=is_writable)
        with self.bench.database.transaction():
            self.bench.store.links.put(charm.charm_key, link)

    def be_stale(self, charm: CharmRecord, times: int = PATIENCE) -> None:
        """Have runs of a charm be stale so often in a row."""
        run = self._runs.get(charm.charm_key) or self.bench.claim(charm)
        self._runs[charm.charm_key] = run
        health = replace(self.bench.store.health.get(charm.charm_key), stale_streak=times)
        writers = self.held.writers_for(run, health)
        if writers:
            self.held.begin(run, writers, timeout_seconds=25)

    def are_held(self) -> set[int]:
        """Who may not run now, of both spaces."""
        if not self.held.are_any:
            return set()
        spaces = {self.target.space_key, self.far.space_key}
        return {key for space in spaces for key in self.held.within(space).charm_keys}


@pytest.fixture
def turns(tmp_path: Path) -> Iterator[Turns]:
    """Charms in two spaces."""
    bench = Bench(tmp_path / "charms.db")
    yield Turns(bench)
    bench.database.close()


def test_writers_wait_once_it_was_stale_often(turns: Turns) -> None:
    """Its target, and who writes that; not who only reads it, or has nothing to do with it."""
    turns.be_stale(turns.reader, PATIENCE - 1)
    assert set() == turns.are_held()
    turns.be_stale(turns.reader)
    assert {turns.target.charm_key, turns.writer.charm_key} == turns.are_held()
    assert turns.held.over(turns.target.space_key, turns.writer.charm_key) is not None
    assert turns.held.over(turns.target.space_key, turns.reader.charm_key) is None
    turns.held.end(turns.reader.charm_key)
    assert set() == turns.are_held()
    assert {turns.target.space_key} <= turns.bench.queue.hot_spaces(NOW)


def test_one_that_may_write_from_elsewhere_waits_too(turns: Turns) -> None:
    """A link that a person made writable into another space counts."""
    turns.link(turns.far, turns.target, is_writable=True)
    turns.be_stale(turns.reader)
    assert turns.far.charm_key in turns.are_held()


def test_of_two_that_write_to_each_other_one_goes_first(turns: Turns) -> None:
    """The one that was held back last does not hold back the other."""
    turns.be_stale(turns.reader)
    turns.be_stale(turns.writer)
    assert {turns.target.charm_key, turns.writer.charm_key} == turns.are_held()
    turns.held.end(turns.reader.charm_key)
    turns.be_stale(turns.writer)
    assert {turns.target.charm_key, turns.reader.charm_key} == turns.are_held()


def test_a_turn_is_over_in_time(turns: Turns) -> None:
    """One that never gets to run, as it is paused for one, holds up nobody for good."""
    turns.be_stale(turns.reader)
    turns.clock.steady_seconds += 3 * 25 + 29
    assert turns.are_held()
    turns.clock.steady_seconds += 2
    assert set() == turns.are_held()
    assert not turns.held.has_turns
