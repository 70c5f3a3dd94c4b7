"""What a worker says of a run, validated: nothing of it is believed that cannot be.

Pure but for the question whether a value has moved. Whether a run may write what it wrote is
checked where that is written, by the completer, which calls this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.limits import Limits
from bg_charm_service.domain.model import Failure, Outcome
from bg_charm_service.domain.text_limits import (
    STORED_ERROR_CHARACTERS,
    STORED_TRACEBACK_CHARACTERS,
    cut,
)
from bg_charm_service.supervisor.in_flight import InFlight
from bg_charm_service.workers.protocol.messages import Answer

#: What ends or outlives a worker; it cannot tell of it.
_SEEN_FROM_OUTSIDE: Final = {
    FailureCause.EXIT,
    FailureCause.SIGNAL,
    FailureCause.PROTOCOL,
    FailureCause.SUPERVISOR,
}

#: Clocks of two processes agree on this part of a time.
_AGREEMENT: Final = 0.9


def outcome_of(
    answer: Answer,
    run: InFlight,
    limits: Limits,
    measured_seconds: float,
    has_moved: Callable[[set[str]], bool],
) -> Outcome:
    """Turn an answer into the one result type; `measured_seconds` is how long its worker had it."""
    seconds = _seconds(answer, measured_seconds)
    if answer.failure is not None:
        failure = _failure(answer.failure, limits, measured_seconds)
        return Outcome(seconds, failure=failure)
    if answer.stale:
        # Runs that are stale cost no failure: believed, they could run for ever.
        if has_moved(set(run.versions)):
            return Outcome(seconds, stale=True)
        text = "Its worker said that a value moved under the run, and none had."
        return Outcome(seconds, failure=Failure(FailureCause.PROTOCOL, text))
    reads = [name for name in answer.reads if name in run.versions]
    if has_moved({*reads, *answer.writes}):
        return Outcome(seconds, stale=True)
    return Outcome(seconds, writes=answer.writes, sends=answer.sends)


def plain_success(answer: Answer, measured_seconds: float) -> Outcome:
    """Turn the answer of a success that sent nothing, and under which nothing has moved."""
    return Outcome(_seconds(answer, measured_seconds), writes=answer.writes)


def short_message(text: str) -> str:
    """Cut an error to what is stored of it: a worker may have made it of any length."""
    return cut(text, STORED_ERROR_CHARACTERS, mark="")


def _seconds(answer: Answer, measured_seconds: float) -> float:
    # What a worker says of time counts for fairness and schedules: within what was measured.
    return min(max(0.0, answer.duration_seconds), measured_seconds)


def _failure(said: Failure, limits: Limits, measured_seconds: float) -> Failure:
    cause = said.cause
    is_early = measured_seconds < _AGREEMENT * limits.timeout_seconds
    if cause in _SEEN_FROM_OUTSIDE:
        cause = FailureCause.PROTOCOL
    elif cause is FailureCause.TIMEOUT and is_early:
        cause = FailureCause.ERROR
    traceback = cut(said.traceback, STORED_TRACEBACK_CHARACTERS, mark="")
    return Failure(cause, short_message(said.message), traceback)
