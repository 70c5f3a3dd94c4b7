"""The event loop of a worker: runs a handler's coroutine until every task it started is over.

It stays for the next run, which is often shorter than the making of a loop, unless something of
this one may be left on it. Used by the worker.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
import threading
import warnings
from asyncio import events
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from inspect import CO_COROUTINE, isawaitable
from threading import Lock
from types import CoroutineType
from typing import Any
from weakref import WeakSet

from bg_charm_service.workers.runtime.deadline import Deadline, RunStopped

#: A loop listens to so many files of its own: other threads wake it by one.
_OWN_FILES = 1

#: From then on a task may begin before its loop makes another turn.
_HAS_EAGER_TASKS = sys.version_info >= (3, 12)

ExceptionHandler = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object]


class RunEventLoop:
    """Runs one handler at a time."""

    def __init__(self) -> None:
        self._executor = _LazyExecutor()
        self._unhandled: list[BaseException] = []
        #: The tasks that the handler of this run started, and those that they did.
        self._tasks: WeakSet[asyncio.Task[Any]] = WeakSet()
        self._loop = _Loop()
        # This makes the policy, where there is none yet.
        asyncio.set_event_loop(self._loop)
        self._policy = _policy()

    def call(self, handler: Callable[[Any], Any], event: object, deadline: Deadline) -> None:
        """Call a handler, and await what it gives where that is to be awaited; see `run`."""
        if not getattr(getattr(handler, "__code__", None), "co_flags", 0) & CO_COROUTINE:
            # Its generators are its own: nobody runs a loop for it.
            _leave_generators_alone()
        result = handler(event)
        # Looked at first, since it nearly always is one: the general question takes far longer.
        if isinstance(result, CoroutineType) or isawaitable(result):
            self.run(result, deadline)

    def run(self, awaitable: Awaitable[Any], deadline: Deadline) -> None:
        """Await this and every task it starts; raises what any of them raised.

        A run that was stopped at a limit raises RunStopped.
        """
        loop = self._loop
        if self._executor.is_used:
            self._executor = _LazyExecutor()
        loop.set_up(self._keep_unhandled, self._remember, self._executor)
        self._unhandled.clear()
        handler = asyncio.Task(self._all_of(awaitable, deadline), loop=loop, name="handler")
        try:
            loop.run_handler()
            if not handler.done():
                loop.has_waited = True
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
            if self._executor.is_used:
                self._executor.shutdown(wait=not deadline.is_over, cancel_futures=deadline.is_over)
            # Taken note of, so that none comes up later, in the run of another charm.
            unseen = self._unseen_failures() if loop.has_futures else []
            _error_of(handler)
        self._unhandled += unseen
        if self._unhandled:
            raise self._unhandled[0]

    def close(self) -> None:
        """Close the loop; no handler can be run any more."""
        self._loop.close()
        asyncio.set_event_loop(None)
        _leave_generators_alone()

    def renew(self) -> None:
        """See to it that the next run has a loop with nothing of this one on it."""
        if self._loop.is_used:
            # Closing ends the threads of what it has: not those of an executor that a run brought.
            self._loop.set_default_executor(self._executor)
            self._loop.close()
            self._loop = _Loop()
        self._loop.has_waited = False
        self._be_current()

    def leftovers(self) -> str:
        """Name what the next handler would find here; empty when there is nothing."""
        if self._loop.is_closed():
            return "a closed event loop"
        if not self._loop.may_have_tasks:
            return ""
        return "a task" if asyncio.all_tasks(self._loop) else ""

    async def _all_of(self, awaitable: Awaitable[Any], deadline: Deadline) -> None:
        # Only from here on: a task that is cancelled before it begins would not stop the loop.
        deadline.watch(asyncio.current_task())
        try:
            try:
                await awaitable
                while self._loop.may_have_tasks and (others := _others()):
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
        if _policy() is not self._policy:
            with warnings.catch_warnings():
                # Python 3.14 and 3.15 warn of it. The run that did it has heard that already.
                warnings.simplefilter("ignore", DeprecationWarning)
                asyncio.set_event_loop_policy(self._policy)
        if getattr(getattr(self._policy, "_local", None), "_loop", None) is not self._loop:
            asyncio.set_event_loop(self._loop)


class _NoFiles(selectors.BaseSelector):
    """Stands for the selector of a loop that nobody has waited in yet."""

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return {}

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        raise KeyError(f"{fileobj!r} is not registered")

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        raise NotImplementedError

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        raise KeyError(f"{fileobj!r} is not registered")

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        raise NotImplementedError


class _Loop(asyncio.SelectorEventLoop):
    """Tells what is on it, and begins a handler without looking for anything else first."""

    _default_executor: Executor | None
    _exception_handler: ExceptionHandler | None
    _task_factory: Any
    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    _signal_handlers: dict[int, asyncio.Handle]
    _selector: selectors.BaseSelector
    _ssock: Any
    _csock: Any
    _asyncgens: WeakSet[Any]
    _closed: bool
    _debug: bool
    _asyncgen_finalizer_hook: Callable[[Any], None]
    _files: Mapping[Any, selectors.SelectorKey]
    _thread_id: int | None
    _stopping: bool
    _asyncgens_shutdown_called: bool
    _executor_shutdown_called: bool

    #: Whether a run has made a task or a future. What these raised unseen comes up whenever the
    #: collector finds them, and must not be taken for another run's.
    has_futures = False

    #: Whether somebody may have waited for another turn since the last run.
    has_waited = False

    #: Whether generators were begun on it.
    has_begun_generators = False

    def __init__(self) -> None:
        # What waits for files is made when somebody waits: it costs more than a run that does not.
        super().__init__(_NoFiles())
        self._files = self._selector.get_map()

    def _be_able_to_wait(self) -> None:
        """Have what waits for files, and what other threads wake it by."""
        if isinstance(self._selector, _NoFiles):
            self._selector = selectors.DefaultSelector()
            self._files = self._selector.get_map()
            super()._make_self_pipe()  # type: ignore[misc]

    def _make_self_pipe(self) -> None:
        # Until there is one, nobody waits who would have to be woken.
        self._ssock = self._csock = None

    def _close_self_pipe(self) -> None:
        if self._ssock is not None:
            super()._close_self_pipe()  # type: ignore[misc]

    def _add_reader(self, *args: Any) -> Any:
        self._be_able_to_wait()
        return super()._add_reader(*args)  # type: ignore[misc]

    def _add_writer(self, *args: Any) -> Any:
        self._be_able_to_wait()
        return super()._add_writer(*args)  # type: ignore[misc]

    def add_signal_handler(self, *args: Any) -> None:  # type: ignore[override]
        self._be_able_to_wait()
        super().add_signal_handler(*args)

    def set_up(
        self, on_error: ExceptionHandler, task_factory: Any, executor: ThreadPoolExecutor
    ) -> None:
        """Have these for the next run, whatever the last one has set."""
        wanted = on_error, task_factory, executor
        if wanted != (self._exception_handler, self._task_factory, self._default_executor):
            self.set_exception_handler(on_error)
            self.set_task_factory(task_factory)
            self.set_default_executor(executor)

    def run_handler(self) -> None:
        """Run until it is stopped; the task that was made ready for it begins at once.

        Most handlers never wait. For them a turn of the standard library's, which asks the system
        for files and the clock for timers, costs more than all that they do.
        """
        if not (self._has_one_callback_alone and self._is_stopped_by_first()):
            self.run_forever()

    def run_forever(self) -> None:
        self.has_waited = True
        self._be_able_to_wait()
        super().run_forever()

    def _is_stopped_by_first(self) -> bool:
        """Make the first turn of `run_forever`, where there is nothing but one callback.

        The hooks stay: setting them is audited, and so takes as long as calling a handler.
        """
        hooks = (self._asyncgen_firstiter_hook, self._asyncgen_finalizer_hook)
        if sys.get_asyncgen_hooks() != hooks:
            sys.set_asyncgen_hooks(*hooks)
        self._thread_id = threading.get_ident()
        events._set_running_loop(self)
        try:
            self._ready.popleft()._run()
            return self._stopping
        except BaseException:
            # An alarm may strike anywhere: nobody knows what it has left.
            self.has_waited = True
            raise
        finally:
            self._stopping = False
            self._thread_id = None
            events._set_running_loop(None)

    @property
    def _has_one_callback_alone(self) -> bool:
        return not (
            len(self._ready) != 1
            or self._scheduled
            or self._debug
            or self._stopping
            or len(self._files) > _OWN_FILES
        )

    def _asyncgen_firstiter_hook(self, generator: Any) -> None:
        self.has_begun_generators = True
        super()._asyncgen_firstiter_hook(generator)  # type: ignore[misc]

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
        return self.has_begun_generators and len(self._asyncgens) > 0

    @property
    def may_have_tasks(self) -> bool:
        """Whether there can be a task that is not over, besides the one that asks.

        One that nobody has waited for is ready to be called, unless it began when it was made.
        """
        return _HAS_EAGER_TASKS or self.has_waited or self.has_futures or bool(self._ready)

    @property
    def is_used(self) -> bool:
        """Whether a run has left anything here that another could notice."""
        return bool(
            self.has_futures
            or self._ready
            or self._closed
            or self._stopping
            or self._debug
            or self._scheduled
            or self._signal_handlers
            or len(self._files) > _OWN_FILES
            or self._asyncgens_shutdown_called
            or self._executor_shutdown_called
        )


def _leave_generators_alone() -> None:
    """Let no loop know of the asynchronous generators that are begun from now on."""
    if sys.get_asyncgen_hooks() != (None, None):
        sys.set_asyncgen_hooks(None, None)


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


def _policy() -> Any:
    """The policy that is set; None where there is none, as from Python 3.16 on.

    Its public getter is deprecated since 3.14, and warning of it would cost each run.
    """
    return getattr(events, "_event_loop_policy", None)


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
