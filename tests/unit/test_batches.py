"""Batches: one worker makes runs one after the other, and each is a run of its own."""

from __future__ import annotations

from functools import partial

import pytest
from msgspec import structs

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.model import Failure
from bg_charm_service.workers.pool.batch_monitor import LATE_SECONDS, STALL_SECONDS
from bg_charm_service.workers.pool.contract import Isolation
from bg_charm_service.workers.protocol.messages import (
    Answer,
    FetchField,
    FieldValue,
    GoOn,
    LogText,
    RunSpec,
    ToWorker,
)
from tests.unit.fake_zygote import LIMITS, FakeWorker, PoolBench, other_walls, with_fake_workers

MADE, BACK = "answered", "given back"


async def begun(bench: PoolBench, runs: list[RunSpec], count: int = 1) -> FakeWorker:
    """Let a worker read its batch and begin with so many of the runs."""
    maker = bench.maker(runs[0])
    for _ in range(count):
        await bench.until(maker.begin)
    return maker


def say(maker: FakeWorker, *runs: RunSpec) -> None:
    """Let a worker answer for runs."""
    maker.say(*(Answer(run.run_id, 0.01) for run in runs))


def test_batch_goes_out_whole_and_each_run_ends_by_itself() -> None:
    """All runs are there at once, and each ends when it is answered, not with the last."""

    async def work(bench: PoolBench) -> None:
        runs = bench.out_together(3)
        maker = await begun(bench, runs)
        assert runs == maker.read()
        say(maker, runs[0])
        await bench.end_of(runs[0])
        assert [MADE] == bench.how(runs)
        assert 1 == bench.pool.free_workers().count
        say(maker, *runs[1:])
        await bench.until(lambda: len(bench.ends) == 3)
        assert runs == [end.run for end in bench.ends]
        assert 2 == bench.pool.free_workers().count

    with_fake_workers(work)


def test_batches_follow_each_other() -> None:
    """The same worker makes one batch after the other."""

    async def work(bench: PoolBench) -> None:
        makers = set()
        for count in (3, 1, 2, 5):
            runs = bench.out_together(count)
            maker = await begun(bench, runs, count)
            makers.add(maker.worker_no)
            say(maker, *runs)
            await bench.end_of(runs[-1])
            assert [MADE] * count == bench.how(runs)
        assert 1 == len(makers)

    with_fake_workers(work)


