"""The loop that handlers run on: a run has all that it started, and the next one nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bg_charm_service.workers.runtime.deadline import Deadline
from bg_charm_service.workers.runtime.event_loop import RunEventLoop


@pytest.fixture
def event_loop() -> Iterator[RunEventLoop]:
    """A loop that is closed after the test."""
    made = RunEventLoop()
    yield made
    loop = asyncio.get_event_loop_policy().get_event_loop()
    loop.close()
    asyncio.set_event_loop(None)


def test_a_run_has_the_callbacks_that_it_made_ready(event_loop: RunEventLoop) -> None:
    """What a handler leaves to be called is called in its own run, with all that follows it."""
    calls: list[str] = []

    async def handler() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(lambda _: calls.append("done"))
        loop.call_soon(loop.call_soon, loop.call_soon, calls.append, "soon")

    event_loop.run(handler(), Deadline(3600))
    assert {"done", "soon"} == set(calls)


def test_tasks_of_tasks_belong_to_the_run(event_loop: RunEventLoop) -> None:
    """A run is over when the last task is, however it was started."""
    notes: list[str] = []

    async def note(text: str) -> None:
        await asyncio.sleep(0)
        notes.append(text)

    async def start_more() -> None:
        await asyncio.sleep(0)
        asyncio.Task(note("grandchild"))

    async def handler() -> None:
        asyncio.get_running_loop().create_task(start_more())
        asyncio.ensure_future(note("child"))  # noqa: RUF006 - nobody keeps it, on purpose

    event_loop.run(handler(), Deadline(3600))
    assert ["child", "grandchild"] == notes
    assert "" == event_loop.leftovers()


def test_a_task_that_failed_unseen_fails_its_run(event_loop: RunEventLoop) -> None:
    """The run that started a task has its error, and the next one does not."""

    async def fail() -> None:
        raise ValueError("unseen")

    async def handler() -> None:
        asyncio.get_running_loop().create_task(fail())

    async def innocent() -> None:
        await asyncio.sleep(0)

    with pytest.raises(ValueError, match="unseen"):
        event_loop.run(handler(), Deadline(3600))
    event_loop.run(innocent(), Deadline(3600))


def test_threads_for_blocking_calls_end_with_the_run(event_loop: RunEventLoop) -> None:
    """They come to be with the first call, in every run that makes one."""

    async def handler() -> str:
        assert "charm_0" == await asyncio.to_thread(lambda: threading.current_thread().name)
        return ""

    before = threading.active_count()
    for _ in range(2):
        event_loop.run(handler(), Deadline(3600))
        assert before == threading.active_count()


def test_threads_that_a_run_brings_are_not_those_of_the_next(event_loop: RunEventLoop) -> None:
    """An executor that a handler has set is forgotten after its run, and is still its author's."""
    own = ThreadPoolExecutor(thread_name_prefix="own")
    names: list[str] = []

    async def bring() -> None:
        asyncio.get_running_loop().set_default_executor(own)
        await use()

    async def use() -> None:
        names.append(await asyncio.to_thread(lambda: threading.current_thread().name))

    for handler in (bring, use, bring):
        event_loop.run(handler(), Deadline(3600))
        event_loop.renew()
    assert ["own_0", "charm_0", "own_0"] == names
    own.shutdown()


class Leavings:
    """What a handler may leave on the loop, by the name of a method."""

    def __init__(self, end: contextlib.ExitStack) -> None:
        self._calls: list[str] = []
        self._end = end

    async def a_timer(self) -> None:
        asyncio.get_running_loop().call_later(0, self._calls.append, "timer")

    async def a_reader(self) -> None:
        told, tell = os.pipe()
        os.close(tell)
        asyncio.get_running_loop().add_reader(told, self._calls.append, "reader")
        self._end.callback(os.close, told)

    async def a_signal_handler(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR2, self._calls.append, "signal")

    async def a_callback_behind_an_exit(self) -> None:
        asyncio.get_running_loop().call_soon(self._calls.append, "callback")
        raise SystemExit

    async def no_more_threads(self) -> None:
        await asyncio.get_running_loop().shutdown_default_executor()

    async def no_loop(self) -> None:
        asyncio.set_event_loop(None)

    async def another_policy(self) -> None:
        asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())

    async def debugging(self) -> None:
        asyncio.get_running_loop().set_debug(True)

    async def a_failure_that_nobody_saw(self) -> None:
        future = asyncio.get_running_loop().create_future()
        try:
            raise ValueError("of the run before")
        except ValueError as error:
            # It knows this frame, and this frame knows the future: only the collector ends them.
            future.set_exception(error)


