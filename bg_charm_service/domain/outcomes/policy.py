"""What an outcome does to its job and its charm: the one failure policy of the service.

Pure: a job, an outcome and what is known of the charm come in, a decision goes out. The
supervisor applies it in one transaction. Nothing else decides about retries, waiting or disabling;
how long a charm waits is in `run_endings`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec
from msgspec.structs import replace

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.model import (
    HELD_STATUS,
    SUCCESS_STATUS,
    CharmHealth,
    DisabledBy,
    Failure,
    Job,
    Origin,
    Outcome,
)
from bg_charm_service.domain.outcomes.backoff import MAX_PROVIDER_DELAY_SECONDS, retry_delay_seconds
from bg_charm_service.domain.outcomes.run_endings import (
    Ending,
    EndingKind,
    Waiting,
    next_waiting,
    status_of,
)

#: A charm that was proven to have ended the service so often is held until a person frees it.
MOST_SERVICE_DEATHS = 2


class Step(StrEnum):
    """What becomes of the job."""

    DONE = "done"
    RETRY = "retry"  #: again at `run_at`, as a new attempt
    RERUN = "rerun"  #: again at once, the same attempt: a value moved under the run
    WAIT = "wait"  #: keeps its place, the same attempt, until its charm may run again
    BURY = "bury"  #: kept as a dead letter for a person
    CANCEL = "cancel"  #: over, its writes refused: its charm was removed


class RunStatus(StrEnum):
    """How a recorded run ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    STALE = "stale"
    CANCELLED = "cancelled"
    WAITING = "waiting"  #: neither well nor badly: it was asked to wait
    DOWN = "down"  #: neither well nor badly: its provider is down
    SIGN_IN = "sign_in"  #: neither: a person has to sign in again
    STOPPED = "stopped"  #: neither: it said that it is done


_STATUSES = {
    EndingKind.WAIT: RunStatus.WAITING,
    EndingKind.DOWN: RunStatus.DOWN,
    EndingKind.SIGN_IN: RunStatus.SIGN_IN,
    EndingKind.STOP: RunStatus.STOPPED,
}

#: Asked of its enum, a member takes many times as long (Python 3.11), and these are for each run.
_DONE: Final = Step.DONE
_SUCCESS: Final = RunStatus.SUCCESS
_SIGN_IN: Final = DisabledBy.SIGN_IN

