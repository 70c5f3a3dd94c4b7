"""Which workers are free for whom, and which move to a space in need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from bg_charm_service.domain.limits import Walls
from bg_charm_service.workers.pool.contract import Isolation, PoolLimits
from bg_charm_service.workers.pool.process_usage import Processes
from bg_charm_service.workers.pool.worker_process import Binding, WorkerProcess, WorkerState
from bg_charm_service.workers.pool.worker_set import KEPT_SECONDS, QUANTUM_SECONDS, WorkerSet

WALLS = Walls(ports=(443,))

LIMITS = PoolLimits(max_concurrent=3)

#: Long after all workers came.
NOW = 1000.0


@pytest.fixture
def worker_set() -> Iterator[WorkerSet]:
    """A set whose workers are closed at the end."""
    made = WorkerSet(LIMITS)
    yield made
    for worker in made:
        worker.close()


def join(
    worker_set: WorkerSet,
    space_key: int | None,
    state: WorkerState = WorkerState.IDLE,
    walls: Walls = WALLS,
) -> WorkerProcess:
    """Add a worker without a process."""
    worker = WorkerProcess(len(worker_set) + 1, started=0.0, processes=Processes())
    worker.binding = None if space_key is None else Binding(space_key, walls)
    worker.state = state
    worker_set.add(worker)
    return worker


class TestMoving:
    """Workers are few, spaces many."""

    def test_idle_worker_of_a_space_without_work_moves(self, worker_set: WorkerSet) -> None:
        """A space in need takes the worker that has nothing to do."""
        idle = join(worker_set, 1)
        assert [idle] == worker_set.to_move({2: 0.0}, NOW)

    def test_nobody_moves_for_a_space_that_is_served(self, worker_set: WorkerSet) -> None:
        """A space that has a free worker needs no other."""
        join(worker_set, 1)
        join(worker_set, 2)
        assert [] == worker_set.to_move({1: 0.0}, NOW)

    def test_unbound_and_starting_workers_come_first(self, worker_set: WorkerSet) -> None:
        """Nobody moves while as many workers without a space are there, or on their way."""
        join(worker_set, None)
        join(worker_set, None, WorkerState.STARTING)
        join(worker_set, 9)
        assert [] == worker_set.to_move({1: 0.0, 2: 0.0}, NOW)

    def test_worker_leaves_work_only_for_who_used_clearly_less(self, worker_set: WorkerSet) -> None:
        """A worker whose space has work stays, until that space had clearly more than its share."""
        busy_space = join(worker_set, 1)
        near = {2: 0.0, 1: QUANTUM_SECONDS / 2}
        far = {2: 0.0, 1: QUANTUM_SECONDS * 2}
        assert [] == worker_set.to_move(near, NOW)
        assert [busy_space] == worker_set.to_move(far, NOW)

    def test_as_many_move_as_spaces_are_in_need(self, worker_set: WorkerSet) -> None:
        """One worker for each space in need, not more."""
        for space_key in (1, 2, 3):
            join(worker_set, space_key)
        assert 2 == len(worker_set.to_move({8: 0.0, 9: 0.1}, NOW))

    def test_busy_workers_stay(self, worker_set: WorkerSet) -> None:
        """A run under way is not interrupted for fairness."""
        join(worker_set, 1, WorkerState.BUSY)
        assert [] == worker_set.to_move({2: 0.0}, NOW)

    def test_fresh_workers_that_are_owed_count_for_others(self, worker_set: WorkerSet) -> None:
        """A worker that comes for a run which waits serves no space in need."""
        idle = join(worker_set, 1)
        join(worker_set, None, WorkerState.STARTING)
        needs = {2: 0.0}
        assert [] == worker_set.to_move(needs, NOW)
        assert [idle] == worker_set.to_move(needs, NOW, owed=1)

    def test_worker_that_was_just_at_work_is_kept(self, worker_set: WorkerSet) -> None:
        """A space that has workers waits a moment for its own; one that has none does not."""
        idle = join(worker_set, 1)
        idle.idle_since = NOW - KEPT_SECONDS / 2
        join(worker_set, 2, WorkerState.BUSY)
        assert [] == worker_set.to_move({2: 0.0}, NOW)
        assert [idle] == worker_set.to_move({2: 0.0, 3: 9.0}, NOW)
        assert [idle] == worker_set.to_move({2: 0.0}, NOW + KEPT_SECONDS)

    def test_longest_idle_one_moves_first(self, worker_set: WorkerSet) -> None:
        """Of several that have nothing to do, the one that was used last is kept."""
        newer, older = join(worker_set, 1), join(worker_set, 1)
        newer.idle_since, older.idle_since = 2.0, 1.0
        assert [older] == worker_set.to_move({2: 0.0}, NOW)

    @pytest.mark.parametrize("isolation", [Isolation.SHARED, Isolation.RUN])
    def test_nobody_moves_where_workers_are_not_of_a_space(self, isolation: Isolation) -> None:
        """Where a worker serves any space, none is replaced for the sake of one."""
        worker_set = WorkerSet(replace(LIMITS, isolation=isolation))
        worker = join(worker_set, 1)
        assert [] == worker_set.to_move({2: 0.0}, NOW)
        worker.close()


class TestReserve:
    """One fresh worker is kept beside those that make runs."""

    def join_all(self, worker_set: WorkerSet) -> list[WorkerProcess]:
        """Add as many bound workers as there are to be, each idle for longer than the next."""
        workers = [join(worker_set, space_key) for space_key in range(1, LIMITS.workers + 1)]
        for worker in workers:
            worker.idle_since = float(worker.worker_no)
        return workers

    def test_longest_idle_one_makes_place(self, worker_set: WorkerSet) -> None:
        """The worker that was used last is the likeliest to be used again."""
        first, *_ = self.join_all(worker_set)
        assert [first] == worker_set.to_refresh([])

    def test_space_with_work_keeps_its_worker(self, worker_set: WorkerSet) -> None:
        """A worker that is about to have a run is not replaced for one that may be of use."""
        _, second, *_ = self.join_all(worker_set)
        assert [second] == worker_set.to_refresh({1})
        assert [] == worker_set.to_refresh(range(1, LIMITS.workers + 1))

    def test_one_is_enough(self, worker_set: WorkerSet) -> None:
        """Nobody makes place while a fresh worker is there, or on its way."""
        *_, last = self.join_all(worker_set)
        last.binding = None
        assert [] == worker_set.to_refresh([])
        last.state = WorkerState.STARTING
        assert [] == worker_set.to_refresh([])

    def test_none_is_made_while_all_are_busy(self, worker_set: WorkerSet) -> None:
        """A fresh worker could do nothing then, and the one that makes place might."""
        first, *others = self.join_all(worker_set)
        for worker in others:
            worker.state = WorkerState.BUSY
        assert [] == worker_set.to_refresh([])
        others[0].state = WorkerState.IDLE
        assert [first] == worker_set.to_refresh([])

    def test_nobody_goes_where_none_comes(self, worker_set: WorkerSet) -> None:
        """While workers are missing, those that are there are not replaced."""
        *_, last = self.join_all(worker_set)
        worker_set.drop(last)
        assert [] == worker_set.to_refresh([])
        last.close()

    @pytest.mark.parametrize("isolation", [Isolation.SHARED, Isolation.RUN])
    def test_only_where_workers_are_of_a_space(self, isolation: Isolation) -> None:
        """Any worker serves any space under `shared`, and none serves twice under `run`."""
        limits = replace(LIMITS, isolation=isolation)
        worker_set = WorkerSet(limits)
        workers = [join(worker_set, 1) for _ in range(limits.workers)]
        assert [] == worker_set.to_refresh([])
        for worker in workers:
            worker.close()

    def test_new_reserve_is_for_who_has_no_worker(self, worker_set: WorkerSet) -> None:
        """A space that has workers takes the last fresh one only when nobody else has wanted it."""
        fresh = join(worker_set, None)
        fresh.idle_since = NOW
        join(worker_set, 1, WorkerState.BUSY)
        soon, later = worker_set.free(NOW), worker_set.free(NOW + KEPT_SECONDS)
        assert (True, False) == (soon.has(2), soon.has(1))
        assert (True, True) == (later.has(2), later.has(1))

    def test_several_fresh_ones_are_for_anybody(self, worker_set: WorkerSet) -> None:
        """After a start, a space may have as many as it has work for; one is left for others."""
        for _ in range(2):
            join(worker_set, None).idle_since = NOW
        join(worker_set, 1, WorkerState.BUSY)
        free = worker_set.free(NOW)
        assert free.has(1)
        free.take(1)
        assert (True, False) == (free.has(2), free.has(1))


class TestReplacing:
    """A run whose walls no free worker has takes the place of one."""

    def test_one_of_its_own_space_first(self, worker_set: WorkerSet) -> None:
        """Another space loses its worker only where there is no other."""
        other, own = join(worker_set, 2), join(worker_set, 1)
        other.idle_since, own.idle_since = 1.0, 2.0
        assert own is worker_set.to_replace(1)
        assert other is worker_set.to_replace(2)
        worker_set.drop(own)
        assert other is worker_set.to_replace(1)
        own.close()

    def test_the_longest_idle_one(self, worker_set: WorkerSet) -> None:
        """Of several, the one that was used last stays."""
        newer, older = join(worker_set, 1), join(worker_set, 1)
        newer.idle_since, older.idle_since = 2.0, 1.0
        assert older is worker_set.to_replace(1)

    def test_never_a_fresh_or_a_busy_one(self, worker_set: WorkerSet) -> None:
        """Only workers that are bound and free are replaced."""
        join(worker_set, None)
        join(worker_set, 1, WorkerState.BUSY)
        assert worker_set.to_replace(1) is None

    def test_walls_tell_workers_apart(self, worker_set: WorkerSet) -> None:
        """A worker of the space is no worker for a run with other walls."""
        worker = join(worker_set, 1)
        assert worker is worker_set.idle_for(worker_set.binding(1, WALLS))
        assert worker_set.idle_for(worker_set.binding(1, Walls())) is None
        fresh = join(worker_set, None)
        assert fresh is worker_set.idle_for(worker_set.binding(1, Walls()))