class TestBlame:
    """The first run that is not answered pays, if it had begun; nobody else does."""

    @pytest.mark.parametrize("answered", [0, 1, 2])
    def test_death_in_the_middle(self, answered: int) -> None:
        """Runs before the one under way count, it pays, those behind it are given back."""

        async def work(bench: PoolBench) -> None:
            runs = bench.out_together(4)
            maker = await begun(bench, runs, answered + 1)
            say(maker, *runs[:answered])
            maker.die()
            await bench.until(lambda: len(bench.ends) == 4)
            expected = [MADE] * answered + ["signal"] + [BACK] * (3 - answered)
            assert expected == bench.how(runs)
            assert [] == bench.idle_deaths

        with_fake_workers(work)

    def test_death_between_two_runs(self) -> None:
        """A worker that dies before the next run began costs nobody anything."""

        async def work(bench: PoolBench) -> None:
            runs = bench.out_together(3)
            maker = await begun(bench, runs)
            say(maker, runs[0])
            maker.die()
            await bench.until(lambda: len(bench.ends) == 3)
            assert [MADE, BACK, BACK] == bench.how(runs)
            assert [runs[0].run_id] == [death.after_run for death in bench.idle_deaths]

        with_fake_workers(work)

    def test_time(self) -> None:
        """A run that takes too long pays; those that had to wait for it do not."""

        async def work(bench: PoolBench) -> None:
            runs = bench.out_together(3)
            maker = await begun(bench, runs, 2)
            say(maker, runs[0])
            await bench.end_of(runs[0])
            bench.clock.ahead_seconds = 100.0
            await bench.end_of(runs[1])
            await bench.until(lambda: maker.is_dead)
            await bench.until(lambda: len(bench.ends) == 3)
            assert [MADE, "timeout", BACK] == bench.how(runs)

        with_fake_workers(work)

    def test_deadline_begins_when_the_run_before_is_answered(self) -> None:
        """A run has all of its time, however long the others of its batch took."""

        async def work(bench: PoolBench) -> None:
            runs = bench.out_together(4)
            maker = await begun(bench, runs, 4)
            for run in runs:
                bench.clock.ahead_seconds += 0.9 * LIMITS.timeout_seconds
                say(maker, run)
                await bench.end_of(run)
            assert [MADE] * 4 == bench.how(runs)

        with_fake_workers(work)

    @pytest.mark.parametrize("said", ["the next", "nobody", "the one before"])
    def test_answer_out_of_turn(self, said: str) -> None:
        """An answer for another run than the one under way is a breach, which that one pays for."""

        async def work(bench: PoolBench) -> None:
            runs = bench.out_together(3)
            maker = await begun(bench, runs, 2)
            say(maker, runs[0])
            await bench.end_of(runs[0])
            other = {"the next": runs[2].run_id, "nobody": "99.1", "the one before": runs[0].run_id}
            maker.say(Answer(other[said], 0.01))
            await bench.until(lambda: len(bench.ends) == 3)
            assert [MADE, FailureCause.PROTOCOL, BACK] == bench.how(runs)

        with_fake_workers(work)

    def test_zygote_lost(self) -> None:
        """When the workers' parent dies, only a run that had begun counts as delivered."""

        async def work(bench: PoolBench) -> None:
            runs = bench.out_together(3)
            maker = await begun(bench, runs, 2)
            say(maker, runs[0])
            bench.zygotes[0].lose()
            await bench.until(lambda: len(bench.ends) == 3)
            assert [MADE, "orphaned", BACK] == bench.how(runs)

        with_fake_workers(work)

    def test_stop(self) -> None:
        """A stop takes what is answered, and gives the rest back once."""

        async def work(bench: PoolBench) -> None:
            runs = bench.out_together(3)
            maker = await begun(bench, runs, 2)
            say(maker, runs[0])
            bench.pool.stop()
            bench.pool.stop()
            bench.events += bench.pool.collect()
            assert [MADE, BACK, BACK] == bench.how(runs)

        with_fake_workers(work)


