"""What an outcome does to its job and its charm: the one failure policy of the service.

Pure: a job, an outcome and what is known of the charm come in, a decision goes out. The
supervisor applies it in one transaction. Nothing else decides about retries or disabling.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from bg_charm_service.domain.backoff import retry_delay_seconds
from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.model import CharmHealth, DisabledBy, Failure, Job, Origin, Outcome

#: A charm that was proven to have ended the service so often is held until a person frees it.
MOST_SERVICE_DEATHS = 2


class Step(StrEnum):
    """What becomes of the job."""

    DONE = "done"
    RETRY = "retry"  #: again at `run_at`, as a new attempt
    RERUN = "rerun"  #: again at once, the same attempt: a value moved under the run
    BURY = "bury"  #: kept as a dead letter for a person
    CANCEL = "cancel"  #: over, its writes refused: its charm was removed


class RunStatus(StrEnum):
    """How a recorded run ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    STALE = "stale"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """How often to try, and when to give up on a charm."""

    max_retries: int = 3
    max_failures: int = 5


class Decision(msgspec.Struct, frozen=True):
    """What to write: the job's next step, the charm's health, how the run is recorded.

    `run_at` counts only for a retry or a re-run; `disables` when this outcome disabled the charm.
    """

    step: Step
    health: CharmHealth
    status: RunStatus
    run_at: float = 0.0
    disables: bool = False


def decide_outcome(
    job: Job,
    outcome: Outcome,
    health: CharmHealth,
    policy: FailurePolicy,
    *,
    now: float,
    steady: float,
    chance: float,
) -> Decision:
    """Decide about one attempt; `now` is recorded, `steady` schedules, `chance` is in [0, 1)."""
    health = replace(health, runs_recorded=health.runs_recorded + 1)
    if outcome.cancelled:
        return Decision(Step.CANCEL, health, RunStatus.CANCELLED)
    if outcome.stale:
        moved = replace(health, stale_streak=health.stale_streak + 1)
        return Decision(Step.RERUN, moved, RunStatus.STALE, run_at=steady)
    if outcome.failure is None:
        return Decision(Step.DONE, _after_success(health, outcome, now), RunStatus.SUCCESS)
    failed = _after_failure(health, outcome, outcome.failure, now)
    has_killed = outcome.failure.cause is FailureCause.SUPERVISOR
    if has_killed and failed.service_deaths >= MOST_SERVICE_DEATHS:
        held = replace(
            failed,
            disabled_at=now,
            disabled_by=DisabledBy.SERVICE,
            status="Held: it ended the service again; only `charm enable` frees it",
        )
        return Decision(Step.BURY, held, RunStatus.FAILURE, disables=True)
    if job.origin is Origin.RUN_NOW:
        uncounted = replace(failed, consecutive_failures=health.consecutive_failures)
        if not health.is_enabled:
            uncounted = replace(uncounted, status=health.status)
        return Decision(Step.DONE, uncounted, RunStatus.FAILURE)
    if not health.is_enabled:
        # Its sends wait until it is enabled; the queue drops its polls by itself.
        failed = replace(failed, status=health.status)
    elif failed.consecutive_failures >= policy.max_failures:
        disabled = replace(
            failed,
            disabled_at=now,
            disabled_by=DisabledBy.FAILURES,
            status=f"Disabled: {outcome.failure.message}",
        )
        return Decision(Step.BURY, disabled, RunStatus.FAILURE, disables=True)
    if job.attempt > policy.max_retries:
        return Decision(Step.BURY, failed, RunStatus.FAILURE)
    run_at = steady + retry_delay_seconds(job.attempt, chance)
    return Decision(Step.RETRY, failed, RunStatus.FAILURE, run_at=run_at)


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


def disabled_by_hand(health: CharmHealth, now: float, status: str) -> CharmHealth:
    """What is known of a charm that a person disabled."""
    return replace(health, disabled_at=now, disabled_by=DisabledBy.HAND, status=status)


def _after_run(health: CharmHealth, outcome: Outcome, now: float) -> CharmHealth:
    took_ms = outcome.duration_seconds * 1000
    is_first = health.executions == 0
    return replace(
        health,
        last_run=now,
        executions=health.executions + 1,
        stale_streak=0,
        total_ms=health.total_ms + took_ms,
        min_ms=took_ms if is_first else min(health.min_ms, took_ms),
        max_ms=max(health.max_ms, took_ms),
        last_ms=took_ms,
    )


def _after_success(health: CharmHealth, outcome: Outcome, now: float) -> CharmHealth:
    return replace(
        _after_run(health, outcome, now),
        status="Success" if health.is_enabled else health.status,
        successes=health.successes + 1,
        consecutive_failures=0,
        last_success=now,
    )


def _after_failure(
    health: CharmHealth, outcome: Outcome, failure: Failure, now: float
) -> CharmHealth:
    is_service_death = failure.cause is FailureCause.SUPERVISOR
    return replace(
        _after_run(health, outcome, now),
        status=failure.message,
        service_deaths=health.service_deaths + is_service_death,
        failures=health.failures + 1,
        consecutive_failures=health.consecutive_failures + 1,
        last_error=failure.message,
        last_error_cause=failure.cause,
        last_error_at=now,
    )
