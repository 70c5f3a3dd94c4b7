"""Who pays for the end of a worker: the run that had begun, and nobody else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.web.requests import UNFINISHED, HttpRequest
from bg_charm_service.workers.pool.events import ItemsWanted
from bg_charm_service.workers.protocol.messages import (
    Answer,
    FetchField,
    FieldValue,
    FoundItems,
    LogText,
    RequestTold,
    ToWorker,
    WantItems,
)
from tests.unit.fake_zygote import PoolBench, with_fake_workers


def test_death_in_mid_run_is_the_runs() -> None:
    """A worker that dies once it has read its run takes that run along."""

    async def work(bench: PoolBench) -> None:
        run = bench.out()
        maker = bench.maker(run)
        await bench.until(lambda: run in maker.read_and_begin())
        maker.die()
        end = await bench.end_of(run)
        assert end.death is not None
        assert FailureCause.SIGNAL is end.death.cause
        assert [] == bench.idle_deaths

    with_fake_workers(work)


def test_what_it_had_asked_for_is_kept() -> None:
    """Of a run that is killed: the first requests and the last ones, as far as they had come."""

    async def work(bench: PoolBench) -> None:
        run = bench.out()
        maker = bench.maker(run)
        await bench.until(lambda: run in maker.read_and_begin())
        begun = HttpRequest(1, "GET", "h.example", "/", 0, 0.1, 0, fault=UNFINISHED)
        for number in range(1, 302):
            maker.say(RequestTold(run.run_id, replace(begun, number=number)))
            if number != 301:
                over = replace(begun, number=number, status=200, duration_ms=5.0, fault="")
                maker.say(RequestTold(run.run_id, over))
            await bench.turn()
        bench.clock.ahead_seconds = 3.0
        maker.die()
        end = await bench.end_of(run)
        assert [*range(1, 101), *range(202, 302)] == [one.number for one in end.requests]
        assert {(200, "", 5.0)} == {
            (one.status, one.fault, one.duration_ms) for one in end.requests[:-1]
        }
        last = end.requests[-1]
        assert (0, UNFINISHED) == (last.status, last.fault)
        assert 3000 <= last.duration_ms

    with_fake_workers(work)


def test_requests_are_of_their_run() -> None:
    """Another run of the worker begins with none, and one that answers says itself what it made."""

    async def work(bench: PoolBench) -> None:
        first, second = bench.out_together(2)
        maker = bench.maker(first)
        await bench.until(lambda: first in maker.read_and_begin())
        told = HttpRequest(1, "GET", "h.example", "/", 200, 5.0, 0)
        maker.say(RequestTold(first.run_id, told))
        await bench.answered_by(maker, first)
        maker.begin()
        maker.die()
        ended = await bench.end_of(second)
        assert [(), ()] == [one.requests for one in (*bench.ended(first), ended)]
        assert ended.death is not None

    with_fake_workers(work)


@pytest.mark.parametrize("size", [0, 4 * 1024 * 1024], ids=["small", "larger than a buffer"])
def test_death_before_the_run_began_is_nobodys(size: int) -> None:
    """A worker that dies without having read its run gives it back, and is told of."""

    async def work(bench: PoolBench) -> None:
        before = bench.out()
        await bench.answered(before)
        run = bench.out(size=size)
        bench.maker(run).die()
        end = await bench.end_of(run)
        assert (None, None) == (end.answer, end.death)
        assert [before.run_id] == [death.after_run for death in bench.idle_deaths]
        assert 1 == bench.pool.crashed

    with_fake_workers(work)


def test_death_between_runs_is_nobodys() -> None:
    """A worker that dies while it is free is told of, with the run that it made last."""

    async def work(bench: PoolBench) -> None:
        run = bench.out()
        maker = bench.maker(run)
        await bench.answered(run)
        maker.die()
        await bench.until(lambda: bench.idle_deaths)
        (death,) = bench.idle_deaths
        assert (run.run_id, -9, "") == (death.after_run, death.exit_code, death.detail)
        assert 1 == len(bench.ends)

    with_fake_workers(work)


def test_no_run_goes_to_a_worker_that_has_hung_up() -> None:
    """A free worker whose socket is closed by the time of the next run does not get it."""

    async def work(bench: PoolBench) -> None:
        first = bench.out()
        maker = bench.maker(first)
        await bench.answered(first)
        maker.hang_up()
        second = bench.out()
        assert maker is not bench.maker(second)
        await bench.answered(second)

    with_fake_workers(work)


def test_free_worker_that_speaks_is_ended_and_told_of() -> None:
    """What a worker says between runs is never taken for what the next run says."""

    async def work(bench: PoolBench) -> None:
        first = bench.out()
        maker = bench.maker(first)
        await bench.answered(first)
        maker.say(LogText(first.run_id, "late"))
        second = bench.out()
        assert maker is not bench.maker(second)
        await bench.answered(second)
        await bench.until(lambda: bench.idle_deaths)
        (death,) = bench.idle_deaths
        assert first.run_id == death.after_run
        assert "a run it was not given" in death.detail

    with_fake_workers(work)


def test_half_a_frame_behind_an_answer_is_not_the_next_runs() -> None:
    """An answer counts; a worker that has begun to say more makes no other run."""

    async def work(bench: PoolBench) -> None:
        first = bench.out()
        maker = bench.maker(first)
        await bench.until(lambda: first in maker.read_and_begin())
        maker.say(Answer(first.run_id, 0.1))
        maker.write(b"\0\0")
        assert (await bench.end_of(first)).answer is not None
        await bench.until(lambda: bench.idle_deaths)
        await bench.until(lambda: maker.is_dead)

    with_fake_workers(work)


def test_field_comes_to_the_run_that_asked() -> None:
    """A field that is fetched too late goes to nobody, least of all to the next run."""

    async def work(bench: PoolBench) -> None:
        first = bench.out(large=("big",))
        maker = bench.maker(first)
        await bench.until(lambda: first in maker.read_and_begin())
        maker.say(FetchField(first.run_id, "big"), Answer(first.run_id, 0.1))
        await bench.end_of(first)
        second = bench.out()
        bench.pool.give_field(first.run_id, FieldValue("big", b"1"))
        assert maker is bench.maker(second)
        heard: list[ToWorker] = []

        def is_there() -> bool:
            heard.extend(maker.read_and_begin())
            return second in heard

        await bench.until(is_there)
        await bench.answered_by(maker, second)
        assert [second] == heard + maker.read_and_begin()

    with_fake_workers(work)


def test_time_of_a_run_that_never_began_is_nobodys() -> None:
    """A worker that does not take its run is killed at the limit, and the run is made elsewhere."""

    async def work(bench: PoolBench) -> None:
        run = bench.out()
        bench.clock.ahead_seconds = 100.0
        end = await bench.end_of(run)
        assert (None, None) == (end.answer, end.death)
        assert 1 == len(bench.idle_deaths)

    with_fake_workers(work)


def test_deaths_are_counted_by_cause() -> None:
    """Each once, under what ended it: a signal, nobody's wish, or ours."""

    async def work(bench: PoolBench) -> None:
        run = bench.out()
        bench.maker(run).die()
        await bench.end_of(run)
        again = bench.out()
        assert bench.pool.cancel(again.run_id)
        await bench.end_of(again)
        bench.pool.stop()
        counts = {cause: count for cause, count in bench.pool.ended.items() if count}
        assert (1, 1) == (counts.pop("signal"), counts.pop("cancelled"))
        assert {"shutdown"} == set(counts)
        assert bench.pool.created == sum(bench.pool.ended.values())

    with_fake_workers(work)


