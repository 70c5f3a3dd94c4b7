"""The workers that live, and who of them is free for whom. Used by the pool."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from bg_charm_service.fairness import Need
from bg_charm_service.pool_contract import FreeWorkers
from bg_charm_service.worker_handle import WorkerHandle, WorkerState

#: A worker leaves a space that has work only for one that used so much less, in worker-seconds.
QUANTUM_SECONDS = 0.2


class Crew:
    """Workers by number."""

    def __init__(self) -> None:
        self._workers: dict[int, WorkerHandle] = {}

    def add(self, worker: WorkerHandle) -> None:
        """Take a worker in."""
        self._workers[worker.worker_no] = worker

    def drop(self, worker: WorkerHandle) -> None:
        """Forget a worker that is gone."""
        del self._workers[worker.worker_no]

    def find(self, worker_no: int) -> WorkerHandle | None:
        """The worker of that number."""
        return self._workers.get(worker_no)

    def making(self, run_id: str) -> WorkerHandle | None:
        """The worker that makes a run."""
        return next((w for w in self if w.run is not None and w.run.run_id == run_id), None)

    def idle_for(self, space_key: int | None) -> WorkerHandle | None:
        """A free worker bound to a space, else one bound to none; with None only the latter."""
        unbound = None
        for worker in self.idle():
            if worker.space_key == space_key:
                return worker
            if worker.space_key is None:
                unbound = worker
        return unbound

    def idle(self) -> list[WorkerHandle]:
        """The free workers."""
        return [worker for worker in self if worker.state is WorkerState.IDLE]

    def free(self) -> FreeWorkers:
        """Count the free workers by the space they are bound to."""
        idle = self.idle()
        bound = Counter(w.space_key for w in idle if w.space_key is not None)
        return FreeWorkers(bound, len(idle) - bound.total())

    def to_free(self) -> list[WorkerHandle]:
        """The worker to replace so that one without a space comes; none while one is coming."""
        if any(worker.is_changing for worker in self):
            return []
        return sorted(self.idle(), key=lambda worker: worker.idle_since)[:1]

    def to_move(self, needs: Sequence[Need]) -> list[WorkerHandle]:
        """The free workers to replace, so that each of these spaces gets one; neediest first."""
        idle = self.idle()
        have = {worker.space_key for worker in idle}
        unserved = [need for need in needs if need.space_key not in have]
        # Workers without a space, now or soon, serve the first of them.
        unbound = sum(w.space_key is None for w in idle) + sum(w.is_changing for w in self)
        used: dict[int | None, float] = {need.space_key: need.used_seconds for need in needs}
        candidates = sorted(
            (worker for worker in idle if worker.space_key is not None),
            key=lambda worker: used.get(worker.space_key, math.inf),
        )
        moved = []
        for need in unserved[unbound:]:
            if not candidates:
                break
            worker = candidates.pop()
            if used.get(worker.space_key, math.inf) <= need.used_seconds + QUANTUM_SECONDS:
                break
            moved.append(worker)
        return moved

    @property
    def busy(self) -> int:
        """How many make a run, or load a source."""
        return sum(worker.state is WorkerState.BUSY for worker in self)

    @property
    def is_at_rest(self) -> bool:
        """Whether all are free."""
        return all(worker.state is WorkerState.IDLE for worker in self)

    def __iter__(self) -> Iterator[WorkerHandle]:
        # A copy: workers come and go while somebody goes through them.
        return iter(list(self._workers.values()))

    def __len__(self) -> int:
        return len(self._workers)
