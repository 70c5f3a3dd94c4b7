"""The commands that pause and resume a charm, a space or everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from bg_charm_service.cli.arguments import PlaceType
from bg_charm_service.cli.session import Session, pass_session


def _place(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the place that it is about."""
    command = click.option("--all", "is_all", is_flag=True, help="All charms, of all spaces.")(
        command
    )
    return click.argument("place", metavar="[SPACE[/CHARM]]", type=PlaceType(), required=False)(
        command
    )


@click.command()
@_place
@pass_session
def pause(session: Session, place: tuple[str, ...] | None, is_all: bool) -> None:
    """Pause a charm, a space or everything, until somebody resumes it.

    Nothing of it runs meanwhile. Runs under way end; polls are left out and not made up for;
    events wait in their place. `charm run` still runs a charm by hand. A pause outlasts restarts
    of the service, and is shown in red. `charm disable` is for a single charm that is not to come
    back with its space.
    """
    _change(session, place, is_all=is_all, action="pause")
    click.echo("Paused.")


@click.command()
@_place
@pass_session
def resume(session: Session, place: tuple[str, ...] | None, is_all: bool) -> None:
    """Let what was paused run again: events now, polls at their next time.

    What was paused twice, by itself and with its space, is resumed twice.
    """
    _change(session, place, is_all=is_all, action="resume")
    click.echo("Resumed.")


def _change(session: Session, place: tuple[str, ...] | None, *, is_all: bool, action: str) -> None:
    if (place is None) != is_all:
        raise click.UsageError(f"Say what to {action}: SPACE, SPACE/CHARM, or --all.")
    path: Any = (*(place or ()), action)
    session.ask(lambda client: client.post(*path))
