"""The loop that handlers run on: a run has all that it started, and the next one nothing of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bg_charm_service.deadline import Deadline
from bg_charm_service.run_loop import RunLoop


@pytest.fixture
def run_loop() -> Iterator[RunLoop]:
    """A loop that is closed after the test."""
    made = RunLoop()
    yield made
    loop = asyncio.get_event_loop_policy().get_event_loop()
    loop.close()
    asyncio.set_event_loop(None)


def test_a_run_has_the_callbacks_that_it_made_ready(run_loop: RunLoop) -> None:
    """What a handler leaves to be called is called in its own run, with all that follows it."""
    calls: list[str] = []

    async def handler() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(lambda _: calls.append("done"))
        loop.call_soon(loop.call_soon, loop.call_soon, calls.append, "soon")

    run_loop.run(handler(), Deadline(3600))
    assert {"done", "soon"} == set(calls)


def test_tasks_of_tasks_belong_to_the_run(run_loop: RunLoop) -> None:
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

    run_loop.run(handler(), Deadline(3600))
    assert ["child", "grandchild"] == notes
    assert "" == run_loop.leftovers()


def test_a_task_that_failed_unseen_fails_its_run(run_loop: RunLoop) -> None:
    """The run that started a task has its error, and the next one does not."""

    async def fail() -> None:
        raise ValueError("unseen")

    async def handler() -> None:
        asyncio.get_running_loop().create_task(fail())

    async def innocent() -> None:
        await asyncio.sleep(0)

    with pytest.raises(ValueError, match="unseen"):
        run_loop.run(handler(), Deadline(3600))
    run_loop.run(innocent(), Deadline(3600))


def test_threads_for_blocking_calls_end_with_the_run(run_loop: RunLoop) -> None:
    """They come to be with the first call, in every run that makes one."""

    async def handler() -> str:
        assert "charm_0" == await asyncio.to_thread(lambda: threading.current_thread().name)
        return ""

    before = threading.active_count()
    for _ in range(2):
        run_loop.run(handler(), Deadline(3600))
        assert before == threading.active_count()


def test_threads_that_a_run_brings_are_not_those_of_the_next(run_loop: RunLoop) -> None:
    """An executor that a handler has set is forgotten after its run."""
    own = ThreadPoolExecutor(thread_name_prefix="own")

    async def bring() -> None:
        asyncio.get_running_loop().set_default_executor(own)

    async def use() -> None:
        assert "charm_0" == await asyncio.to_thread(lambda: threading.current_thread().name)

    run_loop.run(bring(), Deadline(3600))
    run_loop.run(use(), Deadline(3600))
    own.shutdown()


def test_a_failed_run_closes_its_generators(run_loop: RunLoop) -> None:
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
        run_loop.run(handler(), Deadline(3600))
    assert ["closed"] == notes


def test_an_exit_is_an_error_like_others(run_loop: RunLoop) -> None:
    """A handler that exits leaves no task, and the next run finds the loop as it was."""

    async def leave() -> None:
        raise SystemExit(3)

    async def stay() -> None:
        await asyncio.sleep(0)

    with pytest.raises(SystemExit):
        run_loop.run(leave(), Deadline(3600))
    assert "" == run_loop.leftovers()
    run_loop.run(stay(), Deadline(3600))


def test_a_stopped_loop_leaves_a_task(run_loop: RunLoop) -> None:
    """A handler that stops the loop under its own feet has failed, and is left over."""

    async def handler() -> None:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(3600)

    with pytest.raises(RuntimeError, match="stopped before"):
        run_loop.run(handler(), Deadline(3600))
    assert "a task" == run_loop.leftovers()
    loop = asyncio.get_event_loop_policy().get_event_loop()
    while tasks := asyncio.all_tasks(loop):
        for task in tasks:
            task.cancel()
        loop.call_soon(loop.stop)
        loop.run_forever()


def test_a_closed_loop_is_left_over() -> None:
    """No other handler could run on a loop that one has closed."""
    run_loop = RunLoop()
    asyncio.get_event_loop_policy().get_event_loop().close()
    assert "a closed event loop" == run_loop.leftovers()
    asyncio.set_event_loop(None)
