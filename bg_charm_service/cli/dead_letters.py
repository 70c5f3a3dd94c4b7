"""Commands about the jobs that were given up: list them, try them again, drop them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from bg_charm_service.cli.arguments import CharmType
from bg_charm_service.cli.output.formatting import counted, one_line, relative
from bg_charm_service.cli.output.json_output import json_option, wants_json
from bg_charm_service.cli.output.printing import note, print_facts, print_json, print_text
from bg_charm_service.cli.session import Session, pass_session
from bg_charm_service.cli.usage import OrderedGroup
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.text_limits import cut

if TYPE_CHECKING:
    from bg_charm_service.cli.client import Client
    from bg_charm_service.domain.views import DeadLetter, LettersReport

#: Dead letters fetched in one request.
_PAGE = 500

#: So much of an event is shown in the list.
_EVENT_CHARACTERS = 500


class LetterType(click.ParamType[int | CharmRef]):
    """One dead letter by its job, or those of a charm by its address."""

    name = "job or charm"

    def convert(self, value: Any, param: click.Parameter | None, ctx: Any) -> int | CharmRef:
        if isinstance(value, int | CharmRef):
            return value
        if value.isascii() and value.isdigit() and 0 < int(value) < 2**62:
            return int(value)
        return CharmType().convert(value, param, ctx)


_which = click.argument("which", metavar="[JOB|SPACE/CHARM]", type=LetterType(), required=False)
_everything = click.option("--all", "everything", is_flag=True, help="All dead letters there are.")


@click.pass_context
@pass_session
def _list(session: Session, ctx: click.Context) -> None:
    if ctx.invoked_subcommand is not None:
        return
    jobs = session.ask(_fetch_dead_letters)
    if wants_json(ctx):
        print_json(jobs)
        return
    if not jobs:
        note("No dead letters.")
        return
    now = time.time()
    for job in jobs:
        print_facts(
            [
                ("job", f"{job.job_id}, {job.stream}, attempt {job.attempt}, {job.origin}"),
                ("space", job.space),
                ("charm", job.charm_id),
                ("made", relative(job.created_at, now)),
                *([("error", f"{job.cause}: {one_line(job.error)}")] if job.error else []),
                *([("event", cut(job.event, _EVENT_CHARACTERS))] if job.event else []),
            ]
        )
        click.echo()


@click.command()
@_which
@_everything
@json_option
@pass_session
def requeue(
    session: Session, which: int | CharmRef | None, everything: bool, as_json: bool
) -> None:
    """Try dead letters again: one, a charm's, or all.

    Each becomes a new job; an event goes behind those that wait.
    """
    report = _do(session, "requeue", which, everything=everything)
    if as_json:
        print_json(report)
        return
    print_text(f"Requeued {counted(len(report.requeued), 'dead letter')}.")
    if report.left:
        note(f"{report.left} stay: a poll of their charm is live already.")


@click.command()
@_which
@_everything
@json_option
@pass_session
def drop(session: Session, which: int | CharmRef | None, everything: bool, as_json: bool) -> None:
    """Drop dead letters for good: one, a charm's, or all."""
    report = _do(session, "drop", which, everything=everything)
    if as_json:
        print_json(report)
        return
    print_text(f"Dropped {counted(report.dropped, 'dead letter')}.")


dead_letters = OrderedGroup(
    "dead-letters",
    help="List the jobs that were given up, requeue or drop them.\n\nThat of a poll goes by itself "
    "with the charm's next success. Those of events stay.",
    callback=_list,
    invoke_without_command=True,
    commands=[requeue, drop],
)


def _do(
    session: Session, what: str, which: int | CharmRef | None, *, everything: bool
) -> LettersReport:
    from bg_charm_service.domain.views import LettersReport

    if (which is None) != everything:
        raise click.UsageError("Name a JOB or SPACE/CHARM, or give --all.")
    body: dict[str, object] = {"all": True}
    if isinstance(which, int):
        body = {"job": which}
    elif which is not None:
        body = {"charm": str(which)}
    response = session.ask(lambda client: client.post("dead-letters", what, body=body))
    return response.read(LettersReport)


async def _fetch_dead_letters(client: Client) -> list[DeadLetter]:
    from bg_charm_service.api.responses import JobPage

    jobs: list[DeadLetter] = []
    cursor: int | None = 0
    while cursor is not None:
        response = await client.get("dead-letters", cursor=cursor, limit=_PAGE)
        page = response.read(JobPage)
        jobs += page.jobs
        cursor = page.next
    return jobs
