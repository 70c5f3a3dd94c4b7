"""The command that shows who changed what."""

from __future__ import annotations

import click

from bg_charm_service.cli.output.formatting import moment, one_line
from bg_charm_service.cli.output.json_output import json_option
from bg_charm_service.cli.output.printing import note, print_json, print_line
from bg_charm_service.cli.session import Session, pass_session
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.storage.records import AuditEntry


@click.command()
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=100,
    show_default=True,
    metavar="N",
    help="Show the newest N changes.",
)
@click.option(
    "--before", type=click.IntRange(0), metavar="NUMBER", help="Only what is older than a change."
)
@json_option
@pass_session
def audit(session: Session, limit: int, before: int | None, as_json: bool) -> None:
    """Show who changed what, the newest first."""
    response = session.ask(lambda client: client.get("audit", limit=limit, before=before))
    if as_json:
        print_json(response.content)
        return
    entries = response.read(list[AuditEntry])
    if not entries:
        note("Nothing was changed yet.")
    for each in entries:
        print_line(
            moment(each.at),
            f"{each.entry_id}",
            one_line(each.caller),
            one_line(f"{each.action} {each.detail}".strip()),
            _subject(each),
        )


def _subject(entry: AuditEntry) -> str:
    if entry.charm_id:
        return str(CharmRef(entry.space, entry.charm_id))
    return entry.space
