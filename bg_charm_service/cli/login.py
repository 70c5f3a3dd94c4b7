"""Commands about signing in: the way to the service's page, and who is signed in there."""

from __future__ import annotations

import time

import click

from bg_charm_service.cli.output.formatting import moment, one_line, relative
from bg_charm_service.cli.output.json_output import json_option
from bg_charm_service.cli.output.printing import note, print_json, print_table, print_text
from bg_charm_service.cli.session import Session, pass_session
from bg_charm_service.cli.usage import OrderedGroup
from bg_charm_service.domain.views import SessionView


@click.command("open")
@json_option
@pass_session
def open_page(session: Session, as_json: bool) -> None:
    """Print a link that signs a browser in.

    It works once, and for five minutes.
    """
    from bg_charm_service.api.responses import LoginLink

    response = session.ask(lambda client: client.post("login-codes"))
    if as_json:
        print_json(response.content)
        return
    link = response.read(LoginLink)
    click.echo(link.url)
    note(f"It works once, within {link.expires_seconds / 60:g} minutes.")


@click.command()
@json_option
@pass_session
def show(session: Session, as_json: bool) -> None:
    """Say as whom these commands act, and until when."""
    from bg_charm_service.api.responses import CallerView

    response = session.ask(lambda client: client.get("session"))
    if as_json:
        print_json(response.content)
        return
    found = response.read(CallerView)
    may = "change and read" if found.may_change else "read" if found.may_read else "see lists"
    where = "everywhere" if found.spaces is None else f"in {', '.join(found.spaces)}"
    until = f"until {moment(found.expires_at)}" if found.expires_at else "without an end"
    print_text(f"{found.name}, {until}; may {may} {where}")


@click.command("list")
@json_option
@pass_session
def list_sessions(session: Session, as_json: bool) -> None:
    """List the browsers that are signed in."""
    response = session.ask(lambda client: client.get("sessions"))
    if as_json:
        print_json(response.content)
        return
    sessions = response.read(list[SessionView])
    if not sessions:
        note("No browser is signed in. `bg-charm-service open` prints a link that signs one in.")
        return
    now = time.time()
    print_table(
        ["SIGNED IN WITH", "SINCE", "UNTIL"],
        [
            [
                f"token {one_line(each.token)}" if each.token is not None else "login link",
                relative(each.began_at, now),
                relative(each.expires_at, now),
            ]
            for each in sessions
        ],
    )


@click.command()
@json_option
@pass_session
def end(session: Session, as_json: bool) -> None:
    """End all sessions at once: every browser has to sign in again.

    Login links that were not used are good no more. Tokens stay.
    """
    from bg_charm_service.api.responses import EndedSessions

    response = session.ask(lambda client: client.delete("sessions"))
    if as_json:
        print_json(response.content)
        return
    ended = response.read(EndedSessions).ended
    click.echo(f"Ended {ended} session{'' if ended == 1 else 's'}.")


sessions = OrderedGroup(
    "session", help="Who is signed in, and until when.", commands=[show, list_sessions, end]
)
