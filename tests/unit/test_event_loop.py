"""The loop that handlers run on: a run has all that it started, and the next one nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import pytest

from bg_charm_service.workers.runtime import deadline
from bg_charm_service.workers.runtime.deadline import Deadline, RunTimeout
from bg_charm_service.workers.runtime.event_loop import RunEventLoop


@pytest.fixture
def event_loop() -> Iterator[RunEventLoop]:
    """A loop that is closed after the test."""
    made = RunEventLoop()
    yield made
    loop = asyncio.get_event_loop()
    loop.close()
    asyncio.set_event_loop(None)
    sys.set_asyncgen_hooks(None, None)


async def not_at_all() -> None:
    """Wait for nothing."""


async def for_a_turn() -> None:
    """Let others have a turn."""
    await asyncio.sleep(0)


async def for_a_timer() -> None:
    """Wait until the loop has looked at its timers."""
    loop = asyncio.get_running_loop()
    struck = loop.create_future()

    def strike() -> None:
        if not struck.done():
            struck.set_result(None)

    loop.call_later(0, strike)
    await struck


#: What a handler finds is the same before it has waited for something and behind that.
Wait = Callable[[], Awaitable[None]]
HOWEVER_IT_WAITS = pytest.mark.parametrize("wait", [not_at_all, for_a_turn, for_a_timer])


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
        with warnings.catch_warnings():
            # From Python 3.14 on there is a warning; a charm may have done it for years.
            warnings.simplefilter("ignore", DeprecationWarning)
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
        current = asyncio.get_event_loop()
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

    asyncio.get_event_loop().run_until_complete(start())
    event_loop.renew()
    event_loop.run(look(), Deadline(3600))


def test_a_loop_that_a_plain_handler_stopped_runs_the_next(event_loop: RunEventLoop) -> None:
    """To stop a loop that does not run would stop it as soon as it does."""
    notes: list[str] = []

    async def handler() -> None:
        await asyncio.sleep(0)
        notes.append("run")

    asyncio.get_event_loop().stop()
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


def test_a_loop_has_files_only_for_those_who_wait(event_loop: RunEventLoop) -> None:
    """A run that never waits opens none; one that does has what it needs, and its end closes it."""
    opened: list[int] = []

    def count() -> None:
        opened.append(len(os.listdir("/proc/self/fd")))

    async def never_waits(_event: object) -> None:
        count()

    async def waits(_event: object) -> None:
        await for_a_timer()
        count()

    for handler in (never_waits, waits, never_waits):
        event_loop.call(handler, {}, Deadline(5))
        event_loop.renew()
    first, most, last = opened
    assert first + 3 == most
    assert first == last


def test_a_thread_is_heard_that_calls_before_anybody_waits(event_loop: RunEventLoop) -> None:
    """What a thread hands to the loop in the first turn of a handler is done, and wakes it."""
    heard: list[str] = []

    async def handler(_event: object) -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def call() -> None:
            loop.call_soon_threadsafe(heard.append, "early")
            loop.call_soon_threadsafe(done.set_result, None)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        await done
        later = loop.create_future()
        thread = threading.Thread(
            target=lambda: loop.call_soon_threadsafe(later.set_result, None), daemon=True
        )
        thread.start()
        await later
        thread.join()

    event_loop.call(handler, {}, Deadline(5))
    assert ["early"] == heard


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
    loop = asyncio.get_event_loop()
    while tasks := asyncio.all_tasks(loop):
        for task in tasks:
            task.cancel()
        loop.call_soon(loop.stop)
        loop.run_forever()


def test_a_closed_loop_is_left_over() -> None:
    """No other handler could run on a loop that one has closed."""
    event_loop = RunEventLoop()
    asyncio.get_event_loop().close()
    assert "a closed event loop" == event_loop.leftovers()
    asyncio.set_event_loop(None)


def test_a_loop_that_was_stopped_over_a_future_leaves_a_task(event_loop: RunEventLoop) -> None:
    """A task is found that nothing on the loop knows of: it waits for a future of its own."""
    futures: list[asyncio.Future[None]] = []

    async def handler() -> None:
        loop = asyncio.get_running_loop()
        loop.stop()
        futures.append(asyncio.Future(loop=loop))
        await futures[0]

    with pytest.raises(RuntimeError, match="stopped before"):
        event_loop.run(handler(), Deadline(3600))
    assert "a task" == event_loop.leftovers()
    futures[0].set_result(None)
    _run_what_is_left()
    assert "" == event_loop.leftovers()


def _run_what_is_left() -> None:
    loop = asyncio.get_event_loop()
    while asyncio.all_tasks(loop):
        loop.call_soon(loop.stop)
        loop.run_forever()


@HOWEVER_IT_WAITS
def test_a_handler_is_a_task_of_a_running_loop(event_loop: RunEventLoop, wait: Wait) -> None:
    """What asyncio says of the code that asks is the same from its first line on."""
    found: list[tuple[Any, ...]] = []

    async def look() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        found.append((loop, loop.is_running(), task, task.get_name(), asyncio.all_tasks()))

    async def handler() -> None:
        await look()
        await wait()
        await look()
        inner = not_at_all()
        with contextlib.closing(inner), pytest.raises(RuntimeError, match="already running"):
            asyncio.get_running_loop().run_until_complete(inner)

    event_loop.run(handler(), Deadline(3600))
    before, after = found
    assert before == after
    task = before[2]
    assert (asyncio.get_event_loop(), True, task, "handler", {task}) == before
    assert not asyncio.get_event_loop().is_running()
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


@HOWEVER_IT_WAITS
def test_time_outs_strike(event_loop: RunEventLoop, wait: Wait) -> None:
    """Whatever a handler waits for in time ends when that is over, and the handler goes on."""
    ends: list[str] = []

    async def handler() -> None:
        await wait()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(0.001):
                await loop.create_future()
        except TimeoutError:
            ends.append("timeout")
        try:
            await asyncio.wait_for(loop.create_future(), 0.001)
        except TimeoutError:
            ends.append("wait_for")
        async with asyncio.timeout(3600) as block:
            await wait()
        assert not block.expired()
        ends.append(await asyncio.wait_for(asyncio.sleep(0, "in time"), 3600))

    event_loop.run(handler(), Deadline(3600))
    assert ["timeout", "wait_for", "in time"] == ends


@HOWEVER_IT_WAITS
def test_a_group_of_tasks_is_waited_for(event_loop: RunEventLoop, wait: Wait) -> None:
    """Tasks of a group run beside the handler; one that fails cancels the others."""
    notes: list[str] = []

    async def note(text: str) -> None:
        await wait()
        notes.append(text)

    async def fail() -> None:
        await wait()
        raise ValueError("of the group")

    async def never() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            notes.append("cancelled")
            raise

    async def handler() -> None:
        await wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(note("one"))
            group.create_task(note("two"))
        async with asyncio.TaskGroup() as group:
            group.create_task(never())
            group.create_task(fail())

    with pytest.raises(ExceptionGroup) as raised:
        event_loop.run(handler(), Deadline(3600))
    assert ["one", "two", "cancelled"] == notes
    assert ["of the group"] == [str(error) for error in raised.value.exceptions]


@HOWEVER_IT_WAITS
def test_variables_of_the_context_go_along(event_loop: RunEventLoop, wait: Wait) -> None:
    """Callbacks and tasks see what the handler had set; the next run does not."""
    variable: ContextVar[str] = ContextVar("variable", default="nothing")
    seen: list[str] = []

    async def see() -> None:
        seen.append(f"task: {variable.get()}")
        variable.set("the task's")

    async def handler() -> None:
        seen.append(variable.get())
        variable.set("before")
        await wait()
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: seen.append(f"callback: {variable.get()}"))
        await asyncio.create_task(see())
        seen.append(variable.get())

    for _ in range(2):
        event_loop.run(handler(), Deadline(3600))
        event_loop.renew()
    assert 2 * ["nothing", "callback: before", "task: before", "before"] == seen
    assert "nothing" == variable.get()


@pytest.fixture
def alarm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The handlers of the deadline's signals as they were; it strikes once, unless told to insist.

    On a busy machine it would strike again while the run is still being ended.
    """
    if not hasattr(request, "param"):
        monkeypatch.setattr(deadline, "_INSIST_SECONDS", 3600)
    handlers = {one: signal.getsignal(one) for one in (signal.SIGALRM, signal.SIGPROF)}
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@HOWEVER_IT_WAITS
@pytest.mark.usefixtures("alarm")
def test_a_handler_that_waits_is_cancelled_at_its_limit(
    event_loop: RunEventLoop, wait: Wait
) -> None:
    """It is cancelled first of all, so that it can put its things away; the run timed out."""
    notes: list[str] = []

    async def handler() -> None:
        try:
            limit.stop(RunTimeout)
            await wait()
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            notes.append("put away")

    limit = Deadline(3600)
    with pytest.raises(RunTimeout), limit:
        event_loop.run(handler(), limit)
    assert ["put away"] == notes
    assert "" == event_loop.leftovers()


