"""Looks after workers that live: kills runs that are late or too large, finds worn-out workers.

Called by the pool at every tick; reads processes with psutil, seldom enough to cost nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from bg_charm_service.clock import Clock
from bg_charm_service.pool_contract import PoolLimits
from bg_charm_service.worker_handle import Ending, WorkerHandle, WorkerState

#: A worker that is not ready after this is given up, in seconds.
BOOT_SECONDS = 30.0

#: How often the memory of workers that make runs is read, in seconds.
MEASURE_SECONDS = 0.25

#: How often idle workers are read too: their memory cannot grow by a charm's doing.
MEASURE_ALL_SECONDS = 15.0


class WorkerWatch:
    """Keeps the limits from outside; the worker keeps them from inside where it can."""

    def __init__(self, limits: PoolLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._next_measure = 0.0
        self._next_measure_all = 0.0

    def late(self, workers: Iterable[WorkerHandle]) -> list[WorkerHandle]:
        """Give the workers to kill for their time, once what they answered meanwhile was read.

        A service that was held up itself reads late what was said in time.
        """
        now = self._clock.steady()
        busy = [one for one in workers if one.state is WorkerState.BUSY and not one.is_closed]
        return [one for one in busy if now >= one.deadline]

    def look(self, workers: Collection[WorkerHandle]) -> list[WorkerHandle]:
        """Kill what is over a limit; gives the idle workers that are worn out."""
        now = self._clock.steady()
        self._measure(workers, now)
        worn_out = []
        for worker in workers:
            if worker.is_closed:
                if now >= worker.deadline:
                    worker.end(Ending.PROTOCOL, "it closed its connection")
            elif worker.state is WorkerState.BUSY:
                if now >= worker.deadline:
                    worker.end(Ending.TIMEOUT)
                elif worker.memory_bytes > self._limits.memory_bytes:
                    worker.end(Ending.MEMORY, f"{worker.memory_bytes / 1024 / 1024:.0f} MB")
            elif worker.state is WorkerState.IDLE:
                is_old = now - worker.started > self._limits.max_age_seconds
                if is_old or worker.memory_bytes > self._limits.retire_bytes:
                    worn_out.append(worker)
            elif worker.state is WorkerState.STARTING and now - worker.started > BOOT_SECONDS:
                worker.kill()
        return worn_out

    def _measure(self, workers: Collection[WorkerHandle], now: float) -> None:
        if now < self._next_measure:
            return
        self._next_measure = now + MEASURE_SECONDS
        is_full = now >= self._next_measure_all
        if is_full:
            self._next_measure_all = now + MEASURE_ALL_SECONDS
        for worker in workers:
            if worker.state is WorkerState.BUSY or is_full:
                worker.measure(is_exact=is_full)
