"""What the supervisor and a pool agree on: limits, room, and the pool's interface.

Simulations bring a pool of their own.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bg_charm_service.domain.limits import Walls
from bg_charm_service.domain.sandbox_mode import Isolation as Isolation
from bg_charm_service.workers.pool.events import PoolEvent
from bg_charm_service.workers.protocol.messages import (
    FieldValue,
    FoundItems,
    Inspect,
    RunSpec,
    TokenGiven,
)


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How many workers, what each may use before it is retired or killed, and how they are kept.

    With `has_walls` workers are sandboxed, but for the `missing_walls`, by name. Under
    `scratch_root` each worker has a directory to write to; None for none. While a run is new, or
    something grows, it is looked so often whether anything does; never for 0. `processors` are the
    numbers of those of this machine that workers may use; empty where they cannot be told apart.
    something grows, it is looked so often whether anything does; never for 0. Under
    `packages_root` lie the folders of packages that workers are bound to.
    """

    max_concurrent: int = 5
    max_runs: int = 1000
    max_age_seconds: float = 3600.0
    memory_bytes: int = 512 * 1024 * 1024
    kill_grace_seconds: float = 1.0
    log_bytes: int = 64 * 1024
    isolation: Isolation = Isolation.SPACE
    has_walls: bool = False
    missing_walls: tuple[str, ...] = ()
    scratch_root: Path | None = None
    packages_root: Path | None = None
    glance_seconds: float = 0.02
    processors: tuple[int, ...] = ()

    @property
    def workers(self) -> int:
        """How many workers there are to be: those that make runs, and the reserve."""
        return self.max_concurrent + self.reserve

    @property
    def reserve(self) -> int:
        """How many fresh workers are kept ready beside those that make runs.

        One for a space that has none; as many again where each run wants one of its own.
        """
        by_isolation = {Isolation.RUN: self.max_concurrent, Isolation.SPACE: 1}
        return by_isolation.get(self.isolation, 0)

    @property
    def runs_a_worker(self) -> int:
        """How many runs a worker makes at most."""
        return 1 if self.isolation is Isolation.RUN else self.max_runs

    @property
    def retire_bytes(self) -> int:
        """An idle worker that holds more than this is replaced, before a run pays for it."""
        return self.memory_bytes // 2


@dataclass(slots=True)
class FreeWorkers:
    """A count of free workers, by the space they are bound to, to hand out from.

    Only `room` of them may be used: the others are there to be ready. The last unbound one is not
    for the spaces that are `served`, which have workers.
    """

    bound: Counter[int]
    unbound: int
    room: int = sys.maxsize
    served: Set[int | None] = frozenset()

    @property
    def count(self) -> int:
        """How many may be used."""
        return min(self.bound.total() + self.unbound, self.room)

    def has(self, space_key: int) -> bool:
        """Whether there is one for a space."""
        has_unbound = self.unbound > (space_key in self.served)
        return self.room > 0 and (has_unbound or self.bound.get(space_key, 0) > 0)

    def take(self, space_key: int) -> None:
        """Count one off for a space that has one."""
        self.room -= 1
        if self.bound.get(space_key, 0) > 0:
            self.bound[space_key] -= 1
        else:
            self.unbound -= 1


class WorkerPool(Protocol):
    """What the supervisor and its parts need of a pool."""

    @property
    def wants_ticks(self) -> bool:
        """Whether there is something to watch: runs under way, workers starting or missing."""

    #: How many runs a worker makes of one batch, at most.
    most_runs_a_batch: int

    def start(self) -> None:
        """Start the first workers."""

    def tick(self) -> None:
        """Bring the actual workers nearer to the desired ones."""

    def collect(self) -> list[PoolEvent]:
        """Give what happened since the last call, in order; raises WorkerBootError."""

    def free_workers(self) -> FreeWorkers:
        """Count the workers that could take a run right now."""

    def rebalance(self, used_seconds: Mapping[int, float]) -> None:
        """Move workers to spaces that have work and none free, those that used least first.

        Given is what each space that has work used lately, in worker-seconds. With none in need,
        keep a fresh worker in reserve.
        """

    def dispatch(self, space_key: int, runs: Sequence[RunSpec]) -> bool:
        """Give a batch of runs to a worker, or let it wait for one; False without room after all.

        All have the same walls. One worker makes them, one after the other, and each ends with a
        RunFinished of its own. The first run of each source that the worker does not know brings
        it. Raises FrameError when a run is too large to send: give out such a one by itself.
        """

    def knows_source(self, space_key: int, walls: Walls, source_hash: str) -> bool:
        """Whether the worker that the next such run goes to has this source already."""

    def give_field(self, run_id: str, message: FieldValue) -> None:
        """Answer a run that asked for a large field."""

    def give_items(self, message: FoundItems) -> None:
        """Answer a run that looks into a collection."""

    def give_token(self, message: TokenGiven) -> None:
        """Answer a run that had its token renewed."""

    def inspect(self, request: Inspect) -> None:
        """Let a fresh worker load a source; InspectFinished follows."""

    def job_with_most_files(self, least_bytes: int) -> int | None:
        """The job whose run keeps the most in its scratch directory, if at least so much."""

    def cancel(self, run_id: str) -> bool:
        """Stop a run; False when nobody makes it."""

    def stop(self) -> None:
        """End every worker; stopping twice is fine."""
