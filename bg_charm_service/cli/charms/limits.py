"""The command that shows and sets what runs may use, per space and per charm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from bg_charm_service.cli.arguments import PlaceType
from bg_charm_service.cli.output.json_output import json_option
from bg_charm_service.cli.output.printing import note, print_json, print_table
from bg_charm_service.cli.session import Session, pass_session
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.limits import LIMIT_NAMES, LimitName, read_limit

#: Takes a limit back, so that the next one counts again.
_DEFAULT = "default"


class _LimitType(click.ParamType[str]):
    """One limit as its setting is written, or `default`; kept as written."""

    def __init__(self, limit: LimitName) -> None:
        self.name = limit.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: Any) -> str:
        if value != _DEFAULT:
            try:
                read_limit(self.name, value)
            except InvalidInput as error:
                self.fail(f"{error}; or {_DEFAULT}", param, ctx)
        return str(value)


def limit_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each limit, in the order in which they are shown."""
    for limit in reversed(LIMIT_NAMES):
        command = click.option(
            f"--{limit.name}", type=_LimitType(limit), metavar=limit.metavar, help=limit.about
        )(command)
    return command


def given_limits(options: Mapping[str, str | None]) -> dict[str, str | None]:
    """Give the limits that were named, as requests have them: None for one to be taken back."""
    named = {name: value for name, value in options.items() if value is not None}
    return {name: None if value == _DEFAULT else value for name, value in named.items()}


@click.command()
@click.argument("place", metavar="SPACE[/CHARM]", type=PlaceType())
@limit_options
@click.option("--reset", is_flag=True, help="Take back all that was set there.")
@json_option
@pass_session
def limits(
    session: Session, /, place: tuple[str, ...], reset: bool, as_json: bool, **wanted: str | None
) -> None:
    """Show or set what one run may use, for a space or a charm.

    The nearest word of the operator counts: charm, space, service. `default` takes one back. A
    charm's class can only ask for less. A space may be named before it has a charm.
    """
    from bg_charm_service.domain.views import LimitsView

    given = given_limits(wanted)
    if reset and given:
        raise click.UsageError("--reset takes all limits back: give it alone.")
    path = (*place, "limits")
    if reset:
        response = session.ask(lambda client: client.delete(*path))
    elif given:
        response = session.ask(
            lambda client: client.put(*path, body=given), makes_directory=place[0] == "spaces"
        )
    else:
        response = session.ask(lambda client: client.get(*path))
    if as_json:
        print_json(response.content)
        return
    shown = response.read(LimitsView)
    print_table(
        ["LIMIT", "VALUE", "SET BY", "WHAT"],
        [[one.name, one.value, one.set_by, one.about] for one in shown.limits],
    )
    for sentence in (*shown.notes, *shown.unmet):
        note(sentence)
