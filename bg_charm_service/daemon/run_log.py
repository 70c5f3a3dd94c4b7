"""The lines about runs: each run its own, up to a number a second, then one line with the count.

Successes, failures and disablings have a budget each, so that none hides another. Only lines
are limited: every run is in its charm's history. Called by the supervisor where it settles.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from loguru import logger

from bg_charm_service.domain.model import CharmRef, Failure, Job
from bg_charm_service.domain.outcomes.policy import RunStatus
from bg_charm_service.domain.text_limits import LINE_ERROR_CHARACTERS, cut

#: Lines of each kind in one second.
LINES_PER_SECOND = 200


class _Budget:
    """The lines of one kind: those written in this second and those held back."""

    def __init__(self, event: str, level: str, summary: str, limit: int) -> None:
        self._event = event
        self._level = level
        self._summary = summary
        self._limit = limit
        self._written = 0
        self._held = 0

    @property
    def is_spent(self) -> bool:
        return self._written >= self._limit

    def hold_back(self) -> None:
        self._held += 1

    def write(self, message: str, **extra: object) -> None:
        if self.is_spent:
            self.hold_back()
            return
        self._written += 1
        logger.bind(event=self._event, **extra).log(self._level, message)

    def renew(self) -> None:
        if self._held:
            bound = logger.bind(event=f"{self._event}_more", count=self._held)
            bound.log(self._level, f"{self._summary}: {self._held} more in one second")
        self._written = self._held = 0


class RunLog:
    """Writes what became of runs; `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float], limit: int = LINES_PER_SECOND) -> None:
        self._clock = clock
        self._second_began = clock()
        self._succeeded = _Budget("run.succeeded", "INFO", "Successfully executed charms", limit)
        self._failed = _Budget("run.failed", "WARNING", "Failed runs", limit)
        self._disabled = _Budget("charm.disabled", "ERROR", "Disabled charms", limit)
        self._waiting = _Budget("run.waits", "INFO", "Charms wait", limit)
        self._signed_out = _Budget("charm.sign_in", "ERROR", "Charms need a sign-in", limit)
        self._retired = _Budget("worker.retired", "INFO", "Workers replaced after a run", limit)
        self._hosts = _Budget("host", "WARNING", "Hosts are down, or answer again", limit)

    def succeeded(self, job: Job, *, duration_seconds: float, worker: int | None = None) -> None:
        """Tell that a run finished and its writes are on disk."""
        if self._succeeded.is_spent:
            self._succeeded.hold_back()
            return
        self._succeeded.write(
            f"Successfully executed charm {job.ref}",
            **_about(job, duration_seconds=duration_seconds, worker=worker),
        )

    def failed(
        self,
        job: Job,
        failure: Failure,
        *,
        retry_at: float | None,
        duration_seconds: float,
        worker: int | None = None,
    ) -> None:
        """Tell that an attempt failed; `retry_at` is seconds since the epoch, None for never."""
        self._failed.write(
            f"Failed to execute charm {job.ref}: {failure.cause}: {_one_line(failure.message)}",
            **_about(job, duration_seconds=duration_seconds, worker=worker),
            cause=str(failure.cause),
            next_retry="none" if retry_at is None else _moment(retry_at),
        )

    def disabled(
        self, ref: CharmRef, failure: Failure, *, consecutive_failures: int, back_at: float
    ) -> None:
        """Tell that a charm is polled no more until `back_at`, seconds since the epoch."""
        self._disabled.write(
            f"Disabled charm {ref} after {consecutive_failures} consecutive failures: "
            f"{failure.cause}: {_one_line(failure.message)}",
            space=ref.space,
            charm=ref.charm_id,
            cause=str(failure.cause),
            consecutive_failures=consecutive_failures,
            back_at=_moment(back_at),
        )

    def waits(
        self,
        job: Job,
        status: RunStatus,
        text: str,
        *,
        until: float | None,
        duration_seconds: float,
        worker: int | None = None,
    ) -> None:
        """Tell that a run ended neither well nor badly; `until` is seconds since the epoch.

        One whose provider is down is told once for its host instead, by `host_is_down`.
        """
        if status is RunStatus.DOWN:
            return
        budget = self._signed_out if status is RunStatus.SIGN_IN else self._waiting
        budget.write(
            f"Charm {job.ref}: {_one_line(text)}",
            **_about(job, duration_seconds=duration_seconds, worker=worker),
            status=str(status),
            next_run="none" if until is None else _moment(until),
        )

    def retired(self, job: Job, why: str, *, worker: int) -> None:
        """Tell that a run's worker was replaced for what the run did."""
        self._retired.write(
            f"Charm {job.ref}: its worker was replaced after this run: {_one_line(why)}",
            space=job.ref.space,
            charm=job.ref.charm_id,
            job=job.job_id,
            attempt=job.attempt,
            worker=worker,
        )

    def host_is_down(self, host: str, why: str) -> None:
        """Tell, once for all charms that wait for it, that a host is down."""
        self._hosts.write(f"{host} is down: {_one_line(why)}", host=host, change="down")

    def host_answers(self, host: str, seconds: float) -> None:
        """Tell that a host that was down has served a charm."""
        self._hosts.write(
            f"{host} answers again, after {seconds:.0f} s", host=host, change="up", seconds=seconds
        )

    def tick(self) -> None:
        """Write the counts of a second that is over; called each second, and before any run."""
        now = self._clock()
        if now - self._second_began >= 1.0:
            self._second_began = now
            self.flush()

    def flush(self) -> None:
        """Write what is counted so far, for a stop."""
        for budget in (
            self._succeeded,
            self._failed,
            self._disabled,
            self._waiting,
            self._signed_out,
            self._retired,
            self._hosts,
        ):
            budget.renew()


def _about(job: Job, *, duration_seconds: float, worker: int | None) -> dict[str, object]:
    about: dict[str, object] = {
        "space": job.ref.space,
        "charm": job.ref.charm_id,
        "job": job.job_id,
        "attempt": job.attempt,
        "duration": duration_seconds,
    }
    if worker is not None:
        about["worker"] = worker
    return about


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _one_line(text: str) -> str:
    # What is far beyond the limit is not looked at; blanks may be most of the rest.
    return cut(" ".join(text[: 2 * LINE_ERROR_CHARACTERS].split()), LINE_ERROR_CHARACTERS)
