"""The command that gives the way to the service's page."""

from __future__ import annotations

import click

from bg_charm_service.cli.printing import note, print_json
from bg_charm_service.cli.session import Session, json_option, pass_session


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
