"""What the service tells about itself as a whole: the one snapshot, and what it is made of.

Shown by log, CLI, API and page alike. Times are float seconds since the epoch, 0 or null for
never; durations say their unit. Built by the status board.
"""

from __future__ import annotations

from dataclasses import dataclass

from bg_charm_service.domain.sandbox_mode import Sandboxing
from bg_charm_service.service.maintenance.backups import BackupStatus


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One worker process; one in reserve is idle, and bound to nobody yet."""

    pid: int
    state: str
    in_reserve: bool
    space: str | None
    charm: str | None
    runs: int
    age_seconds: float
    memory_bytes: int
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class FailingCharm:
    """A charm among those with the most failures in a row."""

    space: str
    charm_id: str
    consecutive_failures: int
    last_error: str
    last_error_cause: str | None
    name: str


@dataclass(frozen=True, slots=True)
class IntegrationStatus:
    """Counts of one integration label."""

    integration: str
    charms: int
    executions: int
    success_rate: float | None


@dataclass(frozen=True, slots=True)
class MinuteView:
    """How many runs ended in one minute; it began at `minute`, seconds since the epoch."""

    minute: float
    successes: int
    failures: int


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """The one snapshot that log, CLI, API and page show; success rates are in [0, 1].

    A step is what the service's loop does at a stretch, while nobody else is served: its processor
    time, and the wall time that the longest took.
    """

    version: str
    healthy: bool
    problems: tuple[str, ...]
    backup: BackupStatus
    running: bool
    pid: int
    operator: str
    data_dir: str
    started_at: float
    uptime_seconds: float
    interval_seconds: float
    charms_enabled: int
    charms_disabled: int
    charms_failing: int
    executions: int
    successes: int
    failures: int
    success_rate: float | None
    cycles: int
    last_cycle_started_at: float
    last_cycle_ended_at: float
    skipped_polls: int
    stale_runs: int
    late_answers: int
    jobs_pending: int
    jobs_processing: int
    dead_letters: int
    longest_queue: int
    lag_ms_last_minute: float
    lag_ms_max_last_minute: float
    longest_step_cpu_ms_last_minute: float
    longest_step_wall_ms_last_minute: float
    longest_step_cpu_ms: float
    longest_step_wall_ms: float
    tasks_completed: int
    tasks_failed: int
    timeouts: int
    average_task_ms: float
    workers_busy: int
    workers_total: int
    workers_in_reserve: int
    workers_created: int
    workers_recycled: int
    workers_crashed: int
    supervisor_memory_bytes: int
    supervisor_cpu_seconds: float
    workers_memory_bytes: int
    workers_cpu_seconds: float
    integrations: tuple[IntegrationStatus, ...]
    failing: tuple[FailingCharm, ...]
    sandbox: Sandboxing
    workers: tuple[WorkerView, ...]
    last_hour: tuple[MinuteView, ...]
