"""Who serves whom: workers bound to space and walls, and runs that wait for a fresh one."""

from __future__ import annotations

from functools import partial

from bg_charm_service.workers.pool.contract import Isolation
from bg_charm_service.workers.protocol.messages import Answer, RunSpec, ToWorker
from tests.unit.fake_zygote import (
    INSPECTION,
    FakeWorker,
    PoolBench,
    other_walls,
    with_fake_workers,
)


def test_worker_serves_one_space() -> None:
    """A space's next run goes to its worker, another space's to a fresh one."""

    async def work(bench: PoolBench) -> None:
        first = bench.out(1)
        maker = bench.maker(first)
        await bench.answered(first)
        second = bench.out(1)
        assert maker is bench.maker(second)
        await bench.answered(second)
        assert maker is not bench.maker(bench.out(2))

    with_fake_workers(work)


def test_worker_has_one_set_of_walls() -> None:
    """A run with other walls never goes to a worker that is behind some already."""

    async def work(bench: PoolBench) -> None:
        first = bench.out(1)
        maker = bench.maker(first)
        await bench.answered(first)
        other = bench.out(1, limits=other_walls(1))
        assert maker is not bench.maker(other)

    with_fake_workers(work)


def test_run_waits_for_a_worker_with_its_walls() -> None:
    """Where every worker has other walls, one is replaced, and the run's time starts with it."""

    async def work(bench: PoolBench) -> None:
        await bench.bind_all()
        waiting = bench.out(1, limits=other_walls(2))
        assert bench.pool.workers.running(waiting.run_id) is None
        bench.clock.ahead_seconds = 3600.0
        await bench.until(lambda: bench.pool.workers.running(waiting.run_id))
        await bench.answered(waiting)

    with_fake_workers(work)


def test_promised_room_is_there_whatever_the_walls() -> None:
    """As many runs as there are free workers are taken, and all are made."""

    async def work(bench: PoolBench) -> None:
        await bench.bind_all()
        wanted = [bench.out(7), bench.out(1, limits=other_walls(1))]
        assert not bench.pool.dispatch(4, [bench.run_spec()])
        for run in wanted:
            await bench.until(partial(bench.pool.workers.running, run.run_id))
            await bench.answered(run)

    with_fake_workers(work)


class TestWaitingRuns:
    """They have not begun, so that nothing which happens to them costs anything."""

    async def wait(self, bench: PoolBench) -> RunSpec:
        """Let a run wait."""
        await bench.bind_all()
        return bench.out(1, limits=other_walls(1))

    def test_cancelled(self) -> None:
        """A waiting run can be cancelled, and is not made afterwards."""

        async def work(bench: PoolBench) -> None:
            waiting = await self.wait(bench)
            assert bench.pool.cancel(waiting.run_id)
            end = await bench.end_of(waiting)
            assert (None, None, True) == (end.answer, end.death, end.is_cancelled)
            assert not bench.pool.cancel(waiting.run_id)

        with_fake_workers(work)

    def test_stopped(self) -> None:
        """A stop gives waiting runs back, once."""

        async def work(bench: PoolBench) -> None:
            waiting = await self.wait(bench)
            bench.pool.stop()
            bench.pool.stop()
            bench.events += bench.pool.collect()
            (end,) = bench.ended(waiting)
            assert (None, None, False) == (end.answer, end.death, end.is_orphaned)

        with_fake_workers(work)

    def test_zygote_lost(self) -> None:
        """When workers' parent dies, waiting runs go back, and count as not delivered."""

        async def work(bench: PoolBench) -> None:
            waiting = await self.wait(bench)
            bench.zygotes[0].lose()
            end = await bench.end_of(waiting)
            assert (None, None, False) == (end.answer, end.death, end.is_orphaned)

        with_fake_workers(work)


