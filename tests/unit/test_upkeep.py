"""Upkeep: what it enables again can run again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from bg_charm_service.model import DisabledBy
from bg_charm_service.roster import Roster
from bg_charm_service.upkeep import Upkeep, UpkeepLimits
from tests.unit.test_supervisor import Bench


def test_events_of_a_charm_that_nobody_polls_run_once_it_is_enabled(tmp_path: Path) -> None:
    """Time enables a charm with its waiting events, registered or not: none waits for ever."""
    bench = Bench(tmp_path / "test.db")
    charm = bench.charm()
    key, now = charm.charm_key, bench.clock.now()
    no_scanner: Any = None
    upkeep = Upkeep(
        *(bench.database, bench.store, bench.queue, bench.planner, Roster(bench.store)),
        *(no_scanner, bench.clock, UpkeepLimits(60, 60, 86400, 86400)),
        integrations=(),
        measure=lambda: None,
        wake=lambda: None,
    )
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