class TestTakingBack:
    """What has not begun can be taken back, and then never begins."""

    def test_behind_a_slow_run(self) -> None:
        """Runs that wait too long behind another are given back; that one goes on."""

        async def work(bench: PoolBench) -> None:
            runs = bench.out_together(4)
            maker = await begun(bench, runs, 1)
            bench.clock.ahead_seconds = STALL_SECONDS + 0.1
            await bench.until(lambda: len(bench.ends) == 3)
            assert [BACK] * 3 == bench.how(runs[1:])
            assert 0 == maker.begin()
            say(maker, runs[0])
            assert (await bench.end_of(runs[0])).answer is not None

        with_fake_workers(work)

    def test_run_that_has_begun_stays(self) -> None:
        """A run that its worker has begun is made by it, though nobody has heard of that yet."""

        async def work(bench: PoolBench) -> None:
            runs = bench.out_together(4)
            maker = await begun(bench, runs, 2)
            bench.clock.ahead_seconds = STALL_SECONDS + 0.1
            await bench.until(lambda: len(bench.ends) == 2)
            assert [BACK] * 2 == bench.how(runs[2:])
            say(maker, runs[0], runs[1])
            await bench.until(lambda: len(bench.ends) == 4)
            assert [MADE] * 2 == bench.how(runs[:2])

        with_fake_workers(work)

    def test_worker_goes_on_behind_what_was_taken_back(self) -> None:
        """The next run of the worker has a ticket of its own, which comes behind the gap."""

        async def work(bench: PoolBench) -> None:
            runs = bench.out_together(3)
            maker = await begun(bench, runs)
            bench.clock.ahead_seconds = STALL_SECONDS + 0.1
            await bench.until(lambda: len(bench.ends) == 2)
            say(maker, runs[0])
            await bench.end_of(runs[0])
            another = bench.out()
            assert maker is bench.maker(another)
            assert 4 == maker.begin()
            say(maker, another)
            assert (await bench.end_of(another)).answer is not None

        with_fake_workers(work)

    def test_run_that_did_not_begin_at_all_may_still(self) -> None:
        """A worker that is slow to begin keeps its first run, and only that."""

        async def work(bench: PoolBench) -> None:
            runs = bench.out_together(3)
            maker = bench.maker(runs[0])
            bench.clock.ahead_seconds = STALL_SECONDS + 0.1
            await bench.until(lambda: len(bench.ends) == 2)
            assert [1, 0] == [maker.begin(), maker.begin()]
            say(maker, runs[0])
            assert (await bench.end_of(runs[0])).answer is not None

        with_fake_workers(work)

    def test_late_batch_is_shared_with_a_worker_that_has_nothing_to_do(self) -> None:
        """What is left of an old batch is given back while another worker is free."""

        async def work(bench: PoolBench) -> None:
            runs = bench.out_together(4)
            maker = await begun(bench, runs, 2)
            bench.clock.ahead_seconds = LATE_SECONDS + 0.05
            say(maker, runs[0])
            await bench.until(lambda: len(bench.ends) == 3)
            assert [MADE, BACK, BACK] == bench.how(runs)

        with_fake_workers(work)

    def test_late_batch_stays_where_all_are_busy(self) -> None:
        """Nothing is taken back for nobody."""

        async def work(bench: PoolBench) -> None:
            bench.out(2)
            runs = bench.out_together(4)
            maker = await begun(bench, runs, 4)
            bench.clock.ahead_seconds = LATE_SECONDS + 0.05
            say(maker, runs[0])
            await bench.end_of(runs[0])
            for _ in range(20):
                await bench.turn()
            say(maker, *runs[1:])
            await bench.until(lambda: len(bench.ends) == 4)
            assert [MADE] * 4 == bench.how(runs)

        with_fake_workers(work)

    def test_answer_for_what_was_taken_back_is_a_breach(self) -> None:
        """A worker cannot have made a run whose ticket it never had."""

        async def work(bench: PoolBench) -> None:
            runs = bench.out_together(2)
            maker = await begun(bench, runs)
            bench.clock.ahead_seconds = STALL_SECONDS + 0.1
            await bench.end_of(runs[1])
            say(maker, runs[1])
            await bench.end_of(runs[0])
            assert [FailureCause.PROTOCOL, BACK] == bench.how(runs)

        with_fake_workers(work)


