"""The maintenance cycle: what it enables again can run again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from bg_charm_service.domain.errors import ServiceError
from bg_charm_service.domain.model import CharmRef, DisabledBy
from bg_charm_service.domain.views import AddedCharm, NewCharm
from bg_charm_service.scanning.scanner import ScanResult
from bg_charm_service.service.maintenance import cycle as module
from bg_charm_service.service.maintenance.cycle import CycleLimits, MaintenanceCycle
from bg_charm_service.service.maintenance.integration_scans import IntegrationScans
from bg_charm_service.supervisor.planning.polled_charms import PolledCharms
from tests.contract.test_store import run
from tests.unit.test_loop import Bench, broken, logged


class NoHealthChecks:
    """Checks nothing."""

    async def run_if_due(self) -> None: ...


class NoPackages:
    """Has nothing to tidy up."""

    async def tidy(self, bound: object) -> None: ...


def make_cycle(
    bench: Bench,
    scanner: Any = None,
    integrations: tuple[str, ...] = (),
    *,
    interval_seconds: float = 60.0,
) -> MaintenanceCycle:
    """Make the maintenance cycle of a bench, where no worker has a process."""
    polled_charms = PolledCharms(bench.store)
    health_checks: Any = NoHealthChecks()
    no_packages: Any = NoPackages()
    return MaintenanceCycle(
        bench.supervisor,
        polled_charms,
        IntegrationScans(bench.supervisor, polled_charms, scanner, integrations, add_nothing),
        health_checks,
        packages=no_packages,
        workers=(),
        limits=CycleLimits(
            interval_seconds=interval_seconds,
            maintenance_timeout_seconds=60.0,
            history_seconds=86400.0,
            disabled_retry_seconds=86400.0,
        ),
    )


async def add_nothing(charms: list[NewCharm]) -> list[AddedCharm | ServiceError]:
    """Be asked for no charm."""
    assert not charms
    return []


class Listing:
    """A scanner whose integration lists what a test says."""

    def __init__(self) -> None:
        self.charms: tuple[CharmRef, ...] = ()

    async def scan(self, integration_id: str) -> ScanResult:
        return ScanResult(self.charms, (), initialised=True)


def test_events_of_a_charm_that_nobody_polls_run_once_it_is_enabled(tmp_path: Path) -> None:
    """Time enables a charm with its waiting events, registered or not: none waits for ever."""
    bench = Bench(tmp_path / "test.db")
    charm = bench.charm()
    key, now = charm.charm_key, bench.clock.now()
    cycle = make_cycle(bench)
    with bench.database.transaction():
        health = bench.store.health.get(key)
        disabled = replace(health, disabled_by=DisabledBy.FAILURES, disabled_at=now - 2 * 86400)
        bench.store.health.put(key, disabled)
        job = (charm.space_key, key, charm.ref, "bgUpdater", b"{}")
        bench.queue.put_send(*job, run_at=now, now=now, is_held=True)
    assert [] == bench.step()
    asyncio.run(cycle.reset())
    assert bench.store.health.get(key).is_enabled
    assert [charm.ref.charm_id] == bench.step()
    assert not bench.planner.is_polled(key)
    bench.database.close()


def test_cycle_on_a_broken_disk_goes_on_later(tmp_path: Path) -> None:
    """A cycle that cannot read or write is told once, ends nothing, and loses no change of a list.

    What was no longer listed while nothing could be written is no longer polled afterwards.
    """
    bench, scanner = Bench(tmp_path / "test.db"), Listing()
    charm = bench.charm()
    cycle = make_cycle(bench, scanner, ("listing",))
    scanner.charms = (charm.ref,)
    asyncio.run(cycle.run_cycle())
    assert bench.planner.is_polled(charm.charm_key)
    scanner.charms = ()
    with broken(bench.database), logged() as lines:
        asyncio.run(cycle.run_cycle())
        asyncio.run(cycle.run_cycle())
    assert ["storage_problem"] == lines
    assert "interrupted" in bench.supervisor.storage_health.problem
    asyncio.run(cycle.run_cycle())
    assert not bench.planner.is_polled(charm.charm_key)
    bench.database.close()


DAY = 86400.0


def test_charm_disabled_by_a_clock_that_was_ahead_comes_back(tmp_path: Path) -> None:
    """A day after the clock was set right, not after it has caught up with what it said once."""
    bench = Bench(tmp_path / "test.db")
    key = bench.charm().charm_key
    cycle = make_cycle(bench)
    before = bench.clock.seconds
    bench.clock.seconds += 80 * 365 * DAY
    health = bench.store.health.get(key)
    disabled = replace(health, disabled_by=DisabledBy.FAILURES, disabled_at=bench.clock.now())
    bench.store.health.put(key, disabled)
    bench.clock.seconds = before
    asyncio.run(cycle.reset())
    assert not bench.store.health.get(key).is_enabled
    bench.clock.seconds += DAY + 1
    asyncio.run(cycle.reset())
    assert bench.store.health.get(key).is_enabled
    bench.database.close()


def test_clock_that_is_ahead_for_a_moment_does_not_take_the_history(tmp_path: Path) -> None:
    """A cycle under a wrong clock leaves each charm its newest ten runs, and no time to come."""
    bench = Bench(tmp_path / "test.db")
    key = bench.charm().charm_key
    cycle = make_cycle(bench)
    now = bench.clock.seconds
    for number in range(1, 31):
        bench.store.runs.record(key, run(number, finished_at=now), keep=100)
    bench.clock.seconds += 2 * DAY
    asyncio.run(cycle.cleanup())
    bench.store.runs.record(key, run(31, finished_at=bench.clock.now()), keep=100)
    bench.clock.seconds = now
    asyncio.run(cycle.cleanup())
    kept = bench.store.runs.of(key, limit=99)
    assert [*range(31, 20, -1)] == [run.number for run in kept]
    assert {now} == {run.finished_at for run in kept}
    bench.database.close()


def test_many_runs_that_are_kept_are_looked_at_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has to go goes in the end, however many lie before it that stay."""
    bench = Bench(tmp_path / "test.db")
    cycle = make_cycle(bench)
    monkeypatch.setattr(module, "_FRUITLESS_SLICES", 3)
    old = bench.clock.seconds - 2 * DAY
    keys = [bench.charm().charm_key for _ in range(200)]
    for number in range(1, 11):
        rows = [(each, run(number, finished_at=old)) for each in keys]
        bench.store.runs.record_all(rows, 10)
    key = bench.charm().charm_key
    for number in range(1, 21):
        bench.store.runs.record(key, run(number, finished_at=old + 1), keep=100)
    asyncio.run(cycle.cleanup())
    assert 20 == len(bench.store.runs.of(key, limit=99))
    asyncio.run(cycle.cleanup())
    assert [*range(20, 10, -1)] == [run.number for run in bench.store.runs.of(key, limit=99)]
    bench.database.close()