#: Endings after which the charm is not polled until somebody does something.
_SWITCHED_OFF = {EndingKind.SIGN_IN: DisabledBy.SIGN_IN, EndingKind.STOP: DisabledBy.STOPPED}


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """How often to try, and when to give up on a charm: after so many polls that failed."""

    max_retries: int = 3
    max_failures: int = 5


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What to write: the job's next step, the charm's health, how the run is recorded.

    `run_at` counts only for a retry, a re-run, or a job that waits; `disables` when this outcome
    disabled the charm, `enables` when it enabled it. `waiting` is what the charm waits for from now
    on, and replaces what it waited for.
    """

    step: Step
    health: CharmHealth
    status: RunStatus
    run_at: float = 0.0
    disables: bool = False
    enables: bool = False
    waiting: Waiting | None = None


def decide_outcome(
    job: Job,
    outcome: Outcome,
    health: CharmHealth,
    policy: FailurePolicy,
    *,
    now: float,
    steady: float,
    chance: float,
    before: Waiting | None = None,
    interval_seconds: float = 0.0,
) -> Decision:
    """Decide about one attempt; `now` is recorded, `steady` schedules, `chance` is in [0, 1).

    `before` is what the charm waits for; `interval_seconds`, how often it is polled, is asked for
    only where a run names the time of its next one.
    """
    if outcome.cancelled:
        recorded = replace(health, runs_recorded=health.runs_recorded + 1)
        return Decision(Step.CANCEL, recorded, RunStatus.CANCELLED, waiting=before)
    if outcome.stale:
        moved = replace(
            health,
            runs_recorded=health.runs_recorded + 1,
            stale_streak=health.stale_streak + 1,
        )
        return Decision(Step.RERUN, moved, RunStatus.STALE, run_at=steady, waiting=before)
    ending = outcome.ending
    # What has switched a charm off is known until it is on again.
    waiting = None if health.is_enabled else before
    if ending is not None and health.is_enabled:
        waiting = next_waiting(
            ending,
            before,
            now=now,
            steady=steady,
            chance=chance,
            interval_seconds=interval_seconds,
            is_by_hand=job.origin is Origin.RUN_NOW,
        )
    if outcome.failure is None:
        return _success(job, outcome, health, now, waiting)
    if ending is not None and ending.kind in _STATUSES:
        return _neither(job, ending, health, now, steady, waiting)
    if job.origin is Origin.RUN_NOW:
        # A person is looking at it. What its charm waits for is as it was.
        waiting = before
    return _failure(job, outcome, outcome.failure, health, policy, now, steady, chance, waiting)


def _success(
    job: Job, outcome: Outcome, health: CharmHealth, now: float, waiting: Waiting | None
) -> Decision:
    succeeded = _after_success(health, job, outcome, now)
    if health.disabled_by is _SIGN_IN:
        # A run by hand has shown that whoever had to sign in has done so.
        enabled = enabled_again(succeeded, SUCCESS_STATUS)
        return Decision(_DONE, enabled, _SUCCESS, enables=True)
    if health.is_enabled and waiting is not None and outcome.ending is not None:
        succeeded = replace(succeeded, status=status_of(outcome.ending))
    return Decision(_DONE, succeeded, _SUCCESS, waiting=waiting)


def _neither(
    job: Job,
    ending: Ending,
    health: CharmHealth,
    now: float,
    steady: float,
    waiting: Waiting | None,
) -> Decision:
    """A run that stored nothing, and is neither success nor failure: it costs no attempt."""
    status = _STATUSES[ending.kind]
    ended = replace(
        health,
        last_run=now,
        runs_recorded=health.runs_recorded + 1,
        stale_streak=0,
        waits=health.waits + (status is RunStatus.WAITING),
        downs=health.downs + (status is RunStatus.DOWN),
    )
    # An event keeps its place; a poll comes again by the schedule.
    step = Step.WAIT if job.origin is Origin.SEND else Step.DONE
    if not health.is_enabled:
        return Decision(step, ended, status, run_at=steady, waiting=waiting)
    ended = replace(ended, status=status_of(ending))
    switched_off = _SWITCHED_OFF.get(ending.kind)
    if switched_off is not None:
        ended = replace(ended, disabled_at=now, disabled_by=switched_off)
    run_at = waiting.until if waiting is not None and waiting.until else steady
    return Decision(
        step, ended, status, run_at=run_at, disables=switched_off is not None, waiting=waiting
    )


def _failure(
    job: Job,
    outcome: Outcome,
    failure: Failure,
    health: CharmHealth,
    policy: FailurePolicy,
    now: float,
    steady: float,
    chance: float,
    waiting: Waiting | None,
) -> Decision:
    failed = _after_failure(health, outcome, failure, now)
    is_last = job.attempt > policy.max_retries
    if failure.cause is FailureCause.SUPERVISOR and failed.service_deaths >= MOST_SERVICE_DEATHS:
        held = replace(
            failed,
            disabled_at=now,
            disabled_by=DisabledBy.SERVICE,
            status=HELD_STATUS,
        )
        return Decision(Step.BURY, held, RunStatus.FAILURE, disables=True)
    if not health.is_enabled:
        failed = replace(failed, status=health.status)
    if job.origin is Origin.RUN_NOW:
        return Decision(Step.DONE, failed, RunStatus.FAILURE, waiting=waiting)
    if health.is_enabled and job.origin is Origin.POLL and is_last:
        failed = replace(failed, consecutive_failures=failed.consecutive_failures + 1)
        if failed.consecutive_failures >= policy.max_failures:
            disabled = replace(
                failed,
                disabled_at=now,
                disabled_by=DisabledBy.FAILURES,
                status=f"Disabled: {failure.message}",
            )
            return Decision(Step.BURY, disabled, RunStatus.FAILURE, disables=True)
    if is_last:
        return Decision(Step.BURY, failed, RunStatus.FAILURE, waiting=waiting)
    # The retry of a disabled charm's send waits until it is enabled; the queue drops its polls.
    run_at = steady + retry_delay_seconds(job.attempt, chance)
    return Decision(Step.RETRY, failed, RunStatus.FAILURE, run_at=run_at, waiting=waiting)


def kept_in_line(decision: Decision, *, steady: float) -> Decision:
    """What becomes of an event that was to be a dead letter where its charm can have no more.

    It is tried again after a while, and those behind it wait: an accepted event is never dropped.
    """
    return replace(decision, step=Step.RETRY, run_at=steady + MAX_PROVIDER_DELAY_SECONDS)


def enabled_again(health: CharmHealth, status: str) -> CharmHealth:
    """What is known of a charm once a person, time or a registration has enabled it."""
    return replace(
        health,
        disabled_at=0.0,
        disabled_by=None,
        consecutive_failures=0,
        service_deaths=0,
        status=status,
    )


def registered_again(health: CharmHealth, status: str) -> CharmHealth:
    """What is known of a charm that somebody has polled for whom no credential speaks.

    Its failures go on being counted, unless they had disabled it; its service's deaths always.
    """
    if health.is_enabled:
        return replace(health, status=status)
    return replace(enabled_again(health, status), service_deaths=health.service_deaths)


def disabled_by_hand(health: CharmHealth, now: float, status: str) -> CharmHealth:
    """What is known of a charm that a person disabled."""
    return replace(health, disabled_at=now, disabled_by=DisabledBy.HAND, status=status)


def _after_run(health: CharmHealth, outcome: Outcome, now: float, **others: object) -> CharmHealth:
    """What is known once a run was made, with the others that its end changes: in one go."""
    took_ms = outcome.duration_seconds * 1000
    executions = health.executions
    return replace(
        health,
        last_run=now,
        runs_recorded=health.runs_recorded + 1,
        executions=executions + 1,
        stale_streak=0,
        total_ms=health.total_ms + took_ms,
        min_ms=took_ms if took_ms < health.min_ms or not executions else health.min_ms,
        max_ms=took_ms if took_ms > health.max_ms else health.max_ms,
        last_ms=took_ms,
        **others,
    )


def _after_success(health: CharmHealth, job: Job, outcome: Outcome, now: float) -> CharmHealth:
    return _after_run(
        health,
        outcome,
        now,
        status=SUCCESS_STATUS if health.disabled_by is None else health.status,
        successes=health.successes + 1,
        consecutive_failures=0,
        last_success=now,
        last_scheduled=job.scheduled_at or health.last_scheduled,
    )


def _after_failure(
    health: CharmHealth, outcome: Outcome, failure: Failure, now: float
) -> CharmHealth:
    is_service_death = failure.cause is FailureCause.SUPERVISOR
    return _after_run(
        health,
        outcome,
        now,
        status=failure.message,
        service_deaths=health.service_deaths + is_service_death,
        failures=health.failures + 1,
        last_error=failure.message,
        last_error_cause=failure.cause,
        last_error_at=now,
    )