class TestCancelling:
    """A run of a batch is cancelled alone."""

    def test_before_it_began(self) -> None:
        """It is taken out, its worker lives, and the others are made."""

        async def work(bench: PoolBench) -> None:
            runs = bench.out_together(4)
            maker = await begun(bench, runs)
            assert bench.pool.cancel(runs[2].run_id)
            assert [2, 4, 0] == [maker.begin() for _ in range(3)]
            say(maker, runs[0], runs[1], runs[3])
            await bench.until(lambda: len(bench.ends) == 4)
            assert [MADE, MADE, "cancelled", MADE] == bench.how(runs)
            assert not maker.is_dead
            assert not bench.pool.cancel(runs[2].run_id)

        with_fake_workers(work)

    @pytest.mark.parametrize("is_heard", [False, True])
    def test_while_it_is_made(self, is_heard: bool) -> None:  # noqa: FBT001
        """Its worker is ended; what was answered counts, and what comes behind is given back."""

        async def work(bench: PoolBench) -> None:
            runs = bench.out_together(3)
            maker = await begun(bench, runs, 2)
            say(maker, runs[0])
            if is_heard:
                await bench.end_of(runs[0])
            assert bench.pool.cancel(runs[1].run_id)
            await bench.until(lambda: len(bench.ends) == 3)
            assert [MADE, "cancelled", BACK] == bench.how(runs)

        with_fake_workers(work)

    def test_while_the_batch_waits(self) -> None:
        """A run of a batch that waits for a worker is taken out of it."""

        async def work(bench: PoolBench) -> None:
            await bench.bind_all()
            runs = bench.out_together(2, limits=other_walls(1))
            assert bench.pool.cancel(runs[0].run_id)
            await bench.until(partial(bench.pool.workers.running, runs[1].run_id))
            await bench.answered(runs[1])
            assert ["cancelled", MADE] == bench.how(runs)

        with_fake_workers(work)


class TestPausing:
    """A run that leaves something behind is dealt with before the next one begins."""

    def test_worker_is_told_to_go_on(self) -> None:
        """What may be cleared away is, and the batch goes on."""

        async def work(bench: PoolBench) -> None:
            runs = bench.out_together(2)
            maker = await begun(bench, runs)
            maker.read()
            maker.say(Answer(runs[0].run_id, 0.01, pauses=True))
            heard: list[ToWorker] = []

            def is_told() -> bool:
                heard.extend(maker.read())
                return bool(heard)

            await bench.until(is_told)
            assert [GoOn()] == heard
            assert 2 == maker.begin()
            say(maker, runs[1])
            await bench.end_of(runs[1])
            assert [MADE, MADE] == bench.how(runs)

        with_fake_workers(work)

    @pytest.mark.parametrize(
        "spent",
        [
            {"leak": "a thread"},
            {"failure": Failure(FailureCause.MEMORY, "MemoryError")},
        ],
        ids=["leak", "memory"],
    )
    def test_spent_worker_makes_no_other_run(self, spent: dict[str, object]) -> None:
        """The answer counts, the worker ends, the others are given back at no cost."""

        async def work(bench: PoolBench) -> None:
            runs = bench.out_together(3)
            maker = await begun(bench, runs)
            maker.say(Answer(runs[0].run_id, 0.01, pauses=True, **spent))  # type: ignore[arg-type]
            await bench.until(lambda: len(bench.ends) == 3)
            assert [MADE, BACK, BACK] == bench.how(runs)
            assert maker.is_dead
            assert [] == bench.idle_deaths

        with_fake_workers(work)

    def test_raw_output_is_that_of_the_run_that_wrote_it(self) -> None:
        """What is in the pipe when a run is answered is its own, and not the next one's."""

        async def work(bench: PoolBench) -> None:
            runs = bench.out_together(3)
            maker = await begun(bench, runs, 3)
            maker.print(b"of the first")
            maker.say(Answer(runs[0].run_id, 0.01, pauses=True))
            await bench.end_of(runs[0])
            say(maker, runs[1])
            await bench.end_of(runs[1])
            maker.print(b"of the last")
            say(maker, runs[2])
            bench.pool.tick()
            await bench.end_of(runs[2])
            logs = [end.log for run in runs for end in bench.ended(run)]
            assert ["of the first", "", "of the last"] == logs

        with_fake_workers(work)


