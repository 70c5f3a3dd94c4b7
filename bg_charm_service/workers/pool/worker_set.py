"""The workers that live, and who of them is free for whom. Used by the pool."""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from bg_charm_service.domain.limits import Walls
from bg_charm_service.workers.pool.contract import FreeWorkers, Isolation, PoolLimits
from bg_charm_service.workers.pool.worker_process import Binding, WorkerProcess, WorkerState

#: Asked of its enum, a member takes many times as long (Python 3.11), and these are for each run.
_IDLE: Final = WorkerState.IDLE
_BUSY: Final = WorkerState.BUSY

#: A worker leaves a space that has work only for one that used so much less, in worker-seconds.
QUANTUM_SECONDS = 0.2

#: For so long a free worker is kept, in seconds: by its space, or as the reserve of spaces that
#: have none. One that has others takes it only after that: a new process costs more than a wait.
KEPT_SECONDS = 2.0


class WorkerSet:
    """Workers by number, each bound to whom it has served."""

    def __init__(self, limits: PoolLimits) -> None:
        self._limits = limits
        self._workers: dict[int, WorkerProcess] = {}

    def add(self, worker: WorkerProcess) -> None:
        """Take a worker in."""
        self._workers[worker.worker_no] = worker

    def drop(self, worker: WorkerProcess) -> None:
        """Forget a worker that is gone."""
        del self._workers[worker.worker_no]

    def find(self, worker_no: int) -> WorkerProcess | None:
        """The worker of that number."""
        return self._workers.get(worker_no)

    def running(self, run_id: str) -> WorkerProcess | None:
        """The worker that makes a run now."""
        for worker in self._workers.values():
            if worker.run is not None and worker.run.run_id == run_id:
                return worker
        return None

    def assigned(self, run_id: str) -> WorkerProcess | None:
        """The worker that makes a run, or has it queued."""
        for worker in self._workers.values():
            if any(run.run_id == run_id for _, run in worker.queued_runs):
                return worker
        return self.running(run_id)

    def binding(self, space_key: int, walls: Walls) -> Binding:
        """Whom a worker is bound to that makes a run of that space behind those walls."""
        is_shared = self._limits.isolation is Isolation.SHARED
        return Binding(None if is_shared else space_key, walls)

    def idle_for(self, binding: Binding) -> WorkerProcess | None:
        """A free worker that is bound so, else a fresh one."""
        fresh = None
        for worker in self.idle():
            if worker.binding == binding:
                return worker
            if worker.binding is None:
                fresh = worker
        return fresh

    def fresh(self) -> WorkerProcess | None:
        """A free worker that has run nothing."""
        return next((worker for worker in self if worker.is_fresh), None)

    def idle(self) -> list[WorkerProcess]:
        """The free workers."""
        return [worker for worker in self if worker.state is _IDLE]

    def free(self, now: float, owed: int = 0) -> FreeWorkers:
        """Count the free workers by the space they are bound to; `owed` more runs have room."""
        idle = self.idle()
        spaces = [w.binding.space_key for w in idle if w.binding is not None]
        bound = Counter(space_key for space_key in spaces if space_key is not None)
        unbound = len(idle) - bound.total()
        served: frozenset[int | None] = frozenset()
        if unbound and self._limits.isolation is Isolation.SPACE:
            fresh = (worker for worker in idle if worker.binding is None)
            if not any(_has_rested(worker, now) for worker in fresh):
                served = self._served()
        return FreeWorkers(bound, unbound, self._room(owed), served)

    def to_replace(self, space_key: int) -> WorkerProcess | None:
        """The bound free worker to replace for a run that none is free for.

        One of its own space, which has other walls, rather than another; the longest idle one.
        """
        bound = [worker for worker in self.idle() if worker.binding is not None]
        by_rank = sorted(bound, key=lambda w: (not _serves(w, space_key), w.idle_since))
        return by_rank[0] if by_rank else None

    def to_free(self, owed: int) -> list[WorkerProcess]:
        """The worker to replace so that one more than `owed` fresh ones come; none if it comes."""
        if sum(worker.is_changing for worker in self) > owed:
            return []
        return sorted(self.idle(), key=lambda worker: worker.idle_since)[:1]

    def to_move(
        self, used_seconds: Mapping[int, float], now: float, owed: int = 0
    ) -> list[WorkerProcess]:
        """The free workers to replace, so that spaces that have work and none free get one.

        Given is what each space that has work used lately, in worker-seconds: who has no worker at
        all, and who used least, comes first. `owed` of the fresh workers that come are for others.
        """
        if self._limits.isolation is not Isolation.SPACE:
            return []
        idle = self.idle()
        bound = [(w.binding.space_key, w) for w in idle if w.binding is not None]
        if not bound:
            return []
        # Workers without a space, now or soon, serve the first of them.
        unbound = max(0, len(idle) - len(bound) + sum(w.is_changing for w in self) - owed)
        have, served = {space_key for space_key, _ in bound}, self._served()
        wanted = [(k in served, used, k) for k, used in used_seconds.items() if k not in have]
        in_need = heapq.nsmallest(unbound + len(bound), wanted)[unbound:]
        candidates = deque(
            sorted(
                ((used_seconds.get(key, math.inf), w) for key, w in bound if key is not None),
                key=lambda each: (-each[0], each[1].idle_since),
            )
        )
        moved: list[WorkerProcess] = []
        for is_served, needed, _ in in_need:
            if not candidates:
                break
            used, worker = candidates[0]
            if used > needed + QUANTUM_SECONDS and (not is_served or _has_rested(worker, now)):
                moved.append(worker)
                candidates.popleft()
        return moved

    def to_refresh(self, busy: Collection[int]) -> list[WorkerProcess]:
        """The worker to replace so that a fresh one is in reserve; none while there is one.

        The longest idle one whose space is none of the busy ones, which have work. None while all
        are busy, when a fresh one could do nothing; nor while some are missing: where none can be
        started, it would not come.
        """
        if self._limits.isolation is not Isolation.SPACE or not self.is_complete:
            return []
        if not self._room():
            return []
        if any(worker.is_fresh or worker.is_changing for worker in self):
            return []
        bound = [w for w in self.idle() if w.binding and w.binding.space_key not in busy]
        return sorted(bound, key=lambda worker: worker.idle_since)[:1]

    def has_unused(self, since: float) -> bool:
        """Whether a worker has been free since then, and may be used."""
        return self._room() > 0 and any(
            worker.state is _IDLE and worker.idle_since <= since
            for worker in self._workers.values()
        )

    @property
    def busy(self) -> int:
        """How many make a run, or load a source."""
        return sum(worker.state is _BUSY for worker in self)

    @property
    def has_busy(self) -> bool:
        """Whether one makes a run, or loads a source."""
        return any(worker.state is _BUSY for worker in self._workers.values())

    @property
    def has_ready(self) -> bool:
        """Whether one is free, or makes a run."""
        ready = (_IDLE, _BUSY)
        return any(worker.state in ready for worker in self._workers.values())

    @property
    def in_reserve(self) -> int:
        """How many are ready, and bound to nobody yet."""
        return sum(worker.is_fresh for worker in self)

    @property
    def is_complete(self) -> bool:
        """Whether there are as many as there are to be."""
        return len(self._workers) >= self._limits.workers

    @property
    def is_at_rest(self) -> bool:
        """Whether all are free."""
        return all(worker.state is _IDLE for worker in self)

    def __iter__(self) -> Iterator[WorkerProcess]:
        # A copy: workers come and go while somebody goes through them.
        return iter(list(self._workers.values()))

    def __len__(self) -> int:
        return len(self._workers)

    def _served(self) -> frozenset[int | None]:
        """The spaces that have workers, busy or free."""
        alive = (_IDLE, _BUSY)
        return frozenset(w.binding.space_key for w in self if w.binding and w.state in alive)

    def _room(self, owed: int = 0) -> int:
        """How many more may have something to do."""
        return max(0, self._limits.max_concurrent - self.busy - owed)


def _serves(worker: WorkerProcess, space_key: int) -> bool:
    return worker.binding is not None and worker.binding.space_key == space_key


def _has_rested(worker: WorkerProcess, now: float) -> bool:
    """Whether whoever has the first right to a free worker has had it for long enough."""
    return now - worker.idle_since >= KEPT_SECONDS
