"""Commands that show charms: a list, one of them, its state."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from bg_charm_service.cli.arguments import SpaceType, charm_argument
from bg_charm_service.cli.formatting import (
    counted,
    milliseconds,
    moment,
    one_line,
    relative,
    seconds,
    visible,
)
from bg_charm_service.cli.printing import (
    coloured,
    note,
    print_facts,
    print_json,
    print_table,
    print_text,
)
from bg_charm_service.cli.session import Session, json_option, pass_session, path_of
from bg_charm_service.domain.model import CharmRef

if TYPE_CHECKING:
    from rich.text import Text

    from bg_charm_service.cli.client import Client
    from bg_charm_service.domain.model import RunRecord
    from bg_charm_service.domain.views import CharmDetail, CharmView

#: Charms fetched in one request.
_PAGE = 500

#: What the colours of a run's or charm's standing are.
_STYLES = {
    "ok": "green",
    "success": "green",
    "new": "yellow",
    "stale": "yellow",
    "failing": "red",
    "failure": "red",
    "disabled": "magenta",
}


@click.command("list")
@click.option("--space", metavar="NAME|DID", type=SpaceType(), help="Only those of one space.")
@json_option
@pass_session
def list_charms(session: Session, space: str | None, as_json: bool) -> None:
    """List charms with how they are doing."""
    charms = session.ask(lambda client: fetch_charms(client, space))
    if as_json:
        print_json(charms)
        return
    if not charms:
        note("No charms. Add one: bg-charm-service charm add FILE --space NAME --register")
        return
    now = time.time()
    charms.sort(key=lambda charm: (charm.space_name or "~", charm.space, charm.name))
    for index, (did, group) in enumerate(groupby(charms, key=lambda charm: charm.space)):
        members = list(group)
        print_text(("\n" if index else "") + " ".join(filter(None, [members[0].space_name, did])))
        print_table(
            ["CHARM", "NAME", "STATUS", "LAST", "NEXT"], [_list_row(c, now) for c in members]
        )


@click.command()
@charm_argument
@json_option
@pass_session
def show(session: Session, ref: CharmRef, as_json: bool) -> None:
    """Show registration, status, last error, totals and newest runs."""
    from bg_charm_service.domain.views import CharmDetail

    response = session.ask(lambda client: client.get(*path_of(ref)))
    if as_json:
        print_json(response.content)
        return
    detail = response.read(CharmDetail)
    now = time.time()
    print_facts(_facts(detail, now))
    if detail.history:
        print_text("")
        print_table(
            ["RUN", "STATUS", "STREAM", "WHEN", "DURATION", "ERROR"],
            [run_row(run, now) for run in detail.history],
        )


@click.command()
@charm_argument
@click.argument("field", required=False)
@json_option
@pass_session
def get(session: Session, ref: CharmRef, field: str | None, as_json: bool) -> None:
    """Print a field of a charm, or its whole state.

    Secrets are not shown. With --json the value alone is printed.
    """
    path = path_of(ref, "state", *([field] if field is not None else []))
    content = session.ask(lambda client: client.get(*path)).content
    if as_json:
        click.echo(content)
        return
    value = json.loads(content)
    if isinstance(value, str):
        print_text(value)
    else:
        print_json(content)


async def fetch_charms(client: Client, space: str | None) -> list[CharmView]:
    """Get all charms, of one space or of all, page by page."""
    from bg_charm_service.api.responses import CharmPage

    charms: list[CharmView] = []
    cursor: str | None = ""
    while cursor is not None:
        response = await client.get("charms", space=space, cursor=cursor, limit=_PAGE)
        page = response.read(CharmPage)
        charms += page.charms
        cursor = page.next
    return charms


def standing(charm: CharmView) -> str:
    """Say in one word how a charm is doing."""
    if not charm.enabled:
        return "disabled"
    if charm.consecutive_failures:
        return "failing"
    if not (charm.registered or charm.listed_by):
        return "idle"
    return "ok" if charm.last_run else "new"


def standing_cell(word: str) -> Text:
    """Give the cell of a run's or charm's standing."""
    return coloured(word, _STYLES.get(word, ""))


def run_row(run: RunRecord, now: float) -> list[Any]:
    """Give the row of a run in a table."""
    return [
        run.run_id,
        standing_cell(run.status),
        run.stream,
        relative(run.finished_at, now),
        milliseconds(run.duration_ms),
        one_line(run.error),
    ]


def _list_row(charm: CharmView, now: float) -> list[Any]:
    word = standing(charm)
    shown: Any = charm.charm_id
    if charm.last_error and word in ("failing", "disabled"):
        shown = coloured(charm.charm_id, "")
        shown.append(f"\n  {one_line(charm.last_error)}", "red")
    next_due = relative(charm.next_due, now) if charm.next_due else "-"
    last_run = relative(charm.last_run, now)
    return [shown, one_line(charm.name), standing_cell(word), last_run, next_due]


def _facts(detail: CharmDetail, now: float) -> Iterator[tuple[str, Any]]:
    charm = detail.charm
    yield "name", charm.name
    if detail.doc:
        yield "about", one_line(detail.doc)
    yield "space", " ".join(filter(None, [charm.space_name, charm.space]))
    yield "charm", charm.charm_id
    yield "source", f"{detail.file_name}, cause {charm.cause}"
    yield "added", f"{moment(charm.created_at)} ({relative(charm.created_at, now)})"
    yield "registered", _registration(charm, now)
    yield "standing", _standing_fact(charm, now)
    if charm.status and charm.status != charm.last_error:
        yield "status", charm.status
    if charm.last_error:
        cause = f" ({charm.last_error_cause})" if charm.last_error_cause else ""
        when = relative(charm.last_error_at, now)
        yield "last error", f"{when}{cause}: {visible(charm.last_error)}"
    yield "runs", _totals(charm)
    if charm.executions:
        yield (
            "duration",
            f"last {milliseconds(charm.last_ms)}, average {milliseconds(charm.avg_ms)}, "
            f"{milliseconds(charm.min_ms)} to {milliseconds(charm.max_ms)}",
        )
    yield (
        "streams",
        ", ".join(
            f"{name} (polled)" if name == detail.updater else name for name in detail.streams
        ),
    )
    targets = {link.field: link for link in detail.links}
    yield (
        "fields",
        ", ".join(
            field.name if field.kind == "value" else f"{field.name} ({field.kind})"
            for field in detail.fields
        )
        or "-",
    )
    for name, link in targets.items():
        yield "link", f"{name} -> {link.target}{' (writable)' if link.writable else ''}"
    own = [one for one in detail.limits.limits if one.set_by != "service"]
    if own:
        yield "limits", ", ".join(f"{one.name} {one.value} (by {one.set_by})" for one in own)
    for sentence in detail.limits.unmet:
        yield "asks", sentence
    if detail.waiting_jobs:
        yield "waiting", counted(detail.waiting_jobs, "job")
    if detail.dead_letter is not None:
        job = detail.dead_letter
        yield "dead letter", f"job {job.job_id} to {job.stream}; charm requeue tries it again"


def _registration(charm: CharmView, now: float) -> str:
    parts = []
    if charm.registered:
        parts.append(f"as {charm.integration}, {relative(charm.registered_at, now)}")
    if charm.listed_by:
        parts.append(f"listed by {', '.join(charm.listed_by)}")
    return "; ".join(parts) or "no"


def _standing_fact(charm: CharmView, now: float) -> str:
    word = standing(charm)
    if word == "disabled":
        return f"disabled by {charm.disabled_by}, {relative(charm.disabled_at, now)}"
    if word == "idle":
        return "idle: neither registered nor listed"
    due = f", next {relative(charm.next_due, now)}" if charm.next_due else ""
    streak = f" ({charm.consecutive_failures} in a row)" if charm.consecutive_failures else ""
    return f"{word}{streak}, polled every {seconds(charm.interval_seconds)}{due}"


def _totals(charm: CharmView) -> str:
    text = f"{charm.executions:,}: {charm.successes:,} ok, {charm.failures:,} failed"
    if charm.skipped_polls:
        text += f", {counted(charm.skipped_polls, 'poll')} skipped"
    return text
