"""Supervises workers that make batches: which of them are to be read, and what waits for too long.

A worker with runs queued behind the one under way is not read at each answer, which would cost more
than the answer, but every few milliseconds. What waits behind a run that takes long is taken back,
so that other workers make it. Used by the pool, which does the reading.
"""

from __future__ import annotations

from bg_charm_service.domain.clock import Clock
from bg_charm_service.workers.pool.worker_process import WorkerProcess, WorkerState
from bg_charm_service.workers.pool.worker_set import WorkerSet
from bg_charm_service.workers.protocol.messages import RunSpec

#: How often such workers are read while they answer, and while they do not, in seconds.
READ_SECONDS = 0.002
READ_SELDOM_SECONDS = 0.016

#: What waits behind a run that takes longer than this is taken back, in seconds.
STALL_SECONDS = 0.25

#: What is left of a batch that is older than this is taken back when a worker has had nothing to
#: do for a while, in seconds.
LATE_SECONDS = 0.15
UNUSED_SECONDS = 0.03


class BatchMonitor:
    """The workers that make batches now."""

    def __init__(self, worker_set: WorkerSet, clock: Clock) -> None:
        self._worker_set = worker_set
        self._clock = clock
        #: In the order in which they were given their batches; whether runs were taken back.
        self._workers: dict[WorkerProcess, bool] = {}

    @property
    def workers(self) -> list[WorkerProcess]:
        """The workers that are to be read every few milliseconds; a copy."""
        return list(self._workers)

    def add(self, worker: WorkerProcess) -> None:
        """Look after a worker that was given a batch."""
        worker.channel.pause_listening()
        self._workers[worker] = False

    def check(self, worker: WorkerProcess) -> list[RunSpec]:
        """Take back what waits for too long in a worker that was just read.

        One that has no more than one run left is listened to again, and is no longer of concern.
        """
        taken_back: list[RunSpec] = []
        is_busy = worker.state is WorkerState.BUSY
        # Once is enough: what stays has begun.
        if worker.queued_runs and is_busy and not self._workers[worker] and self._is_late(worker):
            self._workers[worker] = True
            taken_back = worker.take_back_queued()
        if not worker.queued_runs or not is_busy:
            self._workers.pop(worker, None)
            if worker.ending is None and not worker.is_closed:
                worker.channel.resume_listening()
        return taken_back

    def clear(self) -> None:
        """Forget all of them; twice is fine."""
        self._workers.clear()

    def _is_late(self, worker: WorkerProcess) -> bool:
        now = self._clock.steady()
        if now - worker.run_since > STALL_SECONDS:
            return True
        return now - worker.batch_since > LATE_SECONDS and self._worker_set.has_unused(
            now - UNUSED_SECONDS
        )
