"""Commands about jobs: list what waits, runs or ended, take it back, purge a stream."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from bg_charm_service.cli.arguments import CharmType, SpaceType, charm_argument
from bg_charm_service.cli.output.formatting import counted, relative
from bg_charm_service.cli.output.json_output import json_option
from bg_charm_service.cli.output.printing import (
    coloured,
    note,
    print_error,
    print_json,
    print_table,
)
from bg_charm_service.cli.session import Session, pass_session, path_of
from bg_charm_service.cli.usage import OrderedGroup
from bg_charm_service.domain.errors import ServiceError
from bg_charm_service.domain.model import CharmRef, JobStatus

if TYPE_CHECKING:
    from bg_charm_service.cli.client import Client
    from bg_charm_service.domain.views import ListedJob

#: Jobs fetched in one request.
_PAGE = 500

_STYLES = {"processing": "green", "pending": "yellow", "failed": "red"}


@click.command("list")
@click.option("--charm", "ref", metavar="SPACE/CHARM", type=CharmType(), help="Only of a charm.")
@click.option("--space", metavar="NAME|DID", type=SpaceType(), help="Only of one space.")
@click.option(
    "--state",
    type=click.Choice([one.value for one in JobStatus]),
    help="Only those that wait, run, have ended, or were given up.",
)
@click.option("--stream", metavar="NAME", help="Only those of one stream.")
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000),
    default=100,
    show_default=True,
    help="How many at most, the oldest ones.",
)
@json_option
@pass_session
def list_jobs(
    session: Session,
    ref: CharmRef | None,
    space: str | None,
    state: str | None,
    stream: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List jobs that wait (and for what), run, or ended lately.

    A failed one is a dead letter: `dead-letters` says more.
    """
    if ref is not None and space is not None:
        raise click.UsageError("Give --charm or --space: a charm has its space in its address.")
    wanted: dict[str, Any] = {"space": space, "status": state, "stream": stream}
    if ref is not None:
        wanted |= {"space": ref.space, "charm": ref.charm_id}
    jobs, has_more = session.ask(lambda client: _fetch(client, wanted, limit))
    if as_json:
        print_json(jobs)
    elif jobs:
        now = time.time()
        print_table(
            ["JOB", "SHORT NAME", "STREAM", "FROM", "STATE", "TRY", "WAITS FOR", "SINCE"],
            [_row(job, now) for job in jobs],
        )
    else:
        note("No jobs.")
    if has_more:
        note(f"These are the oldest {counted(limit, 'job')}; --limit shows more.")


@click.command()
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, type=click.IntRange(1, 2**62))
@json_option
@pass_session
def cancel(session: Session, jobs: tuple[int, ...], as_json: bool) -> None:
    """Take jobs back, by their numbers.

    What waits is deleted. A run under way is stopped, and its writes are refused; that is no
    failure of its charm.
    """
    from bg_charm_service.domain.views import ListedJob

    async def work(client: Client) -> tuple[list[ListedJob], list[str]]:
        cancelled, problems = [], []
        for job_id in jobs:
            try:
                response = await client.post("jobs", str(job_id), "cancel")
            except ServiceError as error:
                # With one there is nothing else to tell: it is the command's own error.
                if len(jobs) == 1:
                    raise
                problems.append(str(error))
            else:
                cancelled.append(response.read(ListedJob))
        return cancelled, problems

    cancelled, problems = session.ask(work)
    if as_json:
        print_json(cancelled)
    else:
        for job in cancelled:
            was = "was stopped" if job.status == JobStatus.PROCESSING else "was taken back"
            click.echo(f"Job {job.job_id} {was}.")
    for problem in problems:
        print_error(problem)
    if problems:
        sys.exit(1)


@click.command()
@charm_argument
@click.option("--stream", metavar="NAME", required=True, help="The stream whose events to delete.")
@json_option
@pass_session
def purge(session: Session, ref: CharmRef, stream: str, as_json: bool) -> None:
    """Delete the events that wait for a stream of a charm, and reminders to it.

    A run under way goes on: `jobs cancel` stops it. State, history and dead letters stay.
    """
    from bg_charm_service.api.responses import Purged

    body = {"stream": stream}
    response = session.ask(lambda client: client.post(*path_of(ref, "purge"), body=body))
    if as_json:
        print_json(response.content)
    else:
        click.echo(f"Deleted {counted(response.read(Purged).purged, 'event')}.")


jobs = OrderedGroup("jobs", help="See and stop what waits and runs.", commands=[list_jobs, cancel])


async def _fetch(
    client: Client, wanted: dict[str, Any], limit: int
) -> tuple[list[ListedJob], bool]:
    from bg_charm_service.api.responses import ListedJobs

    found: list[ListedJob] = []
    cursor: int | None = 0
    while cursor is not None and len(found) < limit:
        most = min(_PAGE, limit - len(found))
        response = await client.get("jobs", cursor=cursor, limit=most, **wanted)
        page = response.read(ListedJobs)
        found += page.jobs
        cursor = page.next
    return found, cursor is not None


def _row(job: ListedJob, now: float) -> list[Any]:
    waits_for = job.waits_for
    if waits_for == "its time":
        waits_for = relative(job.run_at, now)
    paused = waits_for == "resume"
    return [
        str(job.job_id),
        CharmRef(job.space, job.charm_id).short_name,
        job.stream,
        job.origin.replace("_", " "),
        coloured(job.status, _STYLES.get(job.status, "")),
        str(job.attempt),
        coloured(waits_for, "red" if paused else ""),
        relative(job.created_at, now),
    ]
