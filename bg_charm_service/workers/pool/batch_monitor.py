"""Looks at workers that make batches: hears their answers together, and keeps nothing waiting.

A worker with runs behind the one under way is not heard at each answer, which would cost more than
the answer, but every few milliseconds. What waits behind a run that takes long is taken back, so
that other workers make it. Used by the pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bg_charm_service.domain.clock import Clock
from bg_charm_service.workers.pool.worker_process import WorkerProcess, WorkerState
from bg_charm_service.workers.pool.worker_set import WorkerSet
from bg_charm_service.workers.protocol.messages import RunSpec

#: How often such workers are heard while they answer, and while they do not, in seconds.
HEAR_SECONDS = 0.002
HEAR_SELDOM_SECONDS = 0.016

#: What waits behind a run that takes longer than this is taken back, in seconds.
STALL_SECONDS = 0.25

#: What is left of a batch that is older than this is taken back when a worker has had nothing to
#: do for a while, in seconds.
LATE_SECONDS = 0.15
UNUSED_SECONDS = 0.03


class BatchMonitor:
    """The workers that make batches now."""

    def __init__(
        self,
        worker_set: WorkerSet,
        clock: Clock,
        *,
        hear: Callable[[WorkerProcess], bool],
        give_back: Callable[[list[RunSpec]], None],
    ) -> None:
        self._worker_set = worker_set
        self._clock = clock
        self._hear = hear
        self._give_back = give_back
        #: In the order in which they were given their batches, and whether they were relieved.
        self._workers: dict[WorkerProcess, bool] = {}
        self._next_look: asyncio.TimerHandle | None = None

    def add(self, worker: WorkerProcess) -> None:
        """Look after a worker that was given a batch."""
        worker.channel.look_away()
        self._workers[worker] = False
        if self._next_look is None:
            self._look_in(HEAR_SECONDS)

    def stop(self) -> None:
        """Look no more; stopping twice is fine."""
        self._workers.clear()
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None

    def _look_in(self, seconds: float) -> None:
        self._next_look = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._next_look = None
        has_news = False
        for worker, was_relieved in list(self._workers.items()):
            has_news |= self._hear(worker)
            is_busy = worker.state is WorkerState.BUSY
            # Once is enough: what stays has begun.
            if worker.behind and is_busy and not was_relieved and self._is_late(worker):
                self._workers[worker] = True
                self._give_back(worker.relieve())
            if not worker.behind or worker.state is not WorkerState.BUSY:
                self._workers.pop(worker, None)
                if worker.ending is None and not worker.is_closed:
                    worker.channel.listen_again()
        if self._workers and self._next_look is None:
            self._look_in(HEAR_SECONDS if has_news else HEAR_SELDOM_SECONDS)

    def _is_late(self, worker: WorkerProcess) -> bool:
        now = self._clock.steady()
        if now - worker.first_since > STALL_SECONDS:
            return True
        return now - worker.batch_since > LATE_SECONDS and self._worker_set.has_unused(
            now - UNUSED_SECONDS
        )
