"""Commands about signing in at providers, for charms: clients, signing in and out."""

from __future__ import annotations

import time

import click

from bg_charm_service.cli.arguments import SpaceType, path_segment
from bg_charm_service.cli.output.formatting import one_line, relative
from bg_charm_service.cli.output.json_output import json_option
from bg_charm_service.cli.output.printing import note, print_json, print_table, print_text
from bg_charm_service.cli.session import Session, pass_session
from bg_charm_service.cli.standard_input import ask_for, read_line
from bg_charm_service.cli.usage import OrderedGroup

_provider_argument = click.argument("provider", metavar="PROVIDER")
_space_option = click.option(
    "--space", required=True, metavar="NAME|DID", type=SpaceType(), help="The charm's space."
)
_charm_option = click.option(
    "--charm", default="", metavar="CHARM", help="Its id or cause, where several want it."
)
_field_option = click.option(
    "--field", default="", metavar="FIELD", help="Its field, where it has several."
)


@click.command("client")
@_provider_argument
@click.option(
    "--issuer", default="", metavar="URL", help="Where another provider describes itself."
)
@click.option("--remove", is_flag=True, help="Forget the client.")
@json_option
@pass_session
def set_client(session: Session, provider: str, issuer: str, remove: bool, as_json: bool) -> None:
    """Give the service the client that you have registered at PROVIDER.

    Its id and its secret are asked for, or read as two lines of standard input; the secret is kept
    encrypted, and shown nowhere. An empty secret is that of a client which has none.
    """
    from bg_charm_service.domain.views import ClientView

    path = ("oauth-clients", path_segment(provider, "provider"))
    if remove:
        session.ask(lambda client: client.delete(*path))
        click.echo(f"Forgot the client of {provider}.")
        return
    client_id = ask_for("Client id", hidden=False)
    secret = ask_for("Client secret", hidden=True)
    body = {"client_id": client_id, "client_secret": secret, "issuer": issuer}
    response = session.ask(lambda client: client.put(*path, body=body), makes_directory=True)
    if as_json:
        print_json(response.content)
        return
    kept = response.read(ClientView)
    click.echo(f"Kept the client of {kept.name}.")
    note(f"Register this redirect address there: {kept.redirect_uri}")


@click.command()
@_provider_argument
@_space_option
@_charm_option
@_field_option
@json_option
@pass_session
def login(
    session: Session, provider: str, space: str, charm: str, field: str, as_json: bool
) -> None:
    """Sign in at PROVIDER for a charm of a space, and have the charm polled.

    Prints the address to open in a browser, on any machine. The browser is sent back to the
    service; where it cannot be reached from there, copy the address of the page that does not
    open, and paste it here.
    """
    from bg_charm_service.cli.client import Client, Response
    from bg_charm_service.domain.views import SignInLink, SignInView

    segment = f"{path_segment(provider, 'provider')}-oauth"

    async def work(client: Client) -> Response | None:
        body = {"space": space, "charm": charm, "field": field}
        begun = (await client.post("integrations", segment, "login", body=body)).read(SignInLink)
        click.echo(begun.url, err=as_json)
        note("Open this address, sign in, and paste the address that you are sent to here.")
        note("Where the page says that you are signed in, an empty line will do.")
        address = read_line().strip()
        if not address:
            return None
        return await client.post("integrations", segment, "callback", body={"address": address})

    response = session.ask(work)
    if response is None:
        return
    if as_json:
        print_json(response.content)
        return
    found = response.read(SignInView)
    who = f" as {one_line(found.user)}" if found.user else ""
    click.echo(
        f"Signed in at {provider}{who}, for {found.field} of {found.space}/{found.charm_id}."
    )


@click.command("list")
@json_option
@pass_session
def list_sign_ins(session: Session, as_json: bool) -> None:
    """List the sign-ins, and whether somebody has to sign in again."""
    from bg_charm_service.cli.client import Client, Response
    from bg_charm_service.domain.views import ClientView, SignInView

    async def work(client: Client) -> tuple[Response, Response]:
        return await client.get("sign-ins"), await client.get("oauth-clients")

    response, clients = session.ask(work)
    if as_json:
        print_json(response.content)
        return
    names = [one.provider for one in clients.read(list[ClientView])]
    note(f"There is a client of: {', '.join(names) or 'no provider'}.")
    found = response.read(list[SignInView])
    if not found:
        note("Nobody has signed in. `bg-charm-service auth login PROVIDER --space SPACE` does.")
        return
    now = time.time()
    print_table(
        ["PROVIDER", "WHO", "SPACE", "NAME", "FIELD", "SIGNED IN", "TOKEN ENDS"],
        [
            [
                one.provider,
                one_line(one.user),
                one_line(one.space_name) or f"…{one.space[-4:]}",
                f"{one_line(one.charm_name)} …{one.charm_id[-4:]}",
                one.field,
                "yes" if one.is_signed_in else "again",
                relative(one.expires_at, now) if one.expires_at else "never",
            ]
            for one in found
        ],
    )
    for one in found:
        if one.problem:
            print_text(f"{one.provider}, {one.charm_name}: {one.problem}")


@click.command()
@_provider_argument
@_space_option
@click.option("--charm", required=True, metavar="CHARM", help="Its id or cause.")
@_field_option
@pass_session
def logout(session: Session, provider: str, space: str, charm: str, field: str) -> None:
    """Forget a sign-in, and give its token back where PROVIDER takes that."""
    from bg_charm_service.api.responses import Done

    body = {"space": space, "charm": charm, "field": field}
    segment = f"{path_segment(provider, 'provider')}-oauth"
    response = session.ask(lambda client: client.post("integrations", segment, "logout", body=body))
    if response.read(Done).message == "revoked":
        click.echo(f"Signed out; {provider} has taken the token back.")
    else:
        click.echo(f"Signed out here. What {provider} allowed can be taken back there.")


auth = OrderedGroup(
    "auth",
    help="Sign in at providers, for charms.",
    commands=[set_client, login, list_sign_ins, logout],
)
