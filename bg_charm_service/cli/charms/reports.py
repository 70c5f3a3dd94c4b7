"""Commands that show charms: a list, one of them, its state."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from bg_charm_service.cli.arguments import SpaceType, charm_argument
from bg_charm_service.cli.charms.schedules import who, zoned
from bg_charm_service.cli.output.formatting import (
    clock,
    counted,
    milliseconds,
    moment,
    one_line,
    relative,
    span,
    visible,
)
from bg_charm_service.cli.output.json_output import json_option
from bg_charm_service.cli.output.printing import (
    coloured,
    note,
    print_facts,
    print_json,
    print_table,
    print_text,
)
from bg_charm_service.cli.session import Session, pass_session, path_of
from bg_charm_service.domain.items import LONGEST_KEY_BYTES
from bg_charm_service.domain.model import CharmRef

if TYPE_CHECKING:
    from rich.text import Text

    from bg_charm_service.cli.client import Client
    from bg_charm_service.domain.model import RunRecord
    from bg_charm_service.domain.outcomes.run_endings import WaitingView
    from bg_charm_service.domain.views import CharmDetail, CharmView

#: Charms fetched in one request.
_PAGE = 500

#: What the colours of a run's or charm's standing are.
_STYLES = {
    "ok": "green",
    "success": "green",
    "new": "yellow",
    "stale": "yellow",
    "late": "yellow",
    "failing": "red",
    "failure": "red",
    "disabled": "magenta",
    "paused": "red",
    "waiting": "yellow",
    "down": "yellow",
    "sign in": "red",
    "sign_in": "red",
    "stopped": "magenta",
}


#: How a charm's note is shown in the list, by what it waits for.
_NOTE_STYLES = {"sign_in": "red", "stop": "magenta", "again": "dim"}


@click.command("list")
@click.option("--space", metavar="NAME|DID", type=SpaceType(), help="Only those of one space.")
@click.option(
    "--stale", is_flag=True, help="Only those that did not change as often as they should."
)
@json_option
@pass_session
def list_charms(session: Session, space: str | None, stale: bool, as_json: bool) -> None:
    """List charms with how they are doing."""
    standing = "stale" if stale else None
    charms = session.ask(lambda client: fetch_charms(client, space, standing))
    if as_json:
        print_json(charms)
        return
    if not charms and stale:
        note("No charm is stale.")
        return
    if not charms:
        note("No charms. Add one: `bg-charm-service charm add FILE --space NAME --register`")
        return
    now = time.time()
    charms.sort(key=lambda charm: (charm.space_name or "~", charm.space, charm.name))
    for index, (did, group) in enumerate(groupby(charms, key=lambda charm: charm.space)):
        members = list(group)
        print_text(("\n" if index else "") + " ".join(filter(None, [members[0].space_name, did])))
        print_table(
            ["CHARM", "NAME", "STATUS", "LAST", "NEXT"],
            [_list_row(charm, now) for charm in members],
            [_list_note(charm, now) for charm in members],
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
        spent = [run for run in detail.history if run.retired]
        if spent:
            note(
                f"After {len(spent)} of these runs its worker was replaced, last after run "
                f"{spent[0].run_id}: {one_line(spent[0].retired)}"
            )


@click.command()
@charm_argument
@click.argument("field", required=False)
@json_option
@pass_session
def get(session: Session, ref: CharmRef, field: str | None, as_json: bool) -> None:
    """Print a field of a charm, or its whole state.

    Secrets are not shown. With --json the value alone is printed. FIELD/KEY is an item of a
    collection.
    """
    name, slash, key = (field or "").partition("/")
    if slash and (not name.strip(".") or len(key.encode(errors="replace")) > LONGEST_KEY_BYTES):
        raise click.UsageError(
            f"FIELD/KEY: a collection has a name, and a key up to {LONGEST_KEY_BYTES} bytes."
        )
    path = path_of(ref, "state", *([field] if field is not None else []))
    path, query = (path_of(ref, "item", name), {"key": key}) if slash else (path, {})
    content = session.ask(lambda client: client.get(*path, **query)).content
    if as_json:
        click.echo(content)
        return
    value = json.loads(content)
    if isinstance(value, str):
        print_text(value)
    else:
        print_json(content)


async def fetch_charms(
    client: Client, space: str | None, standing: str | None = None
) -> list[CharmView]:
    """Get all charms, of one space or of all, page by page; or those of one standing."""
    from bg_charm_service.api.responses import CharmPage

    charms: list[CharmView] = []
    cursor: str | None = ""
    while cursor is not None:
        response = await client.get(
            "charms", space=space, standing=standing, cursor=cursor, limit=_PAGE
        )
        page = response.read(CharmPage)
        charms += page.charms
        cursor = page.next
    return charms


def standing(charm: CharmView) -> str:
    """Say in one word how a charm is doing."""
    if charm.paused:
        return "paused"
    if charm.disabled_by == "sign_in":
        return "sign in"
    if not charm.enabled:
        return "stopped" if charm.disabled_by == "stopped" else "disabled"
    if charm.waiting is not None and charm.waiting.kind in ("wait", "down", "packages"):
        return "down" if charm.waiting.kind == "down" else "waiting"
    if charm.consecutive_failures:
        return "failing"
    if not (charm.registered or charm.listed_by):
        return "idle"
    if charm.stale_since:
        return "stale"
    if charm.runs_late:
        return "late"
    return "ok" if charm.last_run else "new"


def waiting_text(waiting: WaitingView, now: float) -> str:
    """Say in a line what a charm waits for."""
    because = f": {waiting.why}" if waiting.why else ""
    at = clock(waiting.until, now) if waiting.until else ""
    if waiting.kind == "wait":
        return f"Waiting until {at}{because}"
    if waiting.kind == "down":
        return f"{waiting.host} is down since {clock(waiting.since, now)}, asked again at {at}"
    if waiting.kind == "packages":
        again = f", tried again at {at}" if at else ""
        return f"Waiting for its packages{because}{again}"
    if waiting.kind == "again":
        return f"goes on, next {at}"
    words = {"sign_in": "Sign in again", "stop": "Stopped"}
    return f"{words[waiting.kind]}{because}"


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
    next_due = relative(charm.next_due, now) if charm.next_due else "-"
    last_run = relative(charm.last_run, now)
    cell = standing_cell(standing(charm))
    return [charm.charm_id, one_line(charm.name), cell, last_run, next_due]


def _list_note(charm: CharmView, now: float) -> Text | None:
    """What it waits for, or why it fails; stands below its row."""
    if charm.waiting is not None:
        style = _NOTE_STYLES.get(charm.waiting.kind, "yellow")
        return coloured(f"  {one_line(waiting_text(charm.waiting, now))}", style)
    if charm.last_error and standing(charm) in ("failing", "disabled"):
        return coloured(f"  {one_line(charm.last_error)}", "red")
    return None


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
    yield "standing", _standing_fact(charm, now, _where_to_sign_in(detail))
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
    yield "polled", f"{detail.schedule.words} (by {who(detail.schedule)})"
    if detail.schedule.next_times:
        times = [zoned(time, detail.schedule.time_zone) for time in detail.schedule.next_times]
        yield "next", ", ".join(times)
    for sentence in detail.schedule.unmet:
        yield "asks", sentence
    own = [one for one in detail.limits.limits if one.set_by != "service"]
    if own:
        yield "limits", ", ".join(f"{one.name} {one.value} (by {one.set_by})" for one in own)
    for sentence in detail.limits.unmet:
        yield "asks", sentence
    for expected in detail.expects:
        what = f"{expected.field} changes" if expected.field else "something changes"
        yield "expects", f"{what} every {span(expected.seconds)}"
    if detail.packages:
        yield "packages", ", ".join(detail.packages)
    if detail.waiting_jobs:
        yield "waiting", counted(detail.waiting_jobs, "job")
    for one in detail.reminders:
        yield "reminder", f"{one.name}: to {one.stream} {relative(one.remind_at, now)}"
    if detail.reminders_waiting > len(detail.reminders):
        more = detail.reminders_waiting - len(detail.reminders)
        yield "reminder", f"{more:,} more after these"
    for job in detail.dead_letters:
        yield (
            "dead letter",
            f"job {job.job_id} to {job.stream}; `bg-charm-service dead-letters requeue "
            f"{job.job_id}` tries it again",
        )
    more = detail.dead_letter_count - len(detail.dead_letters)
    if more > 0:
        yield "dead letter", f"{more:,} more: `bg-charm-service dead-letters`"


def _registration(charm: CharmView, now: float) -> str:
    parts = []
    if charm.registered:
        parts.append(f"as {charm.integration}, {relative(charm.registered_at, now)}")
    if charm.listed_by:
        parts.append(f"listed by {', '.join(charm.listed_by)}")
    return "; ".join(parts) or "no"


def _where_to_sign_in(detail: CharmDetail) -> str:
    """Give the command by which a person lets a charm that needs a sign-in run again."""
    charm = detail.charm
    linked = {link.field for link in detail.links}
    for field in detail.fields:
        if field.provider and field.name not in linked:
            login = f"`bg-charm-service auth login {field.provider}"
            return f"{login} --space {charm.space} --charm {charm.charm_id}`"
    return f"`bg-charm-service charm set {charm.space}/{charm.charm_id} FIELD JSON`"


def _standing_fact(charm: CharmView, now: float, sign_in: str) -> str | Text:
    word = standing(charm)
    if word == "paused":
        what = {"charm": "", "space": " with its space", "everything": " with everything"}
        since = relative(charm.paused_at, now)
        also = "" if charm.enabled else f"; disabled by {charm.disabled_by} as well"
        text = f"paused{what[charm.paused or 'charm']} by {charm.paused_by}, {since}{also}"
        return coloured(text, "red")
    if charm.waiting is not None and charm.waiting.kind != "again":
        text = waiting_text(charm.waiting, now)
        if charm.waiting.kind == "sign_in":
            where = f" at {charm.waiting.url}" if charm.waiting.url else ""
            text += f"{where}; then: {sign_in}"
        return text
    if word == "disabled":
        return f"disabled by {charm.disabled_by}, {relative(charm.disabled_at, now)}"
    if word == "idle":
        return "idle: neither registered nor listed"
    if charm.stale_since:
        word = f"stale {relative(charm.stale_since, now).replace(' ago', '')}"
    if charm.runs_late:
        late = f"runs late (it takes {milliseconds(charm.last_ms)})"
        word = late if word == "late" else f"{word}, {late}"
    due = f", next {relative(charm.next_due, now)}" if charm.next_due else ""
    streak = ""
    if charm.consecutive_failures:
        streak = f" ({charm.consecutive_failures} of {charm.disabled_after} polls in a row)"
    goes_on = ", goes on" if charm.waiting is not None else ""
    return f"{word}{streak}{goes_on}, polled {charm.schedule}{due}"


def _totals(charm: CharmView) -> str:
    text = f"{charm.executions:,}: {charm.successes:,} ok, {charm.failures:,} failed"
    if charm.waits:
        text += f", {charm.waits:,} asked to wait"
    if charm.downs:
        text += f", {charm.downs:,} with a provider down"
    if charm.skipped_polls:
        text += f", {counted(charm.skipped_polls, 'poll')} skipped"
    return text