@pytest.mark.parametrize("deed", [name for name in vars(Leavings) if not name.startswith("_")])
def test_nothing_on_the_loop_is_left_to_the_next_run(event_loop: RunEventLoop, deed: str) -> None:
    """Whatever a run has left there, the next one has a loop as the first one had."""
    found: list[object] = []

    async def look() -> None:
        gc.collect()
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        loop.call_later(0, loop.call_soon, turn.set_result, None)
        await turn
        found.extend([loop, await asyncio.to_thread(int), loop.get_debug()])

    with contextlib.ExitStack() as end:
        leavings = Leavings(end)
        with contextlib.suppress(SystemExit):
            event_loop.run(getattr(leavings, deed)(), Deadline(3600))
        event_loop.renew()
        current = asyncio.get_event_loop_policy().get_event_loop()
        event_loop.run(look(), Deadline(3600))
    assert [current, 0, False] == found
    assert [] == leavings._calls
    assert signal.SIG_DFL is signal.getsignal(signal.SIGUSR2)


def test_a_loop_that_a_plain_handler_used_is_not_the_next_ones(event_loop: RunEventLoop) -> None:
    """A task that failed there, and is garbage by the next run, is no failure of that."""

    async def fail() -> None:
        kept = [asyncio.current_task()]
        raise ValueError(kept)

    async def start() -> None:
        asyncio.get_running_loop().create_task(fail())
        await asyncio.sleep(0)

    async def look() -> None:
        gc.collect()

    asyncio.get_event_loop_policy().get_event_loop().run_until_complete(start())
    event_loop.renew()
    event_loop.run(look(), Deadline(3600))


def test_a_loop_that_a_plain_handler_stopped_runs_the_next(event_loop: RunEventLoop) -> None:
    """To stop a loop that does not run would stop it as soon as it does."""
    notes: list[str] = []

    async def handler() -> None:
        await asyncio.sleep(0)
        notes.append("run")

    asyncio.get_event_loop_policy().get_event_loop().stop()
    event_loop.renew()
    event_loop.run(handler(), Deadline(3600))
    assert ["run"] == notes


def test_generators_are_the_same_in_every_run(event_loop: RunEventLoop) -> None:
    """A run that makes errors of warnings finds none about generators, however many ran before."""

    async def numbers() -> AsyncIterator[int]:
        yield 1

    async def handler() -> None:
        assert [1] == [number async for number in numbers()]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            event_loop.run(handler(), Deadline(3600))
            event_loop.renew()


def test_a_loop_with_nothing_on_it_stays(event_loop: RunEventLoop) -> None:
    """A loop is made anew only where a run has used what others could notice."""
    loops: set[int] = set()

    async def handler() -> None:
        loops.add(id(asyncio.get_running_loop()))

    for _ in range(3):
        event_loop.run(handler(), Deadline(3600))
        event_loop.renew()
    assert 1 == len(loops)


def test_a_failed_run_closes_its_generators(event_loop: RunEventLoop) -> None:
    """What an asynchronous generator does at its end it does in the run that began it."""
    notes: list[str] = []
    kept: list[AsyncIterator[int]] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            notes.append("closed")

    async def handler() -> None:
        kept.append(numbers())
        await anext(kept[0])
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - it has no text
        event_loop.run(handler(), Deadline(3600))
    assert ["closed"] == notes


def test_an_exit_is_an_error_like_others(event_loop: RunEventLoop) -> None:
    """A handler that exits leaves no task, and the next run finds the loop as it was."""

    async def leave() -> None:
        raise SystemExit(3)

    async def stay() -> None:
        await asyncio.sleep(0)

    with pytest.raises(SystemExit):
        event_loop.run(leave(), Deadline(3600))
    assert "" == event_loop.leftovers()
    event_loop.run(stay(), Deadline(3600))


def test_a_stopped_loop_leaves_a_task(event_loop: RunEventLoop) -> None:
    """A handler that stops the loop under its own feet has failed, and is left over."""

    async def handler() -> None:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(3600)

    with pytest.raises(RuntimeError, match="stopped before"):
        event_loop.run(handler(), Deadline(3600))
    assert "a task" == event_loop.leftovers()
    loop = asyncio.get_event_loop_policy().get_event_loop()
    while tasks := asyncio.all_tasks(loop):
        for task in tasks:
            task.cancel()
        loop.call_soon(loop.stop)
        loop.run_forever()


def test_a_closed_loop_is_left_over() -> None:
    """No other handler could run on a loop that one has closed."""
    event_loop = RunEventLoop()
    asyncio.get_event_loop_policy().get_event_loop().close()
    assert "a closed event loop" == event_loop.leftovers()
    asyncio.set_event_loop(None)
