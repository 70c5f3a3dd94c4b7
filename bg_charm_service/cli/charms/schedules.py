"""The command that says and shows when a charm runs; how a schedule is told on a terminal."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from bg_charm_service.cli.arguments import charm_argument
from bg_charm_service.cli.output.json_output import json_option
from bg_charm_service.cli.output.printing import note, print_json
from bg_charm_service.cli.session import Session, pass_session, path_of
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.schedules.time_zones import wall_at

if TYPE_CHECKING:
    from bg_charm_service.domain.views import ScheduleView

_WHO = {"service": "the service", "class": "its class", "operator": "the operator"}


@click.command()
@charm_argument
@click.argument("cron", required=False)
@click.option("--time-zone", metavar="NAME", help="Where its times count, such as Europe/Oslo.")
@click.option("--quiet", metavar="HH:MM-HH:MM|none", help="Hours in which it is not polled.")
@click.option(
    "--missed",
    metavar="once|skip",
    help="Times that passed meanwhile: make up for them by one run, or leave them out.",
)
@click.option("--reset", is_flag=True, help="Let it run as its class says.")
@json_option
@pass_session
def schedule(
    session: Session,
    ref: CharmRef,
    cron: str | None,
    time_zone: str | None,
    quiet: str | None,
    missed: str | None,
    reset: bool,
    as_json: bool,
) -> None:
    """Say when a charm runs, or show it with the next five times.

    \b
    charm schedule demo/report "0 8 * * mon-fri" --time-zone Europe/Oslo
    charm schedule demo/report --quiet 22:00-07:00
    charm schedule demo/report

    CRON has five fields: minute, hour, day of month, month, weekday. What is said here counts
    instead of what the charm's class says, and instead of `charm interval`.
    """  # noqa: D301 -- as a raw text, click would not know its mark for "do not wrap"
    from bg_charm_service.domain.views import CharmDetail, ScheduleView

    given = {"cron": cron, "time_zone": time_zone, "quiet": quiet, "missed": missed}
    body = {name: word for name, word in given.items() if word is not None}
    if reset and body:
        raise click.UsageError("--reset takes back all that was said: give nothing else with it.")
    if reset:
        response = session.ask(lambda client: client.delete(*path_of(ref, "schedule")))
    elif body:
        response = session.ask(lambda client: client.put(*path_of(ref, "schedule"), body=body))
    else:
        response = session.ask(lambda client: client.get(*path_of(ref)))
    is_changed = reset or bool(body)
    shown = response.read(ScheduleView) if is_changed else response.read(CharmDetail).schedule
    if as_json:
        print_json(json.dumps(asdict(shown)))
        return
    click.echo(f"Polled {shown.words} (by {who(shown)}).")
    for time in shown.next_times:
        click.echo(f"  {zoned(time, shown.time_zone)}")
    for sentence in shown.unmet:
        note(sentence)


def who(schedule: ScheduleView) -> str:
    """Say whose word counts."""
    return _WHO[schedule.set_by]


def zoned(at: float, time_zone: str) -> str:
    """Give a moment as the clocks of a time zone show it."""
    return f"{wall_at(time_zone, at):%Y-%m-%d %H:%M:%S}"
