"""The status as lines of the log: every log interval, at a stop, and when somebody asks.

A view of the one snapshot; nothing is counted here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from loguru import logger

from bg_charm_service.domain.sandbox_mode import Sandboxing, SandboxMode
from bg_charm_service.domain.text_limits import STATUS_ERROR_CHARACTERS, cut
from bg_charm_service.service.status.views import ServiceStatus
from bg_charm_service.supervisor.loop_steps import BOUND_SECONDS, LoopSteps

_MEGABYTE = 1024 * 1024


def log_status(status: ServiceStatus) -> None:
    """Write the status, a line a topic."""
    for topic, text in _lines(status):
        level = {"problem": "WARNING", "paused": "ERROR"}.get(topic, "INFO")
        logger.bind(event=f"status.{topic}").log(level, "{}", text)


def _lines(status: ServiceStatus) -> Iterator[tuple[str, str]]:
    yield (
        "service",
        f"Status: up {_duration(status.uptime_seconds)}, "
        f"{many(status.charms_enabled, 'charm')} enabled, {status.charms_disabled} disabled, "
        f"{status.charms_failing} failing"
        + (f", {status.charms_stale} stale" if status.charms_stale else "")
        + f"; {many(status.executions, 'execution')}, "
        f"success rate {_rate(status.success_rate)}; {many(status.cycles, 'cycle')}",
    )
    if paused := paused_text(status):
        yield "paused", f"Paused: {paused}"
    for one in status.integrations:
        yield (
            "integration",
            f"Integration {one.integration}: {many(one.charms, 'charm')}, "
            f"{many(one.executions, 'execution')}, "
            f"success rate {_rate(one.success_rate)}",
        )
    yield (
        "workers",
        f"Workers: {status.workers_busy} busy of {status.workers_total}, "
        f"{status.workers_in_reserve} in reserve, "
        f"{status.workers_created} created, {status.workers_recycled} recycled, "
        f"{status.workers_crashed} crashed; {many(status.tasks_completed, 'task')} completed, "
        f"{status.tasks_failed} failed, average {status.average_task_ms:.1f} ms, "
        f"{many(status.timeouts, 'timeout')}",
    )
    yield (
        "queue",
        f"Queue: {status.jobs_pending} pending, {status.jobs_processing} processing, longest "
        f"{status.longest_queue}, {many(status.dead_letters, 'dead letter')}; runs started "
        f"{status.lag_ms_last_minute:.0f} ms late on average in the last minute, "
        f"{status.lag_ms_max_last_minute:.0f} ms at most; "
        f"{many(status.skipped_polls, 'poll')} skipped",
    )
    yield (
        "processes",
        f"Processes: supervisor {status.supervisor_memory_bytes / _MEGABYTE:.0f} MB and "
        f"{status.supervisor_cpu_seconds:.1f} s of CPU, workers "
        f"{status.workers_memory_bytes / _MEGABYTE:.0f} MB and "
        f"{status.workers_cpu_seconds:.1f} s of CPU",
    )
    yield (
        "loop",
        f"Loop: the longest step of the last minute took "
        f"{status.longest_step_cpu_ms_last_minute:.0f} ms of CPU and "
        f"{status.longest_step_wall_ms_last_minute:.0f} ms in all; since the start "
        f"{status.longest_step_cpu_ms:.0f} ms and {status.longest_step_wall_ms:.0f} ms",
    )
    yield "walls", f"Walls: {walls_text(status.sandbox)}"
    if status.backup.last is not None:
        made = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status.backup.last.made_at))
        yield (
            "backup",
            f"Backup: the last one was made {made}, "
            f"{status.backup.last.size_bytes / _MEGABYTE:.1f} MB, {status.backup.last.path}",
        )
    if waiting := status.waiting_counts:
        yield "waiting", "Waiting: " + ", ".join(f"{count} {what}" for count, what in waiting)
    for host in status.hosts_down:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(host.since))
        yield "down", f"Down: {host.host} since {since}, {many(host.charms, 'charm')}"
    for charm in status.failing:
        yield (
            "failing",
            f"Failing: {charm.space}/{charm.charm_id}, "
            f"{many(charm.consecutive_failures, 'failure')} in a row, "
            f"last: {cut(charm.last_error, STATUS_ERROR_CHARACTERS, mark='')}",
        )
    for problem in status.problems:
        yield "problem", f"Problem: {problem}"


def log_slow_steps(steps: LoopSteps) -> None:
    """Tell of steps of the loop that were slow since the last time, in one line."""
    slow = steps.take_slow()
    if slow is None:
        return
    more = f", and {many(slow.count - 1, 'shorter one')}" if slow.count > 1 else ""
    cpu_ms, wall_ms = slow.cpu_seconds * 1000, slow.wall_seconds * 1000
    bound = logger.bind(event="slow_step", cpu_ms=round(cpu_ms), wall_ms=round(wall_ms))
    bound.log(
        "WARNING" if slow.cpu_seconds > BOUND_SECONDS else "INFO",
        "The loop served nobody else for {:.0f} ms of CPU, {:.0f} ms in all{}: {}",
        cpu_ms,
        wall_ms,
        more,
        slow.did,
    )


def one_line(status: ServiceStatus) -> str:
    """The status in one line, as systemd shows it."""
    paused = paused_text(status)
    return (
        (f"paused: {paused}; " if paused else "")
        + f"{many(status.charms_enabled, 'charm')} enabled, {status.charms_disabled} disabled, "
        f"{status.charms_failing} failing; {many(status.executions, 'execution')}; "
        f"{many(status.jobs_pending, 'job')} pending"
    )


def paused_text(status: ServiceStatus) -> str:
    """What is paused, in one line; empty where nothing is."""
    if status.paused_at:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status.paused_at))
        return f"everything, by {status.paused_by}, since {since}"
    parts = ((status.spaces_paused, "space"), (status.charms_paused, "charm"))
    return ", ".join(many(count, noun) for count, noun in parts if count)


def walls_text(sandbox: Sandboxing) -> str:
    """The walls around charms in one line: which stand, and why others do not."""
    if sandbox.mode is SandboxMode.OFF:
        stand = "off"
    else:
        up = [wall.name for wall in sandbox.walls if not wall.missing]
        stand = ", ".join(up) or "none"
        if sandbox.missing:
            stand += f"; missing: {sandbox.missing_text}"
    return f"{stand}; isolation: {sandbox.isolation}"


def many(count: int, noun: str) -> str:
    """A number with its noun: `1 charm`, `2 charms`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (rest, "s")]
    shown = [f"{value} {unit}" for value, unit in parts if value]
    return " ".join(shown[:2]) or "0 s"


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1%}"
