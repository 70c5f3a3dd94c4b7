"""Runs seeds: each a world of its own, from its first start to its last check."""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

from loguru import logger

from bg_charm_service.service.bootstrap import Service
from tests.simulation.chaos import Chaos
from tests.simulation.operators import Operators
from tests.simulation.plan import OVERDUE_SECONDS, Plan, draw_plan
from tests.simulation.timeline import Stuck
from tests.simulation.world import Bug, Report, Violated, World

#: Changes a world before it begins: arms a fault at a certain place, say.
Prepare = Callable[[World], None]


def simulate(seed: int, bug: Bug | None = None, prepare: Prepare | None = None) -> Report:
    """Simulate one seed; what did not hold is in the report."""
    return simulate_plan(draw_plan(seed), bug, prepare)


def simulate_plan(plan: Plan, bug: Bug | None = None, prepare: Prepare | None = None) -> Report:
    """Simulate a plan."""
    logger.disable("bg_charm_service")
    # A process that dies closes nothing by itself; what it had open goes with its last object, here
    # and not in a test to come.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        # What was there before is none of its garbage: looking through that takes longer.
        gc.freeze()
        try:
            with tempfile.TemporaryDirectory(dir=_memory_folder()) as directory:
                return _Simulation(World(plan, Path(directory), bug), prepare).run()
        finally:
            logger.enable("bg_charm_service")
            gc.collect()
            gc.unfreeze()


def _memory_folder() -> str | None:
    """Where files cost least: the lock and the scratch directories of workers are real ones."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None


class _Simulation:
    """Lives after lives, until all is checked."""

    def __init__(self, world: World, prepare: Prepare | None) -> None:
        self._world = world
        self._chaos = Chaos(world)
        self._operators = Operators(world)
        self._prepare = prepare

    def run(self) -> Report:
        world = self._world
        directors = [self._operators.work, self._chaos.work, self._conduct]
        try:
            while not world.is_over:
                if self._prepare is not None:
                    self._prepare(world)
                world.live_once(directors)
                if not world.is_calm:
                    world.timeline.advance(self._chaos.downtime_seconds())
        except (Violated, Stuck) as violated:
            world.report.violations.append(f"at {world.timeline.monotonic:.1f} s: {violated}")
        except Exception as error:
            world.report.violations.append(f"the service ended by {error!r}")
        return world.finish()

    async def _conduct(self, world: World, service: Service) -> None:
        """End the faults when their time is over, and check what has to hold from then on."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, world.chaos_ends_at - loop.time()))
        world.calm_down()
        await self._operators.settle(service)
        calm_until = loop.time() + world.plan.calm_seconds
        await asyncio.sleep(OVERDUE_SECONDS)
        while loop.time() < calm_until:
            world.check_overdue()
            await asyncio.sleep(min(60.0, world.plan.interval_seconds))
        world.check_rested()
        self._operators.check_all_answered()
        world.is_over = True
        world.deploy.set()
        await asyncio.Event().wait()
