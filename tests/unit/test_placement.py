"""Which processors workers are placed on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from bg_charm_service.workers.pool.placement import Placement
from bg_charm_service.workers.pool.process_usage import Processes
from bg_charm_service.workers.pool.worker_process import WorkerProcess, WorkerState

#: Of a machine with many.
SIXTEEN = range(16)


class Machine:
    """Processors, and workers that are placed on them."""

    def __init__(self, processors: range) -> None:
        self.moves: list[tuple[int, tuple[int, ...]]] = []
        self._placement = Placement(processors, lambda pid, to: self.moves.append((pid, tuple(to))))
        self.workers: list[WorkerProcess] = []

    def start(self, processors: int = 1) -> WorkerProcess:
        """Start a worker that is busy from now on."""
        worker = WorkerProcess(len(self.workers) + 1, 0.0, Processes())
        worker.pid = worker.worker_no
        self.workers.append(worker)
        self.give(worker, processors)
        return worker

    def give(self, worker: WorkerProcess, processors: int = 1) -> None:
        """Give a worker something to do."""
        self._placement.place(worker, processors, self.workers)
        worker.state = WorkerState.BUSY


@pytest.fixture
def machine() -> Iterator[Callable[[range], Machine]]:
    """Make a machine with these processors."""
    made: list[Machine] = []

    def make(processors: range) -> Machine:
        made.append(Machine(processors))
        return made[-1]

    yield make
    for each in made:
        for worker in each.workers:
            worker.close()


def test_each_busy_worker_has_one_of_its_own(machine: Callable[[range], Machine]) -> None:
    """While there are enough, no two busy workers share a processor."""
    many = machine(SIXTEEN)
    for _ in SIXTEEN:
        many.start()

    assert sorted((number,) for number in SIXTEEN) == sorted(
        worker.processors for worker in many.workers
    )


def test_a_worker_that_may_use_more_has_more(machine: Callable[[range], Machine]) -> None:
    """It has as many as its walls say, those that others use least."""
    many = machine(SIXTEEN)
    first = many.start(processors=4)
    second = many.start(processors=12)

    assert (4, 12) == (len(first.processors), len(second.processors))
    assert not set(first.processors) & set(second.processors)


def test_nobody_is_moved_while_he_is_alone(machine: Callable[[range], Machine]) -> None:
    """A worker keeps its processor from batch to batch: to be moved costs."""
    many = machine(SIXTEEN)
    worker = many.start()
    for _ in range(10):
        worker.state = WorkerState.IDLE
        many.give(worker)

    assert 1 == len(many.moves)


def test_a_worker_makes_way(machine: Callable[[range], Machine]) -> None:
    """One that comes back to a processor that is in use takes another that is not."""
    two = machine(range(2))
    first, second = two.start(), two.start()
    first.state = WorkerState.IDLE
    third = two.start()
    assert first.processors == third.processors
    second.state = WorkerState.IDLE
    two.give(first)

    assert {third.processors, first.processors} == {(0,), (1,)}


@pytest.mark.parametrize("processors", [1, 2])
def test_nobody_is_placed_where_there_is_no_choice(
    machine: Callable[[range], Machine], processors: int
) -> None:
    """Who may use all there are is left where the system puts it."""
    few = machine(range(processors))
    few.start(processors=2)

    assert [] == few.moves
