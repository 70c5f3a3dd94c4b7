"""Charms that kill their workers again and again, with real workers on a simulated clock."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from bg_charm_service.domain.model import CharmRef, CharmSchema
from bg_charm_service.domain.outcomes.policy import FailurePolicy, RunStatus
from bg_charm_service.workers.pool.contract import Isolation, PoolLimits
from bg_charm_service.workers.pool.pool import Pool
from tests.unit.test_loop import Bench

#: The longest that anything here is waited for, in seconds.
PATIENCE_SECONDS = 60.0

INTERVAL_SECONDS = 60.0

#: Few of each: a poison costs a worker each time.
POLICY = FailurePolicy(max_retries=1, max_failures=2)

#: So much of it passes while something is waited for that only time can end.
_TURN_SECONDS = 0.1

HOME, AWAY = "did:key:home", "did:key:away"

#: What the charms of these names do when they are polled.
DEEDS = {
    "neighbour": "pass",
    "second neighbour": "pass",
    "third neighbour": "pass",
    "crash": "ctypes.string_at(0)",
    "abort": "os.abort()",
    "exit": "os._exit(3)",
    "hang up": "os.closerange(3, 64); signal.pause()",
    "nonsense": (
        "[os.write(fd, bytes([255]) * 64) for fd in range(3, 64) if is_socket(fd)]; signal.pause()"
    ),
}
POISONS = {name for name in DEEDS if "neighbour" not in name}
NEIGHBOURS = {HOME: ["neighbour", "second neighbour", "third neighbour"], AWAY: ["neighbour"]}

SOURCE = """\
import ctypes, os, signal, stat
from bg_charm_service import Charm

def is_socket(fd):
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False

class Some(Charm):
    def bg_updater(self, event: dict) -> None:
        {deed}
"""


class Rig:
    """A supervisor with real workers; its time passes when the test says so."""

    def __init__(self, path: Path, isolation: Isolation) -> None:
        limits = PoolLimits(max_concurrent=2, max_age_seconds=1e9, isolation=isolation)
        self.bench = Bench(
            path,
            open_pool=lambda clock, wake: Pool(limits, clock, wake, lambda: 0.5),
            policy=POLICY,
        )
        self.pool = self.bench.supervisor.parts.pool
        self.names: dict[int, str] = {}

    def add(self, space: str, name: str) -> None:
        """Add a charm that is polled."""
        bench = self.bench
        with bench.database.transaction():
            home = bench.store.spaces.ensure(space, name="", owner="did:key:me", now=0)
            charm = bench.store.charms.add(
                CharmRef(space, name),
                home.space_key,
                cause=name,
                file_name="some.py",
                source=SOURCE.format(deed=DEEDS[name]),
                schema=CharmSchema("Some", "Some", "", (), ("bgUpdater",)),
                now=0,
            )
            bench.store.health.create(charm.charm_key)
            bench.store.registrations.put(charm.charm_key, "test", 0)
            bench.planner.ensure([(charm.charm_key, space)])
        self.names[charm.charm_key] = f"{space}/{name}"

    async def settle(self) -> None:
        """Let everything end that is under way or ready; time goes on where that waits for it."""
        bench, parts = self.bench, self.bench.supervisor.parts
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                bench.wake.clear()
                told = len(bench.told)
                bench.supervisor.step()
                is_quiet = not (parts.dispatcher.runs or self.pool.wants_ticks)
                if is_quiet and told == len(bench.told) and not bench.wake.is_set():
                    return
                try:
                    async with asyncio.timeout(_TURN_SECONDS):
                        await bench.wake.wait()
                except TimeoutError:
                    bench.clock.seconds += _TURN_SECONDS

    async def cycle(self) -> Counter[tuple[str, RunStatus]]:
        """Let an interval pass; gives how often each charm ran, and how that ended."""
        bench, parts = self.bench, self.bench.supervisor.parts
        bench.told.clear()
        until = bench.clock.seconds + INTERVAL_SECONDS
        while bench.clock.seconds < until:
            waiting = (parts.planner.next_due, parts.queue.next_run_at())
            next_at = min([until, *(moment for moment in waiting if moment is not None)])
            bench.clock.seconds = max(bench.clock.seconds, next_at)
            await self.settle()
        return Counter(
            (self.names[told.run.claim.charm_key], told.decision.status) for told in bench.told
        )


@pytest.mark.parametrize("isolation", Isolation)
def test_poison_stops_itself_and_nobody_else(tmp_path: Path, isolation: Isolation) -> None:
    """Each is disabled by its own failures; the others run once in each cycle, and never fail."""

    async def work() -> None:
        rig = Rig(tmp_path / "test.db", isolation)
        rig.pool.start()
        try:
            for space, names in NEIGHBOURS.items():
                for name in names:
                    rig.add(space, name)
            # A new charm runs at once, and has its rhythm from the second interval on.
            await rig.cycle()
            await rig.cycle()
            for name in POISONS:
                rig.add(HOME, name)
            failures: Counter[str] = Counter()
            for _ in range(3):
                ran = await rig.cycle()
                for space, names in NEIGHBOURS.items():
                    for name in names:
                        assert 1 <= ran.pop((f"{space}/{name}", RunStatus.SUCCESS), 0)
                failures += Counter({name: count for (name, _), count in ran.items()})
        finally:
            rig.pool.stop()
            rig.bench.database.close()
        # As many as disable any other charm: so many polls, each with its retries.
        attempts = POLICY.max_failures * (POLICY.max_retries + 1)
        assert Counter({f"{HOME}/{name}": attempts for name in POISONS}) == failures

    asyncio.run(work())
