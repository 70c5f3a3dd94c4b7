"""Upkeep: what it enables again can run again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from bg_charm_service.domain.model import CharmRef, DisabledBy
from bg_charm_service.scanning.scanner import ScanResult
from bg_charm_service.service.maintenance.cycle import Upkeep, UpkeepLimits
from bg_charm_service.supervisor.polled_charms import PolledCharms
from tests.unit.test_loop import Bench, broken, logged


def make(bench: Bench, scanner: Any) -> Upkeep:
    """Make the upkeep of a bench."""
    return Upkeep(
        *(bench.database, bench.store, bench.queue, bench.planner, PolledCharms(bench.store)),
        *(scanner, bench.clock, UpkeepLimits(60, 60, 86400, 86400)),
        integrations=("listing",) if scanner is not None else (),
        measure=nothing,
        wake=lambda: None,
        storage=bench.supervisor.storage_health,
        checkup=nothing,
    )


async def nothing() -> None:
    """Check nothing."""


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
    upkeep = make(bench, None)
    with bench.database.transaction():
        health = bench.store.health.get(key)
        disabled = replace(health, disabled_by=DisabledBy.FAILURES, disabled_at=now - 2 * 86400)
        bench.store.health.put(key, disabled)
        job = (charm.space_key, key, charm.ref, "bgUpdater", b"{}")
        bench.queue.put_send(*job, run_at=now, now=now, is_held=True)
    assert [] == bench.step()
    asyncio.run(upkeep.reset())
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
    upkeep = make(bench, scanner)
    scanner.charms = (charm.ref,)
    asyncio.run(upkeep.run_cycle())
    assert bench.planner.is_polled(charm.charm_key)
    scanner.charms = ()
    with broken(bench.database), logged() as lines:
        asyncio.run(upkeep.run_cycle())
        asyncio.run(upkeep.run_cycle())
    assert ["storage_problem"] == lines
    assert "interrupted" in bench.supervisor.storage_health.problem
    asyncio.run(upkeep.run_cycle())
    assert not bench.planner.is_polled(charm.charm_key)
    bench.database.close()
