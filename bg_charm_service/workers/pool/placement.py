"""Which processors each worker may use: as many as its walls say, those that are used least.

A worker is placed when it is given a batch. It keeps its place while nobody else who is busy uses
that, so a service that has processors enough moves nobody. Linux only. Used by the pool.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from bg_charm_service.workers.pool.worker_process import WorkerProcess, WorkerState

#: Lets the process of that id use these processors, and no other.
UseProcessors = Callable[[int, Sequence[int]], None]


class Placement:
    """Places workers on the processors of this machine that the service may use, by number."""

    def __init__(self, processors: Sequence[int], use: UseProcessors) -> None:
        self._processors = tuple(processors)
        self._use = use

    def place(self, worker: WorkerProcess, count: int, others: Iterable[WorkerProcess]) -> None:
        """Let a worker that is about to be busy use those `count` that busy ones use least."""
        if count >= len(self._processors) or not worker.pid:
            return
        kept = worker.processors
        used = [
            number
            for other in others
            if other.state is WorkerState.BUSY and other is not worker
            for number in other.processors
        ]
        if len(kept) == count and not any(number in used for number in kept):
            return
        users = Counter(used)
        best = sorted(self._processors, key=lambda number: (users[number], number not in kept))
        chosen = tuple(sorted(best[:count]))
        if chosen != kept:
            worker.processors = chosen
            self._use(worker.pid, chosen)


def available_processors() -> tuple[int, ...]:
    """The numbers of the processors that this process may use; empty where nobody can tell."""
    if sys.platform != "linux":
        return ()
    return tuple(sorted(os.sched_getaffinity(0)))


def use_processors(pid: int, numbers: Sequence[int]) -> None:
    """Let a process use these processors only, with all its threads; one that is gone is fine.

    Where a service manager forbids that, it goes on using all.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(thread), numbers)
