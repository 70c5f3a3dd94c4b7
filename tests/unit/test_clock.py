"""The service's clocks: what goes on while the machine sleeps, and what does not."""

from __future__ import annotations

import asyncio
import math
import time
from pathlib import Path

import pytest

from bg_charm_service.domain.clock import AwakeClock, SystemClock
from bg_charm_service.domain.outcomes.suspicion import Life, LifeKind
from tests.unit.test_loop import Bench
from tests.unit.test_maintenance_cycle import make_cycle


class Machine:
    """A machine whose sleep is told by its two steady clocks, as Linux tells it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.awake_seconds = 1000.0
        self.asleep_seconds = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.awake_seconds)
        monkeypatch.setattr(time, "clock_gettime", self._read)

    def _read(self, clock_id: int) -> float:
        slept = {time.CLOCK_BOOTTIME: self.asleep_seconds, time.CLOCK_MONOTONIC: 0.0}[clock_id]
        return self.awake_seconds + slept


def test_the_steady_clock_goes_on_while_the_machine_sleeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A daily charm is not late by as long as a laptop was closed."""
    machine = Machine(monkeypatch)
    clock = SystemClock()
    steady, awake = clock.steady(), clock.awake()
    machine.awake_seconds += 5
    machine.asleep_seconds += 3600
    assert clock.steady() - steady == 3605
    assert clock.awake() - awake == 5


def test_a_run_is_not_late_for_having_slept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are watched by a clock that stands still meanwhile."""
    machine = Machine(monkeypatch)
    clock = AwakeClock(SystemClock())
    before = clock.steady()
    machine.asleep_seconds += 8 * 3600
    assert clock.steady() == before
    assert clock.awake() == before
    assert clock.now() == pytest.approx(time.time(), abs=60)


def test_a_life_that_slept_was_no_trial(tmp_path: Path) -> None:
    """What passed while nothing could run does not speak for the suspects' guilt."""
    bench = Bench(tmp_path / "test.db")
    charm = bench.charm()
    bench.suspect(bench.put(charm))
    with bench.database.transaction():
        for _ in range(2):
            bench.store.lives.begin(Life(LifeKind.ORDINARY, 0.0, 20.0))
    trial = bench.supervisor.parts.trial
    bench.supervisor.recover()
    target_seconds = trial.target_seconds
    assert target_seconds > 0
    bench.step()
    bench.clock.seconds += 8 * 3600
    assert bench.step() == []
    assert not trial.may_run_suspects()
    for _ in range(int(target_seconds) + 2):
        bench.clock.seconds += 1
        bench.step()
    assert trial.may_run_suspects()
    bench.database.close()


def test_the_loop_looks_at_the_clock_soon_after_a_sleep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its timers stood still: however far away what is due was, none rests for longer."""
    bench = Bench(tmp_path / "test.db")
    charm = bench.charm()
    with bench.database.transaction():
        bench.store.registrations.put(charm.charm_key, "manual", 0)
        bench.store.health.set_interval(charm.charm_key, 86400.0)
        bench.planner.poll_now(charm.charm_key, charm.ref.space)
    bench.step()
    bench.pool.end(bench.pool.out[0])
    for _ in range(3):
        bench.step()
    bench.wake.clear()
    rests: list[float | None] = []
    timeout = asyncio.timeout

    def at_once(seconds: float | None) -> asyncio.Timeout:
        rests.append(seconds)
        return timeout(0)

    monkeypatch.setattr(asyncio, "timeout", at_once)
    pace = bench.supervisor.pace
    asyncio.run(pace.rest(retry_at=None, latest_at=math.inf, is_polling=True))
    assert rests == [5.0]
    bench.clock.seconds += 2 * 86400
    assert bench.step() == [charm.ref.charm_id]
    bench.database.close()


def test_a_cycle_looks_at_the_clock_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service whose cycles are a day apart is not late for them by a night's sleep."""
    bench = Bench(tmp_path / "test.db")
    cycle = make_cycle(bench, interval_seconds=86400.0)
    sleeps: list[float] = []

    async def sleep(seconds: float) -> None:
        if seconds:
            sleeps.append(seconds)
            # The machine sleeps for as long as the cycle is to rest.
            bench.clock.seconds += 86400.0
            if len(sleeps) == 2:
                raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cycle.run())
    assert sleeps == [60.0, 60.0]
    assert bench.store.totals.get("cycles") == 2
    bench.database.close()
