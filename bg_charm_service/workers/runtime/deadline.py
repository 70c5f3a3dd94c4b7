"""A run's end by force inside the worker.

At a limit a coroutine is cancelled; code that does not let go is interrupted by an exception.
What ignores both is killed by the pool, which keeps the same limits from outside.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from bg_charm_service.workers.protocol.processes import set_handler

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
        self._has_ended = False
        self._may_interrupt = may_interrupt
        self._task: asyncio.Task[Any] | None = None

    def __enter__(self) -> Deadline:
        set_handler(signal.SIGALRM, self._strike)
        set_handler(signal.SIGPROF, self._strike_for_cpu)
        signal.setitimer(signal.ITIMER_REAL, self._seconds, _INSIST_SECONDS)
        signal.setitimer(signal.ITIMER_PROF, self._cpu_seconds)
        return self

    def __exit__(self, *_: object) -> None:
        # The handlers stay, and do nothing from here on; the next deadline brings its own.
        self._has_ended = True
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)

    @property
    def is_over(self) -> bool:
        return self._reason is not None

    def seconds_left(self) -> float:
        """What is left of the time, in seconds; 0 once the run was stopped."""
        return 0.0 if self._reason is not None else signal.getitimer(signal.ITIMER_REAL)[0]

    def forgive(self, left: float) -> None:
        """Let so many seconds be left again: what went by since was waiting for the service."""
        if self._reason is None and not self._has_ended:
            signal.setitimer(signal.ITIMER_REAL, max(left, _AT_ONCE_SECONDS), _INSIST_SECONDS)

    def watch(self, task: asyncio.Task[Any] | None) -> None:
        """Cancel this task at the limit, before anything harder."""
        self._task = task

    def stop(self, reason: type[RunStopped]) -> None:
        """Stop the run at once, for this reason unless there is one; from any thread."""
        if self._reason is None and not self._has_ended:
            self._reason = reason
            signal.setitimer(signal.ITIMER_REAL, _AT_ONCE_SECONDS, _INSIST_SECONDS)

    def check(self) -> None:
        """Raise the reason when the run was stopped."""
        if self._reason is not None:
            raise self._reason from None

    def _strike_for_cpu(self, *_: object) -> None:
        if not signal.getitimer(signal.ITIMER_PROF)[0]:
            self.stop(RunCpuLimit)

    def _strike(self, _number: int, frame: FrameType | None) -> None:
        if self._has_ended:
            # A thread has set it off once more meanwhile.
            signal.setitimer(signal.ITIMER_REAL, 0)
            return
        if signal.getitimer(signal.ITIMER_REAL)[0] > _INSIST_SECONDS:
            # It came from outside, sent to all processes of the service: the timer still runs.
            return
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