@HOWEVER_IT_WAITS
@pytest.mark.parametrize("alarm", ["insists"], indirect=True)
@pytest.mark.usefixtures("alarm")
def test_a_handler_that_never_waits_is_interrupted(event_loop: RunEventLoop, wait: Wait) -> None:
    """Where it does not let go it is interrupted, with the reason."""

    async def handler() -> None:
        await wait()
        limit.stop(RunTimeout)
        while True:
            pass

    limit = Deadline(3600)
    with pytest.raises(RunTimeout), limit:
        event_loop.run(handler(), limit)
    assert "" == event_loop.leftovers()


@HOWEVER_IT_WAITS
@pytest.mark.usefixtures("alarm")
def test_a_handler_that_survives_its_cancellation_has_timed_out(
    event_loop: RunEventLoop, wait: Wait
) -> None:
    """It may catch what cancels it and end well; its run has reached the limit all the same."""
    notes: list[str] = []

    async def handler() -> None:
        try:
            limit.stop(RunTimeout)
            await wait()
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            notes.append("caught")

    limit = Deadline(3600)
    with limit:
        event_loop.run(handler(), limit)
    with pytest.raises(RunTimeout):
        limit.check()
    assert ["caught"] == notes


@HOWEVER_IT_WAITS
def test_a_generator_that_is_left_is_closed_in_its_run(
    event_loop: RunEventLoop, wait: Wait
) -> None:
    """What is left of one is closed on the loop, also where the handler has not waited."""
    notes: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await wait()
            notes.append("closed")

    async def handler() -> None:
        kept = numbers()
        async for _ in kept:
            break
        notes.append("left")
        await wait()
        globals()["_kept"] = kept

    event_loop.run(handler(), Deadline(3600))
    del globals()["_kept"]
    assert ["left", "closed"] == notes


