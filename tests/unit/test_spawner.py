"""Workers come when there is room for them, and what did not come costs nothing."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from bg_charm_service.workers.pool.spawner import MAX_BOOT_DEATHS
from tests.unit.descriptors import limited_to
from tests.unit.fake_zygote import PoolBench, with_fake_workers

#: Under this limit nothing can be opened, whatever is open, and whatever is closed meanwhile.
NO_DESCRIPTORS = 0


def test_workers_that_there_is_no_room_for(tmp_path: Path) -> None:
    """Where no file can be opened nothing is left of the tries, and they come later."""

    async def work(bench: PoolBench) -> None:
        with limited_to(NO_DESCRIPTORS):
            for worker in list(bench.workers):
                worker.die()
            await bench.until(lambda: not len(bench.pool.workers))
            for _ in range(3):
                bench.clock.ahead_seconds += 1000.0
                bench.pool.tick()
            assert 0 == len(bench.pool.workers)
        assert [] == os.listdir(tmp_path)
        bench.clock.ahead_seconds += 1000.0
        await bench.until(lambda: bench.pool.free_workers().count == 2)
        assert len(bench.pool.workers) == len(os.listdir(tmp_path))

    with_fake_workers(work, scratch_root=tmp_path)


def was_tried(bench: PoolBench, tries: int) -> bool:
    """Whether more than so many workers were asked for beyond the first two, and none is left."""
    return bench.pool.created > 2 + tries and not len(bench.pool.workers)


def test_processes_that_there_is_no_room_for(tmp_path: Path) -> None:
    """A system that gives no process is no reason to end: they come when it gives some."""

    async def work(bench: PoolBench) -> None:
        bench.zygotes[0].has_room = False
        for worker in list(bench.workers):
            worker.die()
        for tries in range(MAX_BOOT_DEATHS):
            bench.clock.ahead_seconds += 1000.0
            await bench.until(partial(was_tried, bench, tries))
        bench.zygotes[0].has_room = True
        bench.clock.ahead_seconds += 1000.0
        await bench.until(lambda: bench.pool.free_workers().count == 2)
        assert bench.zygotes[0] is bench.zygotes[-1]

    with_fake_workers(work, scratch_root=tmp_path)
