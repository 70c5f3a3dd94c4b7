"""What waits for fresh workers: batches whose walls no free worker has, and inspections.

Each batch that waits has had a worker replaced for it, so it waits no longer than a worker takes
to start. Its deadline begins when it is sent. Used by the pool.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from msgspec import structs

from bg_charm_service.workers.pool.worker_process import Binding
from bg_charm_service.workers.protocol.messages import TO_WORKER, Inspect, RunSpec


@dataclass(frozen=True, slots=True)
class PendingBatch:
    """Runs, their frames, and whom their worker will be bound to."""

    runs: list[RunSpec]
    frames: list[bytes]
    binding: Binding

    def take(self, run_id: str) -> RunSpec | None:
        """Take one run out; None when it is not among them."""
        for index, run in enumerate(self.runs):
            if run.run_id == run_id:
                del self.runs[index], self.frames[index]
                self._pass_source_on(run)
                return run
        return None

    def _pass_source_on(self, gone: RunSpec) -> None:
        """Let the next run of the same source bring what the one that is gone would have."""
        for index, run in enumerate(self.runs):
            if run.source_hash == gone.source_hash:
                successor = structs.replace(run, source=run.source or gone.source)
                self.runs[index], self.frames[index] = successor, TO_WORKER.encode(successor)
                return


class PendingRuns:
    """Batches come before inspections: they have been promised a worker."""

    def __init__(self) -> None:
        self._batches: deque[PendingBatch] = deque()
        self._inspections: deque[tuple[Inspect, bytes]] = deque()

    def add_batch(self, batch: PendingBatch) -> None:
        """Let a batch wait."""
        self._batches.append(batch)

    def add_inspection(self, request: Inspect, frame: bytes) -> None:
        """Let an inspection wait."""
        self._inspections.append((request, frame))

    def next_batch(self) -> PendingBatch | None:
        """Take the batch that waits longest."""
        return self._batches.popleft() if self._batches else None

    def next_inspection(self) -> tuple[Inspect, bytes] | None:
        """Take the inspection that waits longest."""
        return self._inspections.popleft() if self._inspections else None

    def take_run(self, run_id: str) -> RunSpec | None:
        """Take one run out; None when it does not wait."""
        for batch in self._batches:
            run = batch.take(run_id)
            if run is not None:
                if not batch.runs:
                    self._batches.remove(batch)
                return run
        return None

    def take_all_runs(self) -> list[RunSpec]:
        """Take all runs out."""
        taken = [run for batch in self._batches for run in batch.runs]
        self._batches.clear()
        return taken

    @property
    def has_inspections(self) -> bool:
        """Whether an inspection waits."""
        return bool(self._inspections)

    @property
    def batches(self) -> int:
        """How many batches wait: so many fresh workers are owed."""
        return len(self._batches)

    def __len__(self) -> int:
        return len(self._batches) + len(self._inspections)


def has_sources(runs: Sequence[RunSpec], known: Collection[str]) -> bool:
    """Whether each run's source is known, or comes with it or with one before it."""
    brought: set[str] = set()
    for run in runs:
        if run.source is not None:
            brought.add(run.source_hash)
        elif run.source_hash not in known and run.source_hash not in brought:
            return False
    return True
