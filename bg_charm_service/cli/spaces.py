"""Commands about spaces, and about who may act on them."""

from __future__ import annotations

import time

import click

from bg_charm_service.cli.arguments import DidType, SpaceType
from bg_charm_service.cli.output.formatting import relative
from bg_charm_service.cli.output.json_output import json_option
from bg_charm_service.cli.output.printing import note, print_facts, print_json
from bg_charm_service.cli.session import Session, pass_session
from bg_charm_service.cli.usage import OrderedGroup
from bg_charm_service.domain.identity import space_did


@click.command()
@click.argument("name", type=SpaceType())
@json_option
def did(name: str, as_json: bool) -> None:
    """Print the DID of a named space."""
    found = space_did(name)
    if as_json:
        print_json({"name": name, "did": found})
    else:
        click.echo(found)


@click.command("list")
@json_option
@pass_session
def list_spaces(session: Session, as_json: bool) -> None:
    """List the spaces and who owns them."""
    from bg_charm_service.domain.views import SpaceView

    response = session.ask(lambda client: client.get("spaces"))
    if as_json:
        print_json(response.content)
        return
    spaces = response.read(list[SpaceView])
    if not spaces:
        note("No spaces. The first charm added to one makes it.")
    now = time.time()
    for index, space in enumerate(spaces):
        if index:
            click.echo()
        print_facts(
            [
                ("space", space.name or "(no name)"),
                ("did", space.did),
                ("added", relative(space.created_at, now)),
                *(("owner", owner) for owner in space.owners),
            ]
        )


@click.command()
@click.argument("space", metavar="SPACE", type=SpaceType())
@click.argument("did", metavar="DID", type=DidType())
@pass_session
def grant(session: Session, space: str, did: str) -> None:
    """Make an identity an owner of a space."""
    path = ("spaces", space_did(space), "owners")
    session.ask(lambda client: client.post(*path, body={"did": did}))
    click.echo(f"{did} is an owner of {space}.")


space = OrderedGroup(
    "space", help="Spaces, and who may act on them.", commands=[did, list_spaces, grant]
)


@click.command("add-admin-charm")
@click.option("--grant", "granted", metavar="DID", type=DidType(), help="Let this identity in.")
@pass_session
def add_admin_charm(session: Session, granted: str | None) -> None:
    """Own the system space, and add the admin charm to it.

    The first operator who opens an empty store owns its system space, and may let others in.
    """
    from bg_charm_service.api.responses import Done

    body = {"grant": granted}
    response = session.ask(
        lambda client: client.post("admin-charm", body=body), makes_directory=True
    )
    click.echo(response.read(Done).message)
