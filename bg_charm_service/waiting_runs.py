"""What waits for fresh workers: runs whose walls no free worker has, and inspections.

Each run that waits has had a worker replaced for it, so it waits no longer than a worker takes
to start. Its deadline begins when it is sent. Used by the pool.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from bg_charm_service.wire import Inspect, RunSpec
from bg_charm_service.worker_handle import Binding


@dataclass(frozen=True, slots=True)
class WaitingRun:
    """A run, its frame, and whom its worker will be bound to."""

    run: RunSpec
    frame: bytes
    binding: Binding


class WaitingRoom:
    """Runs come before inspections: they have been promised a worker."""

    def __init__(self) -> None:
        self._runs: deque[WaitingRun] = deque()
        self._inspections: deque[tuple[Inspect, bytes]] = deque()

    def add_run(self, waiting: WaitingRun) -> None:
        """Let a run wait."""
        self._runs.append(waiting)

    def add_inspection(self, request: Inspect, frame: bytes) -> None:
        """Let an inspection wait."""
        self._inspections.append((request, frame))

    def next_run(self) -> WaitingRun | None:
        """Take the run that waits longest."""
        return self._runs.popleft() if self._runs else None

    def next_inspection(self) -> tuple[Inspect, bytes] | None:
        """Take the inspection that waits longest."""
        return self._inspections.popleft() if self._inspections else None

    def take_run(self, run_id: str) -> RunSpec | None:
        """Take one run out; None when it does not wait."""
        for waiting in self._runs:
            if waiting.run.run_id == run_id:
                self._runs.remove(waiting)
                return waiting.run
        return None

    def take_all_runs(self) -> list[RunSpec]:
        """Take all runs out."""
        taken = [waiting.run for waiting in self._runs]
        self._runs.clear()
        return taken

    @property
    def has_inspections(self) -> bool:
        """Whether an inspection waits."""
        return bool(self._inspections)

    @property
    def runs(self) -> int:
        """How many runs wait: so many fresh workers are owed."""
        return len(self._runs)

    def __len__(self) -> int:
        return len(self._runs) + len(self._inspections)
