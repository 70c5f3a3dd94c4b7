"""The command that shows the items of a collection, a page at a time."""

from __future__ import annotations

import json

import click

from bg_charm_service.cli.arguments import charm_argument
from bg_charm_service.cli.output.json_output import json_option
from bg_charm_service.cli.output.printing import note, print_json, print_named
from bg_charm_service.cli.session import Session, pass_session, path_of
from bg_charm_service.domain.items import LONGEST_KEY_BYTES
from bg_charm_service.domain.model import CharmRef

#: Items that are shown where nobody says how many.
_ITEMS = 100


@click.command()
@charm_argument
@click.argument("field")
@click.argument("key", required=False)
@click.option("--after", metavar="KEY", default="", help="Only those behind a key.")
@click.option("--text", default="", help="Only those that have a text in their key or value.")
@click.option(
    "--where",
    "filters",
    multiple=True,
    metavar="MEMBER=TEXT",
    help="Only those whose MEMBER has a text; several have to hold.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=_ITEMS,
    show_default=True,
    metavar="N",
    help="Show N items.",
)
@json_option
@pass_session
def items(
    session: Session,
    ref: CharmRef,
    field: str,
    key: str | None,
    after: str,
    text: str,
    filters: tuple[str, ...],
    limit: int,
    as_json: bool,
) -> None:
    """Show items of a collection in the order of their keys, or the one of a KEY.

    With --json a page is printed as the API gives it: its `next` is for --after.
    """
    if not field.strip("."):
        raise click.UsageError("FIELD: a collection has a name.")
    for name, given in (("KEY", key or ""), ("--after", after)):
        if len(given.encode(errors="replace")) > LONGEST_KEY_BYTES:
            raise click.UsageError(f"{name}: a key has up to {LONGEST_KEY_BYTES} bytes.")
    if key is not None:
        path = path_of(ref, "item", field)
        print_json(session.ask(lambda client: client.get(*path, key=key)).content)
        return
    path = path_of(ref, "items", field)
    wanted = {"after": after, "text": text, "limit": limit, "where": _filters(filters)}
    content = session.ask(lambda client: client.get(*path, **wanted)).content
    if as_json:
        print_json(content)
        return
    page = json.loads(content)
    if page["items"]:
        rows = [
            (item["key"], json.dumps(item["value"], ensure_ascii=False)) for item in page["items"]
        ]
        print_named(("KEY", "VALUE"), rows)
    many = "item" if page["count"] == 1 else "items"
    of_all = f"{page['count']:,} {many} of {page['bytes']:,} bytes in all"
    if page["next"] is None:
        note(f"{of_all}; these were the last.")
    else:
        note(f"{of_all}; it goes on with --after {json.dumps(page['next'], ensure_ascii=False)}")


def _filters(given: tuple[str, ...]) -> list[str]:
    """Give filters as the API takes them."""
    filters = []
    for one in given:
        member, equals, text = one.partition("=")
        if not (member and equals) or ":" in member:
            raise click.UsageError(f"--where {one!r:.100}: this is not of the form MEMBER=TEXT.")
        filters.append(f"{member}:{text}")
    return filters
