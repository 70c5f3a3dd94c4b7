"""Commands that say which charms are polled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bg_charm_service.cli.arguments import charm_argument
from bg_charm_service.cli.session import Session, pass_session, path_of
from bg_charm_service.domain.merkle import is_merkle_id
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.views import CharmDetail

if TYPE_CHECKING:
    from bg_charm_service.cli.client import Client


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

    async def ask(client: Client) -> None:
        charm_id = ref.charm_id
        if not is_merkle_id(charm_id):
            charm_id = (await client.get(*path_of(ref))).read(CharmDetail).charm.charm_id
        body = {"pieceId": charm_id, "space": ref.space, "integration": integration}
        await client.post("integrations", "bg", body=body)

    session.ask(ask)
    click.echo(f"Registered as {integration}.")


@click.command()
@charm_argument
@pass_session
def unregister(session: Session, ref: CharmRef) -> None:
    """Poll a charm no more; charm and state stay.

    A run under way finishes.
    """
    session.ask(lambda client: client.delete("integrations", "bg", ref.space, ref.charm_id))
    click.echo("Unregistered.")