def test_a_plain_handler_has_its_generators_for_itself(event_loop: RunEventLoop) -> None:
    """The loop is told of the generators of coroutines only, whatever ran before."""
    found: list[object] = []

    async def coroutine(_event: object) -> None:
        found.append(sys.get_asyncgen_hooks().firstiter is not None)

    def plain(_event: object) -> None:
        found.append(tuple(sys.get_asyncgen_hooks()))

    for handler in (coroutine, plain, coroutine):
        event_loop.call(handler, {}, Deadline(3600))
    assert [True, (None, None), True] == found


def test_a_plain_handler_may_give_what_is_awaited(event_loop: RunEventLoop) -> None:
    """A handler around a coroutine function, as a decorator makes it, is awaited too."""
    notes: list[object] = []

    async def inner(event: object) -> None:
        await asyncio.sleep(0)
        notes.append(event)

    event_loop.call(lambda event: inner(event), {"a": 1}, Deadline(3600))
    event_loop.call(notes.append, "plain", Deadline(3600))
    assert [{"a": 1}, "plain"] == notes


def test_what_a_run_has_set_on_its_loop_ends_with_it(event_loop: RunEventLoop) -> None:
    """Another task factory and another handler of errors are not those of the next run."""
    tasks: list[str] = []

    def factory(
        loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
    ) -> asyncio.Task[Any]:
        tasks.append("made")
        return asyncio.Task(coroutine, loop=loop, **options)

    async def set_all() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        loop.set_exception_handler(lambda *_: None)

    async def fail() -> None:
        asyncio.get_running_loop().call_soon(int, "none")
        await asyncio.create_task(asyncio.sleep(0))

    event_loop.run(set_all(), Deadline(3600))
    with pytest.raises(ValueError, match="invalid literal"):
        event_loop.run(fail(), Deadline(3600))
    assert [] == tasks


def test_an_exit_stops_the_loop_for_nobody_else(event_loop: RunEventLoop) -> None:
    """The loop that an exit leaves is not stopped: the next handler may wait on it."""

    async def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        event_loop.run(leave(), Deadline(3600))
    loop = asyncio.get_event_loop()
    event_loop.renew()
    assert loop is asyncio.get_event_loop() or loop.is_closed()
    event_loop.run(for_a_timer(), Deadline(3600))