class TestBounds:
    """What a worker may say and do is counted for each run anew."""

    def test_log(self) -> None:
        """Each run may log as much as a run may, and what it logs is its own."""

        async def work(bench: PoolBench) -> None:
            limits = structs.replace(LIMITS, log_bytes=100)
            runs = bench.out_together(5, limits=limits)
            maker = await begun(bench, runs, 5)
            for number, run in enumerate(runs):
                for _ in range(150):
                    maker.say(LogText(run.run_id, f"{number}"))
                say(maker, run)
                await bench.end_of(run)
            logs = [end.log for run in runs for end in bench.ended(run)]
            assert [str(number) * 150 for number in range(5)] == logs

        with_fake_workers(work)

    def test_size_of_an_answer(self) -> None:
        """Answers of a batch may be larger together than one of them may be."""

        async def work(bench: PoolBench) -> None:
            runs = bench.out_together(40)
            maker = await begun(bench, runs, 40)
            for run in runs:
                maker.say(Answer(run.run_id, 0.01, writes={"x": bytes(60_000)}))
                await bench.end_of(run)
            assert [MADE] * 40 == bench.how(runs)

        with_fake_workers(work)

    def test_field_is_fetched_by_each_run(self) -> None:
        """Each run may ask for a field once, and gets the answer with its own name on it."""

        async def work(bench: PoolBench) -> None:
            runs = bench.out_together(2, large=("big",))
            maker = await begun(bench, runs, 2)
            maker.read()
            heard: list[ToWorker] = []
            for run in runs:
                maker.say(FetchField(run.run_id, "big"))
                await bench.until(lambda: [one for one in bench.events if "field" in dir(one)])
                bench.events.clear()
                bench.pool.give_field(run.run_id, FieldValue("big", b"1"))
                heard += maker.read()
                say(maker, run)
                await bench.end_of(run)
                bench.events.clear()
            assert [FieldValue("big", b"1", run.run_id) for run in runs] == heard

        with_fake_workers(work)

    def test_no_second_is_counted_twice(self) -> None:
        """The times of a batch's runs together are the time that it took."""

        async def work(bench: PoolBench) -> None:
            runs = bench.out_together(3)
            maker = await begun(bench, runs, 3)
            begun_at = bench.clock.steady()
            bench.clock.ahead_seconds = 1.0
            maker.say(
                Answer(runs[0].run_id, 0.25),
                Answer(runs[1].run_id, 1000.0),
                Answer(runs[2].run_id, 0.0),
            )
            await bench.until(lambda: len(bench.ends) == 3)
            took = bench.clock.steady() - begun_at
            seconds = [bench.ended(run)[0].seconds for run in runs]
            assert 0.25 == seconds[0]
            assert 1.0 <= sum(seconds) <= took + 0.1

        with_fake_workers(work)

    def test_worker_makes_no_more_runs_than_it_may(self) -> None:
        """What of a batch is too much for its worker's life is given back at once."""

        async def work(bench: PoolBench) -> None:
            runs = bench.out_together(3)
            maker = await begun(bench, runs, 2)
            assert 0 == maker.begin()
            say(maker, *runs[:2])
            await bench.until(lambda: len(bench.ends) == 3)
            assert [MADE, MADE, BACK] == bench.how(runs)
            await bench.until(lambda: maker.is_dead)

        with_fake_workers(work, max_runs=2)

    def test_each_run_has_a_process_under_run(self) -> None:
        """Under `run` a batch is cut to one run."""

        async def work(bench: PoolBench) -> None:
            runs = bench.out_together(2)
            await bench.answered(runs[0])
            assert [MADE, BACK] == bench.how(runs)

        with_fake_workers(work, isolation=Isolation.RUN)

    def test_source_comes_with_the_first_run_that_needs_it(self) -> None:
        """A batch is refused whose source neither the worker has nor a run before brings."""

        async def work(bench: PoolBench) -> None:
            first, second = bench.run_spec(), bench.run_spec()
            bare = structs.replace(second, source=None)
            assert not bench.pool.dispatch(1, [bare, first])
            assert bench.pool.dispatch(1, [first, bare])
            maker = await begun(bench, [first], 2)
            say(maker, first, bare)
            await bench.end_of(bare)
            assert bench.pool.knows_source(1, LIMITS.walls, "hash")

        with_fake_workers(work)