def test_pool_knows_since_when_no_worker_is_ready() -> None:
    """From the end of the last one to the first that is ready again; never while one is."""

    async def work(bench: PoolBench) -> None:
        def since() -> float | None:
            return bench.pool.without_workers_since

        assert since() is None
        bench.zygotes[-1].has_room = False
        for worker in bench.workers:
            worker.die()
        await bench.until(lambda: since() is not None)
        assert 0.0 < (since() or 0.0) <= bench.clock.steady()
        bench.zygotes[-1].has_room = True
        bench.clock.ahead_seconds += 60
        await bench.until(lambda: since() is None)

    with_fake_workers(work)


@pytest.mark.parametrize("is_read_before", [True, False])
def test_a_run_does_not_pay_for_its_wait_for_us(*, is_read_before: bool) -> None:
    """One that asks, and is answered late since this process was held up, has its time left."""

    async def work(bench: PoolBench) -> None:
        run = bench.out()
        maker = bench.maker(run)
        await bench.until(lambda: run in maker.read_and_begin())
        maker.say(WantItems(run.run_id, "box"))
        if is_read_before:
            await bench.until(lambda: any(isinstance(one, ItemsWanted) for one in bench.events))
        # Longer than its limit and all grace.
        bench.clock.ahead_seconds += 100.0
        await bench.until(lambda: any(isinstance(one, ItemsWanted) for one in bench.events))
        bench.pool.give_items(FoundItems(run.run_id))
        maker.say(Answer(run.run_id, 0.1))
        assert (await bench.end_of(run)).answer is not None
        again = bench.out()
        bench.clock.ahead_seconds += 100.0
        assert (await bench.end_of(again)).answer is None

    with_fake_workers(work)
