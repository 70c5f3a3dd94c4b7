"""What the service tells about itself as a whole: the one snapshot, and what it is made of.

Shown by log, CLI, API and page alike. Times are float seconds since the epoch, 0 or null for
never; durations say their unit. Built by the status board.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from bg_charm_service.domain.disclosure import Instead, OpenText
from bg_charm_service.domain.outcomes.run_endings import HostDown
from bg_charm_service.domain.sandbox_mode import Sandboxing
from bg_charm_service.service.maintenance.backups import BackupStatus


class ProblemKind(StrEnum):
    """What makes the service unhealthy, as monitors tell problems apart."""

    STORAGE = "storage"  #: the database cannot be used
    DATA = "data"  #: the doctor found something
    BACKUP = "backup"  #: the last one failed
    BACKUP_HOOK = "backup_hook"  #: the last one was not carried away
    LATE = "late"  #: runs start late
    STUCK = "stuck"  #: jobs wait, and none begins


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that makes the service unhealthy, with a text for people."""

    kind: ProblemKind
    text: str


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One worker process; one in reserve is idle, and bound to nobody yet."""

    pid: int
    state: OpenText
    in_reserve: bool
    space: OpenText | None
    charm: OpenText | None
    runs: int
    age_seconds: float
    memory_bytes: int
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class FailingCharm:
    """A charm among those with the most failures in a row."""

    space: OpenText
    charm_id: OpenText
    consecutive_failures: int
    last_error: Annotated[str, Instead(field="last_error_cause")]
    last_error_cause: OpenText | None
    name: OpenText


@dataclass(frozen=True, slots=True)
class RetiringCharmView:
    """A charm whose runs cost workers: so many since the start, and what the last of them did."""

    space: OpenText
    charm_id: OpenText
    name: OpenText
    workers: int
    run_id: OpenText
    why: str


@dataclass(frozen=True, slots=True)
class IntegrationStatus:
    """Counts of one integration label."""

    integration: OpenText
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
class NodeView:
    """One of the nodes that share a database: what it is, and since when; `epoch` grows by each."""

    role: OpenText
    name: str
    since: float
    epoch: int


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """The one snapshot that log, CLI, API and page show; success rates are in [0, 1].

    A step is what the service's loop does at a stretch, while nobody else is served: its processor
    time, and the wall time that the longest took.
    """

    version: OpenText
    healthy: bool
    problems: tuple[OpenText, ...]
    backup: BackupStatus
    running: bool
    pid: int
    operator: OpenText
    data_dir: OpenText
    #: Null where no database is shared.
    node: NodeView | None
    started_at: float
    uptime_seconds: float
    interval_seconds: float
    charms_enabled: int
    charms_disabled: int
    charms_failing: int
    charms_waiting: int
    charms_down: int
    charms_sign_in: int
    charms_stopped: int
    charms_stale: int
    #: Since when everything is paused, and by whom; else spaces and charms may be, by themselves.
    paused_at: float
    paused_by: OpenText
    spaces_paused: int
    charms_paused: int
    executions: int
    successes: int
    failures: int
    #: Runs that were neither: asked to wait, and with a provider that was down.
    waits: int
    downs: int
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
    #: Charms that cost workers by what their runs leave behind, the most first.
    retiring: tuple[RetiringCharmView, ...]
    #: Hosts that charms wait for, the most first.
    hosts_down: tuple[HostDown, ...]
    sandbox: Sandboxing
    workers: tuple[WorkerView, ...]
    last_hour: tuple[MinuteView, ...]

    @property
    def waiting_counts(self) -> list[tuple[int, str]]:
        """How many charms wait for what, in words; nothing for what none waits for."""
        counts = (
            (self.charms_waiting, "asked to wait"),
            (self.charms_down, "with a provider down"),
            (self.charms_sign_in, "to sign in again"),
            (self.charms_stopped, "stopped"),
        )
        return [(count, what) for count, what in counts if count]
