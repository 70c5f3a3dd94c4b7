"""Which workers are free for whom, and which move to a space in need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bg_charm_service.crew import QUANTUM_SECONDS, Crew
from bg_charm_service.fairness import Need
from bg_charm_service.limits import Walls
from bg_charm_service.worker_handle import Binding, WorkerHandle, WorkerState

WALLS = Walls(ports=(443,))


@pytest.fixture
def crew() -> Iterator[Crew]:
    """A crew whose workers are closed at the end."""
    made = Crew()
    yield made
    for worker in made:
        worker.close()


def join(
    crew: Crew,
    space_key: int | None,
    state: WorkerState = WorkerState.IDLE,
    walls: Walls = WALLS,
) -> WorkerHandle:
    """Add a worker without a process."""
    worker = WorkerHandle(len(crew) + 1, started=0.0)
    worker.binding = None if space_key is None else Binding(space_key, walls)
    worker.state = state
    crew.add(worker)
    return worker


class TestMoving:
    """Workers are few, spaces many."""

    def test_idle_worker_of_a_space_without_work_moves(self, crew: Crew) -> None:
        """A space in need takes the worker that has nothing to do."""
        idle = join(crew, 1)
        assert [idle] == crew.to_move([Need(0.0, 2)])

    def test_nobody_moves_for_a_space_that_is_served(self, crew: Crew) -> None:
        """A space that has a free worker needs no other."""
        join(crew, 1)
        join(crew, 2)
        assert [] == crew.to_move([Need(0.0, 1)])

    def test_unbound_and_starting_workers_come_first(self, crew: Crew) -> None:
        """Nobody moves while as many workers without a space are there, or on their way."""
        join(crew, None)
        join(crew, None, WorkerState.STARTING)
        join(crew, 9)
        assert [] == crew.to_move([Need(0.0, 1), Need(0.0, 2)])

    def test_worker_leaves_work_only_for_who_used_clearly_less(self, crew: Crew) -> None:
        """A worker whose space has work stays, until that space had clearly more than its share."""
        busy_space = join(crew, 1)
        near = [Need(0.0, 2), Need(QUANTUM_SECONDS / 2, 1)]
        far = [Need(0.0, 2), Need(QUANTUM_SECONDS * 2, 1)]
        assert [] == crew.to_move(near)
        assert [busy_space] == crew.to_move(far)

    def test_as_many_move_as_spaces_are_in_need(self, crew: Crew) -> None:
        """One worker for each space in need, not more."""
        for space_key in (1, 2, 3):
            join(crew, space_key)
        assert 2 == len(crew.to_move([Need(0.0, 8), Need(0.1, 9)]))

    def test_busy_workers_stay(self, crew: Crew) -> None:
        """A run under way is not interrupted for fairness."""
        join(crew, 1, WorkerState.BUSY)
        assert [] == crew.to_move([Need(0.0, 2)])
