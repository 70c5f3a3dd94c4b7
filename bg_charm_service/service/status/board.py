"""The one snapshot of the service, kept up to date with each settlement, never by scanning.

Log, CLI, API and page all show this one. Fed by the supervisor; asked by the commands.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.outcomes.policy import RunStatus
from bg_charm_service.domain.outcomes.run_endings import EndingKind
from bg_charm_service.domain.sandbox_mode import Sandboxing
from bg_charm_service.domain.version import VERSION
from bg_charm_service.service.maintenance.backups import BackupFile
from bg_charm_service.service.maintenance.cycle import Maintenance
from bg_charm_service.service.metrics.run_counters import RunCounters, RunsTogether
from bg_charm_service.service.status.retired_workers import RetiredWorkers
from bg_charm_service.service.status.views import (
    FailingCharm,
    IntegrationStatus,
    MinuteView,
    NodeView,
    Problem,
    ProblemKind,
    RetiringCharmView,
    ServiceStatus,
    WorkerView,
)
from bg_charm_service.storage.node_contract import Holder
from bg_charm_service.supervisor.completer import Settled
from bg_charm_service.supervisor.loop import Parts, Supervisor
from bg_charm_service.supervisor.planning.polled_charms import PolledCharms
from bg_charm_service.workers.pool.events import WorkerSpent
from bg_charm_service.workers.pool.pool import Pool

#: How many of the charms with the most failures in a row are shown.
TOP_FAILING = 10

#: How many of the hosts that are down are named.
MOST_HOSTS = 20

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

    def note(self, together: RunsTogether, now: float) -> None:
        """Count the starts of some runs."""
        if not together.lags:
            return
        if not self._seconds or self._seconds[-1].second != int(now):
            self._seconds.append(_LagSecond(int(now)))
        second = self._seconds[-1]
        second.count += together.lags
        second.total_ms += together.lag_seconds * 1000
        second.max_ms = max(second.max_ms, together.longest_lag_seconds * 1000)

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

    def note(self, together: RunsTogether, now: float) -> None:
        """Count runs that ended; those that were cancelled or are run again say nothing."""
        number = int(now // 60)
        if not self._minutes or self._minutes[-1].number < number:
            self._minutes.append(_Minute(number))
        self._minutes[-1].successes += together.successes
        self._minutes[-1].failures += together.failures

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

    data_dir: str
    interval_seconds: float
    is_polling: bool
    sandboxing: Sandboxing
    #: This node, where several share a database.
    holder: Holder | None = None


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
        operator: Callable[[], str],
    ) -> None:
        self._about = about
        self._operator = operator
        self._store = parts.store
        self._queue = parts.queue
        self._waiting = parts.waiting
        self._dispatcher = parts.dispatcher
        self._clock = clock = parts.clock
        self._stale = 0
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
        self._retired = RetiredWorkers()
        self._longest_queue = 0
        #: How runs ended since the start.
        self.runs = RunCounters(polled_charms.label, maintenance.scans.states.keys())
        self._process = psutil.Process(os.getpid())
        self._memory_bytes = 0
        self._cpu_seconds = 0.0

    def settled(self, settled: Sequence[Settled]) -> None:
        """Count settlements that are on disk."""
        self._longest_queue = max(self._longest_queue, self._queue.pending)
        together = self.runs.note(settled, awake_since=self._supervisor.awake_since)
        self._history.note(together, self._clock.now())
        self._lags.note(together, self._clock.steady())
        for one in settled:
            if one.record.retired:
                self._retired.note(one.run.claim.job.ref, one.record.run_id, one.record.retired)

    def spent(self, spent: WorkerSpent) -> None:
        """Count a worker that was replaced for a run that is on disk already."""
        run = spent.run
        self._retired.note(CharmRef(run.space, run.charm_id), run.run_id, spent.why)

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
        enabled, disabled = self.polled()
        workers = tuple(self._workers())
        self._measure_self()
        completed = self.runs.ended(RunStatus.SUCCESS)
        failed = self.runs.ended(RunStatus.FAILURE)
        done = completed + failed
        # Read first: where that fails, it is one of the problems.
        failing = tuple(self._failing())
        stale = self._count_stale()
        retiring = tuple(self._retiring())
        steady = self._clock.steady()
        problems = tuple(problem.text for problem in self.problems())
        pauses = self._store.pauses.all()
        all_paused = self._store.pauses.at()
        charms_paused = sum(one.charm_key > 0 for one in pauses)
        step_cpu, step_wall = self._steps.longest_recent()
        return ServiceStatus(
            version=VERSION,
            healthy=not problems,
            problems=problems,
            backup=self._maintenance.backups.status,
            running=self._about.is_polling,
            pid=os.getpid(),
            operator=self._operator(),
            data_dir=self._about.data_dir,
            node=self._node(),
            started_at=self._started_at,
            uptime_seconds=self._clock.steady() - self._started,
            interval_seconds=self._about.interval_seconds,
            charms_enabled=enabled,
            charms_disabled=disabled,
            charms_failing=len(self._polled_charms.failing),
            charms_waiting=self._waiting.of_kind(EndingKind.WAIT),
            charms_down=self._waiting.of_kind(EndingKind.DOWN),
            charms_sign_in=self._waiting.of_kind(EndingKind.SIGN_IN),
            charms_stopped=self._waiting.of_kind(EndingKind.STOP),
            charms_stale=stale,
            paused_at=all_paused.paused_at if all_paused is not None else 0.0,
            paused_by=all_paused.paused_by if all_paused is not None else "",
            spaces_paused=len(pauses) - charms_paused - (all_paused is not None),
            charms_paused=charms_paused,
            executions=executions,
            successes=successes,
            failures=totals.get("failures"),
            waits=totals.get("waiting_runs"),
            downs=totals.get("down_runs"),
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
            lag_ms_last_minute=self._lags.mean_ms(steady),
            lag_ms_max_last_minute=self._lags.max_ms(steady),
            longest_step_cpu_ms_last_minute=step_cpu * 1000,
            longest_step_wall_ms_last_minute=step_wall * 1000,
            longest_step_cpu_ms=self._steps.longest_cpu_seconds * 1000,
            longest_step_wall_ms=self._steps.longest_wall_seconds * 1000,
            tasks_completed=completed,
            tasks_failed=failed,
            timeouts=totals.get("timeouts"),
            average_task_ms=self.runs.durations.total * 1000 / done if done else 0.0,
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
            retiring=retiring,
            hosts_down=tuple(self._waiting.hosts()[:MOST_HOSTS]),
            sandbox=self._about.sandboxing,
            workers=workers,
            last_hour=self._history.last_hour(self._clock.now()),
        )

    def _node(self) -> NodeView | None:
        holder = self._about.holder
        if holder is None:
            return None
        return NodeView("active", holder.node, holder.since, holder.epoch)

    def polled(self) -> tuple[int, int]:
        """How many charms are polled, and how many would be if they were not disabled.

        Those that stopped, or need a sign-in, are neither: they are counted apart.
        """
        off = [key for key in self._polled_charms.disabled if key in self._polled_charms]
        disabled = sum(not self._waiting.is_off(key) for key in off)
        return len(self._polled_charms) - len(off), disabled

    @property
    def last_backup(self) -> BackupFile | None:
        """The newest verified backup that is known of."""
        return self._maintenance.backups.status.last

    def problems(self) -> list[Problem]:
        """What makes the service unhealthy now; reads nothing but memory."""
        found = self._maintenance.health_checks.problems
        problems = [Problem(ProblemKind.DATA, text) for text in found]
        if self._storage.problem:
            problems.insert(0, Problem(ProblemKind.STORAGE, self._storage.problem))
        backup = self._maintenance.backups.status
        if backup.problem:
            text = f"The last backup failed: {backup.problem}"
            problems.append(Problem(ProblemKind.BACKUP, text))
        if backup.hook_problem:
            text = f"The last backup was not carried away: {backup.hook_problem}"
            problems.append(Problem(ProblemKind.BACKUP_HOOK, text))
        steady = self._clock.steady()
        mean_lag_ms = self._lags.mean_ms(steady)
        if mean_lag_ms > _UNHEALTHY_LAG_MS:
            text = (
                f"Runs start {mean_lag_ms / 1000:.0f} s late: raise --max-concurrent or --interval."
            )
            problems.append(Problem(ProblemKind.LATE, text))
        if self._about.is_polling and (since := self._dispatcher.waiting_since) is not None:
            waited = steady - since
            if waited > _UNHEALTHY_WAIT_SECONDS:
                text = f"Jobs wait, but none has begun for {waited:.0f} s: {self._why()}"
                problems.append(Problem(ProblemKind.STUCK, text))
        return problems

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

    def _retiring(self) -> list[RetiringCharmView]:
        """The charms that cost workers; none while the database cannot be read."""
        found: list[RetiringCharmView] = []
        with self._storage.noting():
            for one in self._retired.most():
                charm = self._store.charms.find(one.ref)
                if charm is not None:
                    space, charm_id = one.ref.space, one.ref.charm_id
                    found.append(
                        RetiringCharmView(
                            space, charm_id, charm.name, one.workers, one.run_id, one.why
                        )
                    )
        return found

    @property
    def stale(self) -> int:
        """How many charms were stale when the status was told last: to count them is to read."""
        return self._stale

    def _count_stale(self) -> int:
        """How many charms are stale; none while the database cannot be read."""
        self._stale = 0
        with self._storage.noting():
            self._stale = self._store.freshness.count_stale(self._clock.now())
        return self._stale

    def _read_failing(self) -> Iterator[FailingCharm]:
        for charm_key, count, error, cause in self._store.health.most_failing(TOP_FAILING):
            charm = self._store.charms.get(charm_key)
            if charm is not None and charm.removed_at is None:
                ref: CharmRef = charm.ref
                yield FailingCharm(ref.space, ref.charm_id, count, error, cause, charm.name)

    def _workers(self) -> list[WorkerView]:
        # The pool measures by what has passed while the machine was awake.
        now = self._clock.awake()
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
