"""Commands about integrations."""

from __future__ import annotations

import time

import click

from bg_charm_service.cli.output.formatting import one_line, percent, relative
from bg_charm_service.cli.output.json_output import json_option
from bg_charm_service.cli.output.printing import print_json, print_table
from bg_charm_service.cli.session import Session, pass_session
from bg_charm_service.cli.usage import OrderedGroup


@click.command("list")
@json_option
@pass_session
def list_integrations(session: Session, as_json: bool) -> None:
    """List the integrations that can be run, and their last scan."""
    from bg_charm_service.domain.views import IntegrationView

    response = session.ask(lambda client: client.get("integrations"))
    if as_json:
        print_json(response.content)
        return
    now = time.time()
    rows = []
    for found in response.read(list[IntegrationView]):
        standing = "active" if found.active else "-"
        if found.active and not found.initialised:
            standing = "not initialised"
        rows.append(
            [
                found.integration_id,
                one_line(found.name),
                standing,
                f"{found.charms:,}",
                f"{found.executions:,}",
                percent(found.success_rate),
                relative(found.last_scan_at, now),
                one_line(found.last_scan_error),
            ]
        )
    print_table(["ID", "NAME", "STATUS", "CHARMS", "RUNS", "SUCCESS", "SCANNED", "ERROR"], rows)


@click.command()
@click.argument("integration", metavar="[ID]", required=False)
@pass_session
def initialize(session: Session, integration: str | None) -> None:
    """Initialize an integration's cell, by default that of --integration."""
    initialize_integration(session, integration or session.settings.integration)


def initialize_integration(session: Session, integration: str) -> None:
    """Initialize an integration's cell and say what became of it."""
    from bg_charm_service.api.responses import Done

    response = session.ask(
        lambda client: client.post("integrations", integration, "initialize"), makes_directory=True
    )
    click.echo(response.read(Done).message)


integration = OrderedGroup(
    "integration",
    help="Code that contributes charms to poll.",
    commands=[list_integrations, initialize],
)