class TestReserve:
    """Under `space` one fresh worker more is there, for a space that has none."""

    def test_serves_at_once(self) -> None:
        """A run in a space without a worker waits for none to start."""

        async def work(bench: PoolBench) -> None:
            bound = [bench.out(1), bench.out(2)]
            await bench.answered(bound[0])
            await bench.until(lambda: bench.pool.workers.in_reserve)
            run = bench.out(3)
            assert bench.maker(run) is not None
            assert 0 == bench.pool.workers.in_reserve

        with_fake_workers(work)

    def test_makes_no_run_beyond_the_limit(self) -> None:
        """With as many runs under way as there may be, it stays what it is."""

        async def work(bench: PoolBench) -> None:
            runs = [bench.out(1), bench.out(2)]
            await bench.until(lambda: bench.pool.workers.in_reserve)
            assert 0 == bench.pool.free_workers().count
            assert not bench.pool.free_workers().has(3)
            assert not bench.pool.dispatch(3, [bench.run_spec()])
            await bench.answered(runs[0])
            assert 1 == bench.pool.free_workers().count

        with_fake_workers(work)

    def test_is_renewed_by_the_longest_idle_worker(self) -> None:
        """Once it is taken another takes its place, and there is never a process more."""

        async def work(bench: PoolBench) -> None:
            oldest, *_ = await bench.bind_all()
            bench.pool.rebalance({})
            assert 3 == len(bench.pool.workers)
            await bench.until(lambda: bench.pool.workers.in_reserve)
            assert oldest.is_dead
            bench.pool.rebalance({})
            assert 3 == len(bench.pool.workers)
            assert [oldest] == [one for one in bench.workers if one.is_dead]

        with_fake_workers(work)

    def test_source_is_loaded_while_all_are_busy(self) -> None:
        """Whoever adds a charm does not wait for the runs under way."""

        async def work(bench: PoolBench) -> None:
            makers = {bench.maker(run) for run in (bench.out(1), bench.out(2))}
            bench.pool.inspect(INSPECTION)
            await bench.until(
                lambda: any(one.read_and_begin() for one in {*bench.workers} - makers)
            )

        with_fake_workers(work)


def test_shared_workers_serve_any_space() -> None:
    """Under `shared` a worker goes on with another space's run, behind the same walls."""

    async def work(bench: PoolBench) -> None:
        first = bench.out(1)
        maker = bench.maker(first)
        second = bench.out(2)
        await bench.answered(second)
        await bench.answered(first)
        third, fourth = bench.out(3), bench.out(4)
        assert {maker, bench.maker(third)} == {bench.maker(third), bench.maker(fourth)}
        assert 2 == len(bench.workers)
        await bench.answered(third)
        other = bench.out(3, limits=other_walls(1))
        assert bench.pool.workers.running(other.run_id) is None

    with_fake_workers(work, isolation=Isolation.SHARED)


def test_each_run_has_a_process_under_run() -> None:
    """Under `run` no worker makes two runs, and a fresh one is ready while others run."""

    async def work(bench: PoolBench) -> None:
        await bench.until(lambda: len(bench.workers) == 4)
        makers = set()
        for _ in range(3):
            runs = [bench.out(1), bench.out(1)]
            assert 0 == bench.pool.free_workers().count
            assert not bench.pool.dispatch(1, [bench.run_spec()])
            makers |= {bench.maker(run).worker_no for run in runs}
            for run in runs:
                await bench.answered(run)
            # Nobody waits for a worker to start: there were enough already.
            await bench.until(lambda: bench.pool.free_workers().count == 2)
        assert 6 == len(makers)
        used = [one for one in bench.workers if one.worker_no in makers]
        await bench.until(lambda: all(one.is_dead for one in used))

    with_fake_workers(work, isolation=Isolation.RUN)


def test_fresh_worker_of_an_inspection_has_run_nothing() -> None:
    """A source is loaded in a worker that nobody was served by, at every level."""

    async def work(bench: PoolBench) -> None:
        makers = await bench.bind_all()
        bench.pool.inspect(INSPECTION)
        heard: list[tuple[FakeWorker, ToWorker]] = []

        def is_asked() -> bool:
            heard.extend((one, m) for one in bench.workers for m in one.read_and_begin())
            return bool(heard)

        await bench.until(is_asked)
        ((asked, _),) = heard
        assert asked not in makers

    for level in (Isolation.SPACE, Isolation.SHARED):
        with_fake_workers(work, isolation=level)


def test_answer_of_a_used_up_worker_counts() -> None:
    """Under `run` the answer is taken although the worker ends with it."""

    async def work(bench: PoolBench) -> None:
        run = bench.out(1)
        maker = bench.maker(run)
        await bench.until(lambda: run in maker.read_and_begin())
        maker.say(Answer(run.run_id, 0.1))
        maker.die()
        end = await bench.end_of(run)
        assert end.answer is not None

    with_fake_workers(work, isolation=Isolation.RUN)
