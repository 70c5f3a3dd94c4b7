"""Commands that say which charms are polled."""

from __future__ import annotations

import click

from bg_charm_service.cli.arguments import charm_argument
from bg_charm_service.cli.output.printing import note
from bg_charm_service.cli.session import Session, pass_session
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.views import Registered


@click.command()
@charm_argument
@click.option(
    "--integration",
    metavar="ID",
    default="manual",
    show_default=True,
    help="Label of the registration.",
)
@pass_session
def register(session: Session, ref: CharmRef, integration: str) -> None:
    """Poll a charm from now on.

    A charm that is registered already is enabled again, under the new label.
    """
    body = {"pieceId": ref.charm_id, "space": ref.space, "integration": integration}
    answer = session.ask(lambda client: client.post("integrations", "bg", body=body))
    registered = answer.read(Registered)
    click.echo(f"Registered as {integration}.")
    for sentence in registered.not_done or ():
        note(sentence)


@click.command()
@charm_argument
@pass_session
def unregister(session: Session, ref: CharmRef) -> None:
    """Poll a charm no more; charm and state stay.

    A run under way finishes.
    """
    session.ask(lambda client: client.delete("integrations", "bg", ref.space, ref.charm_id))
    click.echo("Unregistered.")
