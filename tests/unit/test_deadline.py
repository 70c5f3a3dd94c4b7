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
            # The timer has run down to where only the reminders are left.
            signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
            signal.raise_signal(signal.SIGALRM)

    return look


def _pause_for_ever() -> None:
    while True:
        signal.pause()


def _stop_and_pause(deadline: Deadline) -> None:
    deadline.stop(RunTimeout)
    _pause_for_ever()


def test_the_alarm_interrupts_a_run() -> None:
    """A run at its limit gets an exception, and the reason is kept."""
    deadline = Deadline(0.001)
    with pytest.raises(RunTimeout), deadline:
        _pause_for_ever()
    assert deadline.is_over


@pytest.mark.parametrize("number", [signal.SIGALRM, signal.SIGPROF])
def test_an_alarm_from_outside_ends_no_run(number: signal.Signals) -> None:
    """A run that has time left goes on when somebody sends the signal to the whole service."""
    with Deadline(3600, 3600) as deadline:
        signal.raise_signal(number)
        assert not deadline.is_over


def test_no_alarm_escapes_from_a_run_that_is_over() -> None:
    """An alarm that strikes while the deadline ends raises nothing, and no timer goes on."""
    sys.setprofile(_strike_at_call_of(Deadline.__exit__.__code__))
    with Deadline(3600):
        pass
    assert (0.0, 0.0) == signal.getitimer(signal.ITIMER_REAL)
    signal.raise_signal(signal.SIGALRM)


def test_time_that_is_forgiven_is_left() -> None:
    """A run that waited for the service has what it had before; one that was stopped has not."""
    with Deadline(3600) as deadline:
        signal.setitimer(signal.ITIMER_REAL, 0.15, 0.2)
        deadline.forgive(1800.0)
        assert 1790 < deadline.seconds_left() <= 1800
        with pytest.raises(RunTimeout):
            _stop_and_pause(deadline)
        deadline.forgive(1800.0)
        assert 0.0 == deadline.seconds_left()
