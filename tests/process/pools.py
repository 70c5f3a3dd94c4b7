"""A pool of real workers for the length of a test; what a test does with it is its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from bg_charm_service.workers.pool.pool import Pool


class HasPool(Protocol):
    """What a test drives a pool through."""

    pool: Pool


Bench = TypeVar("Bench", bound=HasPool)


def run_with_pool(make: Callable[[], Bench], work: Callable[[Bench], Awaitable[None]]) -> None:
    """Make a bench in a running loop, and do something while its pool is open."""

    async def run() -> None:
        bench = make()
        bench.pool.start()
        try:
            await work(bench)
        finally:
            bench.pool.stop()

    asyncio.run(run())
