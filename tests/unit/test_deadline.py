"""A run's end by force: what the alarm may interrupt, and what it must not."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from bg_charm_service.workers.runtime.deadline import Deadline, RunTimeout


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Signals and timers as they were."""
    handlers = {one: signal.getsignal(one) for one in (signal.SIGALRM, signal.SIGPROF)}
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _strike_at_call_of(code: object) -> Callable[[FrameType, str, Any], None]:
    """Let the alarm strike when a function is called."""

    def look(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call" and frame.f_code is code:
            sys.setprofile(None)
            signal.raise_signal(signal.SIGALRM)

    return look


def test_the_alarm_interrupts_a_run() -> None:
    """A run at its limit gets an exception, and the reason is kept."""
    deadline = Deadline(3600)
    with pytest.raises(RunTimeout), deadline:
        signal.raise_signal(signal.SIGALRM)
    assert deadline.is_over


def test_no_alarm_escapes_from_a_run_that_is_over() -> None:
    """An alarm that strikes while the deadline ends raises nothing, and no timer goes on."""
    sys.setprofile(_strike_at_call_of(Deadline.__exit__.__code__))
    with Deadline(3600):
        pass
    assert (0.0, 0.0) == signal.getitimer(signal.ITIMER_REAL)
    signal.raise_signal(signal.SIGALRM)
