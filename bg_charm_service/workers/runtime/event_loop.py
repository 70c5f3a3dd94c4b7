"""The event loop of a worker: runs a handler's coroutine until every task it started is over.

It stays for the next run, which is often shorter than the making of a loop, unless something of
this one may be left on it. Used by the worker.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any
from weakref import WeakSet

from bg_charm_service.workers.runtime.deadline import Deadline, RunStopped

#: A loop listens to so many files of its own: other threads wake it by one.
_OWN_FILES = 1


class RunEventLoop:
    """Runs one handler at a time."""

    def __init__(self) -> None:
        self._loop = _Loop()
        self._policy = asyncio.get_event_loop_policy()
        self._be_current()
        self._executor = _LazyExecutor()
        self._unhandled: list[BaseException] = []
        #: The tasks that the handler of this run started, and those that they did.
        self._tasks: WeakSet[asyncio.Task[Any]] = WeakSet()

    def run(self, awaitable: Awaitable[Any], deadline: Deadline) -> None:
        """Await this and every task it starts; raises what any of them raised.

        A run that was stopped at a limit raises RunStopped.
        """
        loop = self._loop
        loop.set_exception_handler(self._keep_unhandled)
        loop.set_task_factory(self._remember)
        if self._executor.is_used:
            self._executor = _LazyExecutor()
        loop.set_default_executor(self._executor)
        self._unhandled.clear()
        handler = asyncio.Task(self._all_of(awaitable, deadline), loop=loop, name="handler")
        try:
            loop.run_forever()
            if not handler.done():
                raise RuntimeError("The event loop was stopped before the handler was done.")
            # What it has made ready to be called belongs to it as well.
            while loop.has_callbacks:
                loop.call_soon(loop.stop)
                loop.run_forever()
            handler.result()
        except asyncio.CancelledError:
            if (interruption := self._interruption()) is not None:
                raise interruption from None
            deadline.check()
            raise
        finally:
            deadline.watch(None)
            self._executor.shutdown(wait=not deadline.is_over, cancel_futures=deadline.is_over)
            # Taken note of, so that none comes up later, in the run of another charm.
            unseen = self._unseen_failures()
            _error_of(handler)
        self._unhandled += unseen
        if self._unhandled:
            raise self._unhandled[0]

    def close(self) -> None:
        """Close the loop; no handler can be run any more."""
        self._loop.close()
        asyncio.set_event_loop(None)

    def renew(self) -> None:
        """See to it that the next run has a loop with nothing of this one on it."""
        if self._loop.is_used:
            # Closing ends the threads of what it has: not those of an executor that a run brought.
            self._loop.set_default_executor(self._executor)
            self._loop.close()
            self._loop = _Loop()
        self._be_current()

    def leftovers(self) -> str:
        """Name what the next handler would find here; empty when there is nothing."""
        if self._loop.is_closed():
            return "a closed event loop"
        return "a task" if asyncio.all_tasks(self._loop) else ""

    async def _all_of(self, awaitable: Awaitable[Any], deadline: Deadline) -> None:
        # Only from here on: a task that is cancelled before it begins would not stop the loop.
        deadline.watch(asyncio.current_task())
        try:
            try:
                await awaitable
                while others := _others():
                    await asyncio.wait(others)
            except BaseException:
                await _cancel_others()
                raise
            finally:
                if self._loop.has_generators:
                    await self._loop.shutdown_asyncgens()
        finally:
            self._loop.stop()

    def _remember(
        self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coroutine, loop=loop, **options)
        self._tasks.add(task)
        return task

    def _interruption(self) -> BaseException | None:
        """What a task of this run was interrupted with: it knows where that was."""
        errors = (_error_of(task) for task in self._tasks)
        return next((error for error in errors if isinstance(error, RunStopped)), None)

    def _unseen_failures(self) -> list[BaseException]:
        """What tasks of this run raised that nobody has asked for."""
        if not self._tasks:
            return []
        unseen = [task for task in self._tasks if getattr(task, "_log_traceback", False)]
        self._tasks.clear()
        return [error for task in unseen if (error := _error_of(task)) is not None]

    def _keep_unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if loop is not self._loop:
            # Of an earlier run: it was garbage until now.
            return
        error = context.get("exception")
        self._unhandled.append(error or RuntimeError(str(context.get("message"))))

    def _be_current(self) -> None:
        """Be the loop of this thread, also for a handler that is no coroutine."""
        asyncio.set_event_loop_policy(self._policy)
        asyncio.set_event_loop(self._loop)


class _Loop(asyncio.SelectorEventLoop):
    """Tells what is on it."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    _signal_handlers: dict[int, asyncio.Handle]
    _selector: selectors.BaseSelector
    _asyncgens: WeakSet[Any]
    _stopping: bool
    _asyncgens_shutdown_called: bool
    _executor_shutdown_called: bool

    #: Whether a run has made a task or a future. What these raised unseen comes up whenever the
    #: collector finds them, and must not be taken for another run's.
    has_futures = False

    def create_future(self) -> asyncio.Future[Any]:
        self.has_futures = True
        return super().create_future()

    def create_task(self, *args: Any, **options: Any) -> asyncio.Task[Any]:
        self.has_futures = True
        return super().create_task(*args, **options)

    @property
    def has_callbacks(self) -> bool:
        return bool(self._ready)

    @property
    def has_generators(self) -> bool:
        return len(self._asyncgens) > 0

    @property
    def is_used(self) -> bool:
        """Whether a run has left anything here that another could notice."""
        return (
            self.has_futures
            or self.has_callbacks
            or self.is_closed()
            or self._stopping
            or self.get_debug()
            or bool(self._scheduled or self._signal_handlers)
            or len(self._selector.get_map()) > _OWN_FILES
            or self._asyncgens_shutdown_called
            or self._executor_shutdown_called
        )


class _LazyExecutor(ThreadPoolExecutor):
    """The threads for one run's blocking calls; most runs make none."""

    def __init__(self) -> None:
        self.is_used = False
        self._making = Lock()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        with self._making:
            if not self.is_used:
                super().__init__(thread_name_prefix="charm")
                self.is_used = True
        return super().submit(fn, *args, **kwargs)

    def shutdown(self, *args: Any, **kwargs: Any) -> None:
        if self.is_used:
            super().shutdown(*args, **kwargs)


def _others() -> list[asyncio.Task[Any]]:
    me = asyncio.current_task()
    return [task for task in asyncio.all_tasks() if task is not me]


async def _cancel_others() -> None:
    others = _others()
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _error_of(task: asyncio.Task[Any]) -> BaseException | None:
    """What a task has raised, if it is over; nobody is told of it any more."""
    if not task.done() or task.cancelled():
        return None
    return task.exception()
