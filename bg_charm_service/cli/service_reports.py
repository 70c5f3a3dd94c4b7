"""The command that shows the service: its status."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from bg_charm_service.cli.output.formatting import (
    clock,
    counted,
    file_size,
    memory,
    milliseconds,
    one_line,
    percent,
    relative,
    seconds,
    span,
)
from bg_charm_service.cli.output.json_output import json_option
from bg_charm_service.cli.output.printing import coloured, print_facts, print_json, print_table
from bg_charm_service.cli.session import Session, pass_session, typeable
from bg_charm_service.domain.errors import StandingBy
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.sandbox_mode import Isolation

if TYPE_CHECKING:
    from bg_charm_service.domain.sandbox_mode import Sandboxing
    from bg_charm_service.service.status.views import ServiceStatus

#: What `status` exits with where nothing could go wrong: as `systemctl status` does, and one more.
_HEALTHY, _NOT_RUNNING, _UNHEALTHY = 0, 3, 4


@click.command()
@json_option
@pass_session
@click.pass_context
def status(ctx: click.Context, session: Session, as_json: bool) -> None:
    """Show how the service is doing.

    Exits with 0 when it is healthy, or stands by for another node, 1 when it could not be asked,
    3 when it does not run, and 4 when something is wrong.
    """
    from bg_charm_service.service.status.views import ServiceStatus

    try:
        response = session.ask(lambda client: client.get("status"))
    except StandingBy as error:
        # It is as it should be.
        if as_json:
            print_json({"role": "standby", "message": str(error)})
        else:
            print_facts([("service", str(error))])
        ctx.exit(_HEALTHY)
    found = response.read(ServiceStatus)
    if as_json:
        print_json(response.content)
    else:
        _print_status(found)
    if not found.running:
        ctx.exit(_NOT_RUNNING)
    ctx.exit(_HEALTHY if found.healthy else _UNHEALTHY)


def _print_status(found: ServiceStatus) -> None:
    now = time.time()
    print_facts(_facts(found, now))
    if found.running and found.workers:
        click.echo()
        print_table(
            ["WORKER", "STATE", "SPACE", "RUNS", "AGE", "MEMORY", "CPU"],
            [
                [
                    str(each.pid),
                    each.state,
                    each.space or "-",
                    f"{each.runs:,}",
                    span(each.age_seconds),
                    memory(each.memory_bytes),
                    f"{each.cpu_seconds:.1f} s",
                ]
                for each in found.workers
            ],
        )
    if found.failing:
        click.echo()
        print_facts(
            (f"{CharmRef(each.space, each.charm_id).short_name}", _failing(each))
            for each in found.failing
        )
    if found.retiring:
        click.echo()
        print_facts(
            (
                f"{CharmRef(each.space, each.charm_id).short_name}",
                f"{counted(each.workers, 'worker')} replaced after its runs, last after "
                f"{each.run_id}: {one_line(each.why)}",
            )
            for each in found.retiring
        )


def _failing(charm: Any) -> str:
    return f"{counted(charm.consecutive_failures, 'failure')}: {one_line(charm.last_error)}"


def _facts(found: ServiceStatus, now: float) -> Iterator[tuple[str, Any]]:
    yield "service", _running(found)
    yield "health", coloured("good", "green") if found.healthy else coloured("bad", "red")
    for problem in found.problems:
        yield "problem", coloured(typeable(problem), "red")
    if found.backup.hook_output:
        yield "hook said", found.backup.hook_output
    yield "operator", found.operator
    yield "data", found.data_dir
    if found.node is not None:
        since = clock(found.node.since, now)
        yield "node", f"{found.node.role} since {since}: {found.node.name}"
    yield (
        "charms",
        f"{found.charms_enabled:,} enabled, {found.charms_disabled:,} disabled, "
        f"{found.charms_failing:,} failing"
        + (f", {found.charms_stale:,} stale" if found.charms_stale else ""),
    )
    if paused := _paused(found, now):
        yield "paused", coloured(paused, "red")
    if waiting := found.waiting_counts:
        yield "waiting", ", ".join(f"{count:,} {what}" for count, what in waiting)
    for host in found.hosts_down:
        yield (
            "down",
            f"{host.host} is down since {clock(host.since, now)}: {counted(host.charms, 'charm')}",
        )
    yield (
        "executions",
        f"{found.executions:,}: {found.successes:,} ok, {found.failures:,} failed, "
        f"success rate {percent(found.success_rate)}",
    )
    yield (
        "jobs",
        f"{found.jobs_pending:,} pending, {found.jobs_processing:,} processing, "
        f"{counted(found.dead_letters, 'dead letter')}, longest queue {found.longest_queue:,}",
    )
    if found.running:
        cycle = relative(found.last_cycle_started_at, now)
        yield (
            "cycles",
            f"{found.cycles:,} of {seconds(found.interval_seconds)}, the last one {cycle}",
        )
        yield (
            "lag",
            f"{milliseconds(found.lag_ms_last_minute)} in the last minute, "
            f"at most {milliseconds(found.lag_ms_max_last_minute)}",
        )
        yield (
            "loop",
            f"longest step {milliseconds(found.longest_step_cpu_ms_last_minute)} of CPU in the "
            f"last minute, {milliseconds(found.longest_step_cpu_ms)} since the start "
            f"(in all {milliseconds(found.longest_step_wall_ms_last_minute)}, "
            f"{milliseconds(found.longest_step_wall_ms)})",
        )
        yield (
            "pool",
            f"{found.workers_busy} busy of {found.workers_total}, {found.workers_in_reserve} in "
            f"reserve, {found.workers_created:,} created, {found.workers_recycled:,} recycled, "
            f"{found.workers_crashed:,} crashed",
        )
        yield (
            "tasks",
            f"{found.tasks_completed:,} completed, {found.tasks_failed:,} failed, "
            f"{counted(found.timeouts, 'timeout')}, average {milliseconds(found.average_task_ms)}",
        )
        yield (
            "memory",
            f"supervisor {memory(found.supervisor_memory_bytes)}, "
            f"workers {memory(found.workers_memory_bytes)}",
        )
        yield (
            "cpu",
            f"supervisor {found.supervisor_cpu_seconds:.1f} s, "
            f"workers {found.workers_cpu_seconds:.1f} s",
        )
    yield "sandbox", _sandbox(found.sandbox)
    for wall in found.sandbox.missing:
        yield "no wall", coloured(f"{wall.name}: {wall.missing}", "yellow")
    yield "isolation", _isolation(found.sandbox)
    last = found.backup.last
    if last is not None:
        yield "backup", f"{relative(last.made_at, now)}, {file_size(last.size_bytes)}, {last.path}"
    for each in found.integrations:
        yield (
            "integration",
            f"{each.integration}: {counted(each.charms, 'charm')}, "
            f"{counted(each.executions, 'run')}, success rate {percent(each.success_rate)}",
        )


def _paused(found: ServiceStatus, now: float) -> str:
    if found.paused_at:
        return f"everything, by {found.paused_by}, {relative(found.paused_at, now)}"
    parts = [(found.spaces_paused, "space"), (found.charms_paused, "charm")]
    return ", ".join(counted(count, noun) for count, noun in parts if count)


def _sandbox(sandbox: Sandboxing) -> str:
    names = ", ".join(wall.name for wall in sandbox.walls if not wall.missing)
    return f"{sandbox.mode}: {names}" if names else f"{sandbox.mode}: no walls"


def _isolation(sandbox: Sandboxing) -> str:
    shared = {
        Isolation.SPACE: "a worker serves one space",
        Isolation.SHARED: coloured("workers serve all spaces: no walls between these", "yellow"),
        Isolation.RUN: "each run has a process of its own",
    }
    return f"{sandbox.isolation}: {shared[sandbox.isolation]}"


def _running(found: ServiceStatus) -> str:
    if not found.running:
        return f"version {found.version}, not running"
    return f"version {found.version}, process {found.pid}, up {span(found.uptime_seconds)}"
