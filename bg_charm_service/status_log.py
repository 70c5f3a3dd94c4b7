"""The status as lines of the log: every log interval, at a stop, and when somebody asks.

A view of the one snapshot; nothing is counted here.
"""

from __future__ import annotations

from collections.abc import Iterator

from loguru import logger

from bg_charm_service.views import ServiceStatus

_MEGABYTE = 1024 * 1024


def log_status(status: ServiceStatus) -> None:
    """Write the status, a line a topic."""
    for topic, text in _lines(status):
        level = "INFO" if topic != "problem" else "WARNING"
        logger.bind(event=f"status.{topic}").log(level, "{}", text)


def _lines(status: ServiceStatus) -> Iterator[tuple[str, str]]:
    yield (
        "service",
        f"Status: up {_duration(status.uptime_seconds)}, "
        f"{status.charms_enabled} charms enabled, {status.charms_disabled} disabled, "
        f"{status.charms_failing} failing; {status.executions} executions, "
        f"success rate {_rate(status.success_rate)}; {status.cycles} cycles",
    )
    for one in status.integrations:
        yield (
            "integration",
            f"Integration {one.integration}: {one.charms} charms, {one.executions} executions, "
            f"success rate {_rate(one.success_rate)}",
        )
    yield (
        "workers",
        f"Workers: {status.workers_busy} busy of {status.workers_total}, "
        f"{status.workers_created} created, {status.workers_recycled} recycled, "
        f"{status.workers_crashed} crashed; {status.tasks_completed} tasks completed, "
        f"{status.tasks_failed} failed, average {status.average_task_ms:.1f} ms, "
        f"{status.timeouts} timeouts",
    )
    yield (
        "queue",
        f"Queue: {status.jobs_pending} pending, {status.jobs_processing} processing, longest "
        f"{status.longest_queue}, {status.dead_letters} dead letters; runs started "
        f"{status.lag_ms_last_minute:.0f} ms late on average in the last minute, "
        f"{status.lag_ms_max_last_minute:.0f} ms at most; {status.skipped_polls} polls skipped",
    )
    yield (
        "processes",
        f"Processes: supervisor {status.supervisor_memory_bytes / _MEGABYTE:.0f} MB and "
        f"{status.supervisor_cpu_seconds:.1f} s of CPU, workers "
        f"{status.workers_memory_bytes / _MEGABYTE:.0f} MB and "
        f"{status.workers_cpu_seconds:.1f} s of CPU",
    )
    for charm in status.failing:
        yield (
            "failing",
            f"Failing: {charm.space}/{charm.charm_id}, {charm.consecutive_failures} failures in "
            f"a row, last: {charm.last_error[:200]}",
        )
    for problem in status.problems:
        yield "problem", f"Problem: {problem}"


def one_line(status: ServiceStatus) -> str:
    """The status in one line, as systemd shows it."""
    return (
        f"{status.charms_enabled} charms enabled, {status.charms_disabled} disabled, "
        f"{status.charms_failing} failing; {status.executions} executions; "
        f"{status.jobs_pending} jobs pending"
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (rest, "s")]
    shown = [f"{value} {unit}" for value, unit in parts if value]
    return " ".join(shown[:2]) or "0 s"


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1%}"
