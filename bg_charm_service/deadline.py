"""A run's end by force inside the worker, and the wait for everything the run started.

At a limit a coroutine is cancelled; code that does not let go is interrupted by an exception.
What ignores both is killed by the pool, which keeps the same limits from outside.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from types import CodeType, FrameType
from typing import Any
from weakref import WeakSet

#: After the first try to stop a run, it is interrupted this often, in seconds.
_INSIST_SECONDS = 0.2

#: The shortest time that a timer takes, in seconds; 0 would switch it off.
_AT_ONCE_SECONDS = 0.000001


class RunStopped(BaseException):
    """The run has reached a limit; no Exception, so that a charm does not catch it by habit."""


class RunTimeout(RunStopped):
    """It took too long."""


class RunCpuLimit(RunStopped):
    """It used too much processor time, all its threads together."""


class RunFlood(RunStopped):
    """It wrote far more to its log than is kept."""


class Deadline:
    """Stops the main thread's work at a limit; one at a time in a process.

    The limits are of time and, unless 0, of processor time; others call `stop`.
    """

    def __init__(
        self,
        seconds: float,
        cpu_seconds: float = 0.0,
        may_interrupt: Callable[[], bool] = lambda: True,
    ) -> None:
        self._seconds = seconds
        self._cpu_seconds = cpu_seconds
        self._reason: type[RunStopped] | None = None
        self._has_struck = False
        self._may_interrupt = may_interrupt
        self._task: asyncio.Task[Any] | None = None

    def __enter__(self) -> Deadline:
        signal.signal(signal.SIGALRM, self._strike)
        signal.signal(signal.SIGPROF, lambda *_: self.stop(RunCpuLimit))
        signal.setitimer(signal.ITIMER_REAL, self._seconds, _INSIST_SECONDS)
        signal.setitimer(signal.ITIMER_PROF, self._cpu_seconds)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGPROF, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)

    @property
    def is_over(self) -> bool:
        return self._reason is not None

    def watch(self, task: asyncio.Task[Any] | None) -> None:
        """Cancel this task at the limit, before anything harder."""
        self._task = task

    def stop(self, reason: type[RunStopped]) -> None:
        """Stop the run at once, for this reason unless there is one; from any thread."""
        if self._reason is None:
            self._reason = reason
            signal.setitimer(signal.ITIMER_REAL, _AT_ONCE_SECONDS, _INSIST_SECONDS)

    def check(self) -> None:
        """Raise the reason when the run was stopped."""
        if self._reason is not None:
            raise self._reason from None

    def _strike(self, _number: int, frame: FrameType | None) -> None:
        # An interrupted send would leave half a frame; the next alarm comes soon.
        if not self._may_interrupt():
            return
        # Raised while this is being ended, it would escape from the run and leave the timers on.
        if _is_within(frame, Deadline.__exit__.__code__):
            return
        self._reason = self._reason or RunTimeout
        is_first, self._has_struck = not self._has_struck, True
        task = self._task
        if is_first and task is not None and not task.done():
            task.get_loop().call_soon_threadsafe(task.cancel)
            return
        raise self._reason


def _is_within(frame: FrameType | None, code: CodeType) -> bool:
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    return frame is not None


class Surroundings:
    """What a run can leave behind, and the event loop it runs on."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._own_threads = {threading.main_thread()}
        self._unhandled: list[BaseException] = []
        self._tasks: WeakSet[asyncio.Task[Any]] = WeakSet()

    def run(self, coroutine: Coroutine[Any, Any, Any], deadline: Deadline) -> None:
        """Run a handler's coroutine and every task it starts; raises what any of them raised.

        A run that was stopped at a limit raises RunStopped.
        """
        loop = self._runner.get_loop()
        loop.set_exception_handler(self._keep_unhandled)
        loop.set_task_factory(self._remember)
        executor = ThreadPoolExecutor(thread_name_prefix="charm")
        loop.set_default_executor(executor)
        self._unhandled.clear()
        try:
            loop.run_until_complete(self._all_of(coroutine, deadline))
            loop.run_until_complete(loop.shutdown_asyncgens())
        except asyncio.CancelledError:
            if (interruption := self._interruption()) is not None:
                raise interruption from None
            deadline.check()
            raise
        finally:
            executor.shutdown(wait=not deadline.is_over, cancel_futures=deadline.is_over)
            # Taken note of, so that none comes up later, in the run of another charm.
            unseen = self._unseen_failures()
        self._unhandled += unseen
        if self._unhandled:
            raise self._unhandled[0]

    async def _all_of(self, coroutine: Coroutine[Any, Any, Any], deadline: Deadline) -> None:
        main = asyncio.create_task(coroutine, name="handler")
        deadline.watch(asyncio.current_task())
        try:
            await main
            me = asyncio.current_task()
            while others := [task for task in asyncio.all_tasks() if task is not me]:
                await asyncio.wait(others)
        except BaseException:
            await self._cancel_others()
            raise
        finally:
            deadline.watch(None)

    async def _cancel_others(self) -> None:
        me = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not me]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _remember(
        self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coroutine, loop=loop, **options)
        self._tasks.add(task)
        return task

    def _interruption(self) -> BaseException | None:
        """What a task of this run was interrupted with: it knows where that was."""
        ended = [task for task in self._tasks if task.done() and not task.cancelled()]
        errors = [task.exception() for task in ended]
        return next((error for error in errors if isinstance(error, RunStopped)), None)

    def _unseen_failures(self) -> list[BaseException]:
        """What tasks of this run raised that nobody has asked for."""
        ended = [task for task in self._tasks if task.done() and not task.cancelled()]
        self._tasks.clear()
        unseen = [task for task in ended if getattr(task, "_log_traceback", False)]
        return [error for task in unseen if (error := task.exception()) is not None]

    def _keep_unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self._unhandled.append(error or RuntimeError(str(context.get("message"))))

    def wait_for_rest(self) -> str:
        """Wait for threads and child processes; gives what cannot be waited for: daemon threads.

        Runs under a deadline, which interrupts the wait.
        """
        while waited_for := [thread for thread in self._strangers() if not thread.daemon]:
            waited_for[0].join()
        _wait_for_children()
        # A daemon thread that is just about to end is no leak.
        patience = time.monotonic() + 0.05
        for thread in self._strangers():
            thread.join(max(0.0, patience - time.monotonic()))
        return self.leftovers()

    def leftovers(self) -> str:
        """Name what is alive that was not before the run; empty when there is nothing."""
        left = [f"thread {thread.name!r}" for thread in self._strangers()]
        if _has_children():
            left.append("a child process")
        if any(not task.done() for task in asyncio.all_tasks(self._runner.get_loop())):
            left.append("a task")
        return ", ".join(left)

    def _strangers(self) -> list[threading.Thread]:
        return [
            thread
            for thread in threading.enumerate()
            if thread not in self._own_threads and thread.is_alive()
        ]


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _wait_for_children() -> None:
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return
