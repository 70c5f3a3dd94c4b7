"""The one snapshot of the service, kept up to date with each settlement, never by scanning.

Log, CLI, API and page all show this one. Fed by the supervisor; asked by the commands.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.outcome_policy import RunStatus
from bg_charm_service.domain.sandbox_mode import Sandboxing
from bg_charm_service.domain.version import VERSION
from bg_charm_service.service.maintenance.cycle import Maintenance
from bg_charm_service.service.status.views import (
    FailingCharm,
    IntegrationStatus,
    MinuteView,
    ServiceStatus,
    WorkerView,
)
from bg_charm_service.supervisor.completer import Settled
from bg_charm_service.supervisor.loop import Parts, Supervisor
from bg_charm_service.supervisor.polled_charms import PolledCharms
from bg_charm_service.workers.pool.pool import Pool

#: How many of the charms with the most failures in a row are shown.
TOP_FAILING = 10

#: Over how long lag is averaged, in seconds.
_LAG_SECONDS = 60

#: So long jobs may be ready without any of them being begun, in seconds.
_UNHEALTHY_WAIT_SECONDS = 60.0

#: Runs that start later than this on average make the service unhealthy, in milliseconds.
_UNHEALTHY_LAG_MS = 10_000

#: How many minutes the chart of the last hour has.
MINUTES = 60


@dataclass(slots=True)
class _LagSecond:
    second: int
    count: int = 0
    total_ms: float = 0.0
    max_ms: float = 0.0


class StartLags:
    """How late runs started in the last minute; times are those of the steady clock, in seconds."""

    def __init__(self) -> None:
        self._seconds: deque[_LagSecond] = deque(maxlen=_LAG_SECONDS)

    def note(self, lag_seconds: float, *, run_at: float, awake_since: float, now: float) -> None:
        """Count one start, unless its time came while the service was down or did not run.

        More workers would not have helped there; and a time that an earlier life wrote is that of
        another clock.
        """
        if run_at < awake_since:
            return
        if not self._seconds or self._seconds[-1].second != int(now):
            self._seconds.append(_LagSecond(int(now)))
        second, lag_ms = self._seconds[-1], lag_seconds * 1000
        second.count += 1
        second.total_ms += lag_ms
        second.max_ms = max(second.max_ms, lag_ms)

    def mean_ms(self, now: float) -> float:
        """Give the average."""
        recent = self._recent(now)
        count = sum(second.count for second in recent)
        return sum(second.total_ms for second in recent) / count if count else 0.0

    def max_ms(self, now: float) -> float:
        """Give the latest."""
        return max((second.max_ms for second in self._recent(now)), default=0.0)

    def _recent(self, now: float) -> list[_LagSecond]:
        return [second for second in self._seconds if second.second >= now - _LAG_SECONDS]


@dataclass(slots=True)
class _Minute:
    number: int
    successes: int = 0
    failures: int = 0


class RunHistory:
    """How many runs ended in each minute of the last hour; times are seconds since the epoch.

    In memory, for the small chart.
    """

    def __init__(self) -> None:
        self._minutes: deque[_Minute] = deque(maxlen=MINUTES)

    def note(self, status: RunStatus, now: float) -> None:
        """Count a run that ended; one that was cancelled or is run again says nothing."""
        number = int(now // 60)
        if not self._minutes or self._minutes[-1].number < number:
            self._minutes.append(_Minute(number))
        self._minutes[-1].successes += status is RunStatus.SUCCESS
        self._minutes[-1].failures += status is RunStatus.FAILURE

    def last_hour(self, now: float) -> tuple[MinuteView, ...]:
        """Every minute of the last hour, the oldest first, those without runs too."""
        counted = {minute.number: minute for minute in self._minutes}
        newest = int(now // 60)
        shown = []
        for number in range(newest - MINUTES + 1, newest + 1):
            minute = counted.get(number) or _Minute(number)
            shown.append(MinuteView(number * 60.0, minute.successes, minute.failures))
        return tuple(shown)


@dataclass(frozen=True, slots=True)
class About:
    """What does not change while the service lives."""

    operator: str
    data_dir: str
    interval_seconds: float
    is_polling: bool
    sandboxing: Sandboxing


class StatusBoard:
    """Counts as things happen, and gives the snapshot."""

    def __init__(
        self,
        about: About,
        parts: Parts,
        pool: Pool,
        polled_charms: PolledCharms,
        maintenance: Maintenance,
        supervisor: Supervisor,
    ) -> None:
        self._about = about
        self._store = parts.store
        self._queue = parts.queue
        self._dispatcher = parts.dispatcher
        self._clock = clock = parts.clock
        self._steps = parts.steps
        self._pool = pool
        self._polled_charms = polled_charms
        self._maintenance = maintenance
        self._supervisor = supervisor
        self._storage = supervisor.storage_health
        self._started_at = clock.now()
        self._started = clock.steady()
        self._lags = StartLags()
        self._history = RunHistory()
        self._longest_queue = 0
        self._tasks = dict.fromkeys(RunStatus, 0)
        self._task_ms = 0.0
        self._process = psutil.Process(os.getpid())
        self._memory_bytes = 0
        self._cpu_seconds = 0.0

    def settled(self, settled: Sequence[Settled]) -> None:
        """Count settlements that are on disk."""
        now, steady = self._clock.now(), self._clock.steady()
        self._longest_queue = max(self._longest_queue, self._queue.pending)
        for one in settled:
            status = one.decision.status
            self._tasks[status] += 1
            self._task_ms += one.outcome.duration_seconds * 1000
            self._history.note(status, now)
            self._lags.note(
                one.run.lag_seconds,
                run_at=one.run.claim.job.run_at,
                awake_since=self._supervisor.awake_since,
                now=steady,
            )

    def _measure_self(self) -> None:
        # Where no file can be opened any more, what was last read stands.
        with suppress(OSError):
            self._memory_bytes = self._process.memory_info().rss
            times = self._process.cpu_times()
            self._cpu_seconds = times.user + times.system

    def snapshot(self) -> ServiceStatus:
        """Give the state of the service now."""
        totals = self._store.totals
        executions, successes = totals.get("executions"), totals.get("successes")
        disabled = sum(key in self._polled_charms for key in self._polled_charms.disabled)
        workers = tuple(self._workers())
        self._measure_self()
        done = self._tasks[RunStatus.SUCCESS] + self._tasks[RunStatus.FAILURE]
        # Read first: where that fails, it is one of the problems.
        failing = tuple(self._failing())
        steady = self._clock.steady()
        mean_lag = self._lags.mean_ms(steady)
        problems = self._problems(mean_lag)
        step_cpu, step_wall = self._steps.longest_recent()
        return ServiceStatus(
            version=VERSION,
            healthy=not problems,
            problems=problems,
            backup=self._maintenance.backups.status,
            running=self._about.is_polling,
            pid=os.getpid(),
            operator=self._about.operator,
            data_dir=self._about.data_dir,
            started_at=self._started_at,
            uptime_seconds=self._clock.steady() - self._started,
            interval_seconds=self._about.interval_seconds,
            charms_enabled=len(self._polled_charms) - disabled,
            charms_disabled=disabled,
            charms_failing=len(self._polled_charms.failing),
            executions=executions,
            successes=successes,
            failures=totals.get("failures"),
            success_rate=successes / executions if executions else None,
            cycles=totals.get("cycles"),
            last_cycle_started_at=self._maintenance.cycle.last_started_at,
            last_cycle_ended_at=self._maintenance.cycle.last_ended_at,
            skipped_polls=totals.get("skipped_polls"),
            stale_runs=totals.get("stale_runs"),
            late_answers=totals.get("late_answers"),
            jobs_pending=self._queue.pending,
            jobs_processing=self._queue.claimed,
            dead_letters=self._queue.dead,
            longest_queue=self._longest_queue,
            lag_ms_last_minute=mean_lag,
            lag_ms_max_last_minute=self._lags.max_ms(steady),
            longest_step_cpu_ms_last_minute=step_cpu * 1000,
            longest_step_wall_ms_last_minute=step_wall * 1000,
            longest_step_cpu_ms=self._steps.longest_cpu_seconds * 1000,
            longest_step_wall_ms=self._steps.longest_wall_seconds * 1000,
            tasks_completed=self._tasks[RunStatus.SUCCESS],
            tasks_failed=self._tasks[RunStatus.FAILURE],
            timeouts=totals.get("timeouts"),
            average_task_ms=self._task_ms / done if done else 0.0,
            workers_busy=self._pool.workers.busy,
            workers_total=len(self._pool.workers),
            workers_in_reserve=self._pool.workers.in_reserve,
            workers_created=self._pool.created,
            workers_recycled=self._pool.recycled,
            workers_crashed=self._pool.crashed,
            supervisor_memory_bytes=self._memory_bytes,
            supervisor_cpu_seconds=self._cpu_seconds,
            workers_memory_bytes=sum(worker.memory_bytes for worker in workers),
            workers_cpu_seconds=sum(worker.cpu_seconds for worker in workers),
            integrations=tuple(self._integrations()),
            failing=failing,
            sandbox=self._about.sandboxing,
            workers=workers,
            last_hour=self._history.last_hour(self._clock.now()),
        )

    def _problems(self, mean_lag_ms: float) -> tuple[str, ...]:
        problems = [self._storage.problem] if self._storage.problem else []
        problems += self._maintenance.health_checks.problems
        backup = self._maintenance.backups.status
        if backup.problem:
            problems.append(f"The last backup failed: {backup.problem}")
        if backup.hook_problem:
            problems.append(f"The last backup was not carried away: {backup.hook_problem}")
        if mean_lag_ms > _UNHEALTHY_LAG_MS:
            problems.append(
                f"Runs start {mean_lag_ms / 1000:.0f} s late: raise --max-concurrent or --interval."
            )
        if self._about.is_polling and (since := self._dispatcher.waiting_since) is not None:
            waited = self._clock.steady() - since
            if waited > _UNHEALTHY_WAIT_SECONDS:
                problems.append(f"Jobs wait, but none has begun for {waited:.0f} s: {self._why()}")
        return tuple(problems)

    def _why(self) -> str:
        if self._pool.workers.busy:
            return "long runs keep the workers busy; raise --max-concurrent."
        return "no worker can be had; the log says why."

    def _integrations(self) -> list[IntegrationStatus]:
        executions = self._store.totals.with_prefix("executions/")
        successes = self._store.totals.with_prefix("successes/")
        counts = self._polled_charms.counts()
        names = sorted({*counts, *executions, *self._maintenance.scans.states})
        return [
            IntegrationStatus(
                integration=name,
                charms=counts[name],
                executions=executions.get(name, 0),
                success_rate=successes.get(name, 0) / executions[name]
                if executions.get(name)
                else None,
            )
            for name in names
        ]

    def _failing(self) -> list[FailingCharm]:
        """The charms that fail most; none while the database cannot be read: the status can be."""
        failing: list[FailingCharm] = []
        with self._storage.noting():
            failing += self._read_failing()
        return failing

    def _read_failing(self) -> Iterator[FailingCharm]:
        for charm_key, count, error, cause in self._store.health.most_failing(TOP_FAILING):
            charm = self._store.charms.get(charm_key)
            if charm is not None and charm.removed_at is None:
                ref: CharmRef = charm.ref
                yield FailingCharm(ref.space, ref.charm_id, count, error, cause, charm.name)

    def _workers(self) -> list[WorkerView]:
        now = self._clock.steady()
        views = []
        for worker in self._pool.workers:
            run = worker.run
            views.append(
                WorkerView(
                    pid=worker.pid,
                    state=worker.state,
                    in_reserve=worker.is_fresh,
                    space=run.space if run else None,
                    charm=run.charm_id if run else None,
                    runs=worker.runs,
                    age_seconds=now - worker.started,
                    memory_bytes=worker.own_bytes,
                    cpu_seconds=worker.cpu_seconds,
                )
            )
        return views
