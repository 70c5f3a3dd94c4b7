"""What a worker says of a run, validated: nothing of it is believed that cannot be.

Pure but for the question whether a value has moved. Whether a run may write what it wrote is
checked where that is written, by the completer, which calls this.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.limits import Limits
from bg_charm_service.domain.model import Failure, Outcome
from bg_charm_service.domain.outcomes.run_endings import Ending, EndingKind, is_host, is_sign_in_url
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

#: The causes that an ending comes with.
_CAUSES: Final = {
    EndingKind.WAIT: {FailureCause.WAIT},
    EndingKind.DOWN: {FailureCause.DOWN, FailureCause.TLS},
    EndingKind.SIGN_IN: {FailureCause.SIGN_IN},
    EndingKind.STOP: {FailureCause.STOP},
}

#: Causes that nothing fails for: without a good ending it is a failure like any other.
_NO_FAILURES: Final = {cause for kind in _CAUSES.values() for cause in kind} - {FailureCause.TLS}

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
        ending = _ending(answer.ending, failure)
        if ending is None and failure.cause in _NO_FAILURES:
            failure = replace(failure, cause=FailureCause.ERROR)
        return Outcome(seconds, failure=failure, ending=ending)
    if answer.ending is not None and answer.ending.kind is not EndingKind.AGAIN:
        text = f"Its worker said that it ended as {answer.ending.kind}, and did not say why."
        return Outcome(seconds, failure=Failure(FailureCause.PROTOCOL, text))
    if answer.stale:
        # Runs that are stale cost no failure: believed, they could run for ever.
        if has_moved(set(run.versions)):
            return Outcome(seconds, stale=True)
        text = "Its worker said that a value moved under the run, and none had."
        return Outcome(seconds, failure=Failure(FailureCause.PROTOCOL, text))
    reads = [name for name in answer.reads if name in run.versions]
    if has_moved({*reads, *answer.writes}):
        return Outcome(seconds, stale=True)
    ending = answer.ending and replace(answer.ending, seconds=_distance(answer.ending))
    return Outcome(
        seconds,
        writes=answer.writes,
        sends=answer.sends,
        reminds=answer.reminds,
        notices=answer.notices,
        ending=ending,
    )


def plain_success(answer: Answer, measured_seconds: float) -> Outcome:
    """Turn the answer of a success that sent nothing, and under which nothing has moved."""
    return Outcome(_seconds(answer, measured_seconds), writes=answer.writes)


def short_message(text: str) -> str:
    """Cut an error to what is stored of it: a worker may have made it of any length."""
    return cut(text, STORED_ERROR_CHARACTERS, mark="")


def _ending(said: Ending | None, failure: Failure) -> Ending | None:
    """What a worker says of an ending, or None: then it is the failure that it comes with."""
    if said is None or failure.cause not in _CAUSES.get(said.kind, ()):
        return None
    if said.kind is EndingKind.DOWN and not is_host(said.host):
        # Nobody could be told who is down.
        return None
    return Ending(
        said.kind,
        _distance(said),
        short_message(said.why),
        said.host.lower() if said.kind is EndingKind.DOWN else "",
        said.url if is_sign_in_url(said.url) else "",
    )


def _distance(said: Ending) -> float | None:
    """How far away the time is that a worker names; none where it is no time."""
    seconds = said.seconds
    return seconds if seconds is not None and math.isfinite(seconds) else None


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
    return Failure(cause, short_message(said.message), traceback, said.refusal)
