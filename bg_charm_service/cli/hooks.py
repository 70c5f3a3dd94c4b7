"""Commands about hooks: the addresses at which senders outside reach a charm."""

from __future__ import annotations

import time

import click

from bg_charm_service.cli.arguments import charm_argument
from bg_charm_service.cli.output.formatting import relative
from bg_charm_service.cli.output.json_output import json_option
from bg_charm_service.cli.output.printing import note, print_facts, print_json
from bg_charm_service.cli.session import Session, pass_session, path_of
from bg_charm_service.cli.usage import OrderedGroup
from bg_charm_service.domain.model import CharmRef


@click.command("list")
@charm_argument
@json_option
@pass_session
def list_hooks(session: Session, ref: CharmRef, as_json: bool) -> None:
    """Show where senders outside reach a charm; keep these addresses to yourself."""
    from bg_charm_service.domain.views import HookView

    response = session.ask(lambda client: client.get(*path_of(ref, "hooks")))
    if as_json:
        print_json(response.content)
        return
    found = response.read(list[HookView])
    if not found:
        note("It has no hooks: docs/charms.md says how a class asks for one.")
        return
    now = time.time()
    for one in found:
        how = f"{one.sign}, by the field {one.secret_field}"
        facts = [
            ("stream", one.stream),
            ("url", one.url),
            ("signed", f"{how}; it is polled then" if one.is_poke else how),
            ("made", relative(one.made_at, now)),
        ]
        if one.leased_until:
            facts.append(("lease", f"ends {relative(one.leased_until, now)}"))
        print_facts(facts)
        click.echo()
    if not found[0].is_taken:
        note("Nothing is taken there: the service has to be started with --hook-listen=HOST:PORT.")


@click.command()
@charm_argument
@click.argument("stream")
@json_option
@pass_session
def rotate(session: Session, ref: CharmRef, stream: str, as_json: bool) -> None:
    """Give the hook of STREAM another address; the one before leads nowhere any more."""
    from bg_charm_service.domain.views import HookView

    response = session.ask(lambda client: client.post(*path_of(ref, "hooks", stream, "rotate")))
    if as_json:
        print_json(response.content)
        return
    click.echo(response.read(HookView).url)
    note("Give it to the sender: the address before leads nowhere any more.")


hooks = OrderedGroup(
    "hooks",
    help="Show and change the addresses at which senders outside reach charms.",
    commands=[list_hooks, rotate],
)
