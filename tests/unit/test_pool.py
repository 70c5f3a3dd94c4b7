"""The pool with real workers: what they say is not believed where it would harm others."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Awaitable, Callable
from typing import Any

from bg_charm_service.domain.limits import Limits
from bg_charm_service.workers.pool.contract import Isolation, PoolLimits
from bg_charm_service.workers.pool.events import InspectFinished, PoolEvent, RunFinished
from bg_charm_service.workers.pool.pool import Pool
from bg_charm_service.workers.protocol.messages import Inspect, RunSpec
from tests.unit.fake_zygote import PoolBench, Time, with_fake_workers

#: The longest that anything here is waited for, in seconds.
PATIENCE_SECONDS = 20.0

LIMITS = Limits(timeout_seconds=5.0)

SOURCE = """\
from bg_charm_service import Charm

class Some(Charm):
    def bg_updater(self, event: dict) -> None:
        pass
"""

#: Says on the worker's own socket that it has just booted, and takes its time.
FORGED = f"""\
import os, stat, time
from bg_charm_service.workers.protocol.messages import FROM_WORKER, Ready

for fd in range(3, 64):
    try:
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            os.write(fd, FROM_WORKER.encode(Ready()))
    except OSError:
        pass
time.sleep(1)
{SOURCE}"""


#: One worker, and none in reserve.
ONE_WORKER = PoolLimits(max_concurrent=1, isolation=Isolation.SHARED)


class Bench:
    """A pool of one worker that is ready."""

    def __init__(self) -> None:
        self.clock, self.news = Time(), asyncio.Event()
        self.pool = Pool(ONE_WORKER, self.clock, self.news.set, lambda: 0.5)

    async def until(self, condition: Callable[[], object]) -> None:
        """Tick until something is true."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                self.news.clear()
                await asyncio.wait_for(self.news.wait(), PATIENCE_SECONDS)
                self.pool.tick()


def with_pool(work: Callable[[Bench], Awaitable[None]]) -> None:
    """Do something with a pool that is ready."""

    async def run() -> None:
        bench = Bench()
        bench.pool.start()
        try:
            await bench.until(lambda: bench.pool.free_workers().count)
            await work(bench)
        finally:
            bench.pool.stop()

    asyncio.run(run())


def spec(run_id: str, *, source: str | None = SOURCE, values: dict[str, bytes]) -> RunSpec:
    """A run."""
    return RunSpec(
        run_id=run_id,
        job_id=1,
        attempt=1,
        space="did:key:here",
        charm_id="charm",
        source_hash="hash",
        source=source,
        file_name="some.py",
        class_name="Some",
        stream="bgUpdater",
        event=b"{}",
        values=values,
        large=(),
        links={},
        last_success=None,
        limits=LIMITS,
    )


def inspection(source: str) -> Inspect:
    """A source to be loaded."""
    return Inspect(
        request_id=1,
        source=source,
        file_name="some.py",
        class_name=None,
        values=(),
        limits=LIMITS,
    )


def test_source_that_says_it_has_booted_frees_no_worker() -> None:
    """A worker that has loaded somebody's source never gets to serve a space."""

    async def work(bench: Bench) -> None:
        bench.pool.inspect(inspection(FORGED))
        seen: list[int] = []
        events: list[PoolEvent] = []

        def look() -> bool:
            seen.append(bench.pool.free_workers().count)
            events.extend(bench.pool.collect())
            return bool(events)

        await bench.until(look)
        (event,) = events
        assert isinstance(event, InspectFinished)
        assert {0} == set(seen)

    with_pool(work)


def test_inspection_is_watched_from_its_beginning() -> None:
    """Whoever ticks the pool is told that there is something to watch, if a worker was free too."""

    async def work(bench: Bench) -> None:
        bench.news.clear()
        wanted_ticks = bench.pool.wants_ticks
        bench.pool.inspect(inspection(SOURCE))
        assert (False, True) == (wanted_ticks, bench.pool.wants_ticks)
        assert bench.news.is_set()

    with_pool(work)


def test_answer_in_time_counts_when_the_service_was_held_up() -> None:
    """A run that answered within its limit has not timed out, however late that is read."""

    async def work(bench: Bench) -> None:
        assert bench.pool.dispatch(1, [spec("1.1", values={})])
        worker = bench.pool.workers.running("1.1")
        assert worker is not None
        # Nothing is read meanwhile: the loop of this process stands still.
        assert select.select([worker.channel.connection], [], [], PATIENCE_SECONDS)[0]
        bench.clock.ahead_seconds = 3600
        bench.pool.tick()
        (event,) = bench.pool.collect()
        assert isinstance(event, RunFinished)
        assert event.answer is not None

    with_pool(work)


def test_a_short_run_costs_no_glance() -> None:
    """Workers are glanced at while there are runs, and a run that is over by then wakes nobody."""

    async def work(bench: PoolBench) -> None:
        loop, later = asyncio.get_running_loop(), asyncio.get_running_loop().call_later
        glances: list[asyncio.TimerHandle] = []

        def note(seconds: float, callback: Callable[..., object], *about: Any) -> Any:
            handle = later(seconds, callback, *about)
            if "_glance" == getattr(callback, "__name__", ""):
                glances.append(handle)
            return handle

        loop.call_later = note  # type: ignore[method-assign,assignment]
        first, second = bench.out(1), bench.out(2)
        assert [False] == [glance.cancelled() for glance in glances]
        await bench.answered(first)
        assert [False] == [glance.cancelled() for glance in glances]
        await bench.answered(second)
        assert [True] == [glance.cancelled() for glance in glances]
        third = bench.out(1)
        await bench.until(lambda: len(glances) > 2)
        await bench.answered(third)
        assert glances[-1].cancelled()

    with_fake_workers(work)
