"""Promises of how a run is ended by force: by time, by processor time, or because it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading

import pytest

from bg_charm_service.deadline import (
    Deadline,
    RunCpuLimit,
    RunFlood,
    RunStopped,
    RunTimeout,
    Surroundings,
)


@pytest.fixture(autouse=True)
def _leave_signals_as_they_were() -> object:
    """Give the handlers of this process back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGPROF)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def spin() -> None:
    """Work until stopped."""
    while True:
        pass


def test_work_is_stopped_at_its_processor_time() -> None:
    """Code that computes without end is interrupted, long before its time is up."""
    with pytest.raises(RunCpuLimit), Deadline(60.0, 0.05):
        spin()


def test_work_is_stopped_at_its_time() -> None:
    """Without a limit of processor time, code that computes has its time."""
    with pytest.raises(RunTimeout), Deadline(0.05):
        spin()


def test_waiting_costs_no_processor_time() -> None:
    """A run that only waits reaches its deadline, not the other limit."""
    with pytest.raises(RunTimeout), Deadline(0.05, 0.01):
        threading.Event().wait()


def test_another_thread_can_stop_a_run() -> None:
    """Whoever sees that a run has gone too far ends it at once, for the reason it gives."""
    deadline = Deadline(60.0)

    def work() -> None:
        threading.Thread(target=deadline.stop, args=(RunFlood,)).start()
        threading.Event().wait()

    with pytest.raises(RunFlood), deadline:
        work()


def test_the_first_reason_counts() -> None:
    """A run that is stopped already is stopped for no other reason."""
    deadline = Deadline(60.0)

    def work() -> None:
        deadline.stop(RunFlood)
        deadline.stop(RunTimeout)
        spin()

    with pytest.raises(RunFlood), deadline:
        work()


def test_a_run_that_swallows_the_interruption_has_not_succeeded() -> None:
    """What the run caught is raised again when it says that it is done."""
    deadline = Deadline(60.0, 0.02)
    with deadline, contextlib.suppress(RunStopped):
        spin()
    with pytest.raises(RunCpuLimit):
        deadline.check()


def test_a_coroutine_is_cancelled_first() -> None:
    """A handler that waits gets a cancellation, so that it can tidy up; the reason stays."""
    tidied = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            tidied.append(True)
            raise

    deadline = Deadline(0.05)
    with pytest.raises(RunTimeout), deadline:
        Surroundings().run(wait(), deadline)

    assert tidied


def test_nothing_strikes_after_the_end() -> None:
    """A run that is over cannot be stopped any more, and the next one is not hit by it."""
    deadline = Deadline(60.0)
    with deadline:
        pass
    deadline.stop(RunFlood)
    with pytest.raises(RunTimeout), Deadline(0.05):
        spin()
