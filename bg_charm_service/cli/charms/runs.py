"""Commands about a charm's runs: one now, and the recorded ones with their logs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import click

from bg_charm_service.cli.arguments import charm_argument
from bg_charm_service.cli.charms.reports import standing_cell
from bg_charm_service.cli.output.formatting import counted, milliseconds, moment, one_line
from bg_charm_service.cli.output.json_output import json_option
from bg_charm_service.cli.output.printing import note, print_json, print_line, print_text
from bg_charm_service.cli.session import Session, pass_session, path_of
from bg_charm_service.domain.errors import ServiceError, ServiceStopping
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.text_limits import WRITTEN_VALUE_CHARACTERS, cut
from bg_charm_service.domain.web.requests import (
    KEPT_AT_EACH_END,
    HttpRequest,
    requests_left_out,
)

if TYPE_CHECKING:
    from bg_charm_service.cli.client import Client
    from bg_charm_service.daemon.settings import Settings
    from bg_charm_service.domain.model import RunRecord

#: How often `--follow` asks for new runs, in seconds.
_FOLLOW_SECONDS = 1.0

#: Runs fetched in one request.
_PAGE = 100


class RunFailed(ServiceError):
    """A run that was asked for failed."""


@click.command()
@charm_argument
@json_option
@pass_session
def run(session: Session, ref: CharmRef, as_json: bool) -> None:
    """Poll a charm once now, and show log, writes and duration.

    Joins a poll under way. A disabled charm runs without being enabled. A failure is recorded,
    but not counted.
    """
    from bg_charm_service.domain.views import RunReport

    response = session.ask(lambda client: client.post(*path_of(ref, "run")))
    report = response.read(RunReport)
    done = report.run
    if as_json:
        print_json(response.content)
    else:
        _print_output(done)
        for field, value in report.writes.items():
            print_text(f"{field} = {_short_json(value)}")
        for field in done.writes:
            if field not in report.writes:
                # Of a collection there may be very much: `charm items` shows it.
                print_text(f"{field} was written to")
        joined = ", a poll that was under way" if report.attached else ""
        wrote = "" if done.writes else ", nothing written"
        taken = milliseconds(done.duration_ms)
        print_text(f"Run {done.run_id}{joined}: {done.status}, {taken}{wrote}")
    check_run(done)


def print_end(run: RunRecord) -> None:
    """Print what the run of an event said, and how it ended."""
    _print_output(run)
    wrote = f", wrote {', '.join(run.writes)}" if run.writes else ", nothing written"
    print_text(f"Run {run.run_id}: {run.status}, {milliseconds(run.duration_ms)}{wrote}")


def check_run(run: RunRecord | None) -> None:
    """Raise RunFailed for a run that did not succeed."""
    if run is not None and run.status != "success":
        status = run.status.replace("_", " ")
        cause = f" ({run.cause})" if run.status == "failure" and run.cause else ""
        raise RunFailed(f"The run ended as {status}{cause}: {one_line(run.error)}")


@click.command()
@charm_argument
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=20,
    show_default=True,
    help="How many runs, the newest ones.",
)
@click.option("--follow", is_flag=True, help="Go on with new runs until Ctrl-C.")
@click.option("--requests", is_flag=True, help="Show the HTTP requests of each run as well.")
@json_option
@pass_session
def logs(
    session: Session, ref: CharmRef, limit: int, follow: bool, requests: bool, as_json: bool
) -> None:
    """Show the recorded runs with their logs, the newest last."""
    show = partial(_print_runs, as_json=as_json, with_requests=requests)
    if follow:
        import asyncio

        # Ctrl-C is how this ends.
        with suppress(KeyboardInterrupt):
            runs = session.ask(lambda client: _newest(client, ref, limit))
            show(runs)
            last = runs[-1].number if runs else 0
            asyncio.run(_follow(session.settings, ref, last, show))
        return
    runs = session.ask(lambda client: _newest(client, ref, limit))
    if as_json:
        print_json(runs)
    elif runs:
        show(runs)
    else:
        note("No runs are recorded.")


async def _newest(client: Client, ref: CharmRef, limit: int) -> list[RunRecord]:
    from bg_charm_service.domain.model import RunRecord

    response = await client.get(*path_of(ref, "runs"), limit=limit)
    return response.read(list[RunRecord])[::-1]


async def _follow(
    settings: Settings, ref: CharmRef, cursor: int, show: Callable[[list[RunRecord]], None]
) -> None:
    import asyncio

    from bg_charm_service.cli.client import connect_to_socket

    # Connected anew each time: the service may restart, and while it does not run nothing new
    # can come, so that the directory is never opened, and never kept from a service that starts.
    said = False
    while True:
        async with connect_to_socket(settings) as client:
            if client is None and not said:
                note("The service is not running; new runs are shown when it is.")
            said = client is None
            try:
                runs = await _after(client, ref, cursor) if client is not None else []
            except ServiceStopping:
                runs = []
        show(runs)
        cursor = runs[-1].number if runs else cursor
        await asyncio.sleep(_FOLLOW_SECONDS)


async def _after(client: Client, ref: CharmRef, cursor: int) -> list[RunRecord]:
    """Get the runs after the one with this number, the oldest first."""
    from bg_charm_service.domain.model import RunRecord

    found: list[RunRecord] = []
    before: int | None = None
    while True:
        response = await client.get(*path_of(ref, "runs"), limit=_PAGE, before=before)
        page = response.read(list[RunRecord])
        new = [each for each in page if each.number > cursor]
        found += new
        if len(new) < _PAGE:
            return found[::-1]
        before = page[-1].number


def _print_runs(runs: list[RunRecord], *, as_json: bool, with_requests: bool) -> None:
    import msgspec

    for each in runs:
        if as_json:
            click.echo(msgspec.json.encode(each))
            continue
        print_line(
            moment(each.finished_at),
            f"run {each.run_id}",
            each.stream,
            standing_cell(each.status),
            milliseconds(each.duration_ms),
        )
        if with_requests:
            _print_requests(each.requests)
        _print_output(each)


def _print_requests(requests: Sequence[HttpRequest]) -> None:
    """Print the requests of a run, and where some are not kept."""
    left_out = requests_left_out(requests)
    for place, one in enumerate(requests):
        if left_out and place == KEPT_AT_EACH_END:
            print_text(f"  … {counted(left_out, 'request')} not kept …")
        parts = [
            f"{one.method} {one.host}{one.path}",
            str(one.status or "no answer"),
            milliseconds(one.duration_ms),
            f"{one.received_bytes:,} B",
        ]
        if one.attempt > 1:
            parts.append(f"try {one.attempt}")
        if one.fault:
            parts.append(one.fault)
        print_text("  " + "  ".join(parts))


def _print_output(run: RunRecord) -> None:
    """Print what a run said, and why it failed."""
    for text in (run.log, run.traceback or run.error):
        for line in text.splitlines():
            print_text(f"  {line}")
    if run.retired:
        print_text(f"  Its worker was replaced after this run: {one_line(run.retired)}")


def _short_json(value: object) -> str:
    import msgspec

    return cut(msgspec.json.encode(value).decode(), WRITTEN_VALUE_CHARACTERS, mark="...")
