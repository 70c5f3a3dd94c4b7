"""Commands about notices: who is told when something goes wrong, and what was told."""

from __future__ import annotations

import time
from collections import Counter

import click

from bg_charm_service.cli.arguments import SpaceType, SpanType, path_segment
from bg_charm_service.cli.output.formatting import one_line, relative
from bg_charm_service.cli.output.json_output import json_option
from bg_charm_service.cli.output.printing import note, print_json, print_table, print_text
from bg_charm_service.cli.session import Session, pass_session
from bg_charm_service.cli.standard_input import ask_for
from bg_charm_service.cli.usage import OrderedGroup
from bg_charm_service.domain.errors import InvalidInput, ServiceError

_TARGETS = "notice-targets"

_name_argument = click.argument("name", metavar="TARGET")


@click.command()
@click.option("--name", default="", metavar="NAME", help="What to call it; else by its scheme.")
@click.option("--space", metavar="NAME|DID", type=SpaceType(), help="Of one space only.")
@click.option(
    "--kinds", default="", metavar="KIND,*", help="What to tell: disabled, down, dead_letter …"
)
@click.option(
    "--down-after",
    default="10m",
    show_default=True,
    metavar="TIME",
    type=SpanType(),
    help="How long a provider is down before it is told.",
)
@json_option
@pass_session
def add(
    session: Session, name: str, space: str | None, kinds: str, down_after: float, as_json: bool
) -> None:
    """Have notices sent to an address of Apprise's, such as ntfys://HOST/TOPIC.

    The address is asked for without an echo, or read as a line of standard input, since it mostly
    holds a password or a token; it is kept encrypted, and shown nowhere.
    """
    from bg_charm_service.domain.views import AddedTarget

    url = ask_for("Address", hidden=True).strip()
    if not url:
        raise InvalidInput("Give the address of the target, as a line of standard input.")
    body = {
        "url": url,
        "name": name,
        "space": space or "",
        "kinds": [kind.strip() for kind in kinds.split(",") if kind.strip()],
        "down_after_seconds": down_after,
    }
    response = session.ask(lambda client: client.post(_TARGETS, body=body), makes_directory=True)
    if as_json:
        print_json(response.content)
        return
    added = response.read(AddedTarget)
    target = added.target
    click.echo(f"Added {target.name}, {target.shown}: {', '.join(target.kinds)}.")
    if added.note:
        note(added.note)
    note(f"`bg-charm-service notify test {target.name}` sends something there.")


@click.command("list")
@click.option("--sent", is_flag=True, help="What was sent lately, and what waits, instead.")
@json_option
@pass_session
def list_targets(session: Session, sent: bool, as_json: bool) -> None:
    """List where notices go, and how that does; addresses are masked."""
    if sent:
        _list_sent(session, as_json=as_json)
        return
    from bg_charm_service.domain.views import TargetView

    response = session.ask(lambda client: client.get(_TARGETS))
    if as_json:
        print_json(response.content)
        return
    found = response.read(list[TargetView])
    if not found:
        note("Nobody is told of anything. `bg-charm-service notify add` changes that.")
        return
    now = time.time()
    print_table(
        ["TARGET", "ADDRESS", "OF", "LAST SENT", "WAITING"],
        [
            [
                one.name,
                one.shown,
                one_line(one.space_name or one.space) or "the service",
                relative(one.last_sent_at, now) if one.last_sent_at else "never",
                str(one.waiting),
            ]
            for one in found
        ],
    )
    for kinds, count in Counter(one.kinds for one in found).items():
        names = ", ".join(one.name for one in found if one.kinds == kinds)
        print_text(f"{names} {'is' if count == 1 else 'are'} told of: {', '.join(kinds)}")
    for one in found:
        if one.problem:
            print_text(f"{one.name}: {one_line(one.problem)}")


def _list_sent(session: Session, *, as_json: bool) -> None:
    from bg_charm_service.domain.views import MessageView

    response = session.ask(lambda client: client.get("notices"))
    if as_json:
        print_json(response.content)
        return
    found = response.read(list[MessageView])
    if not found:
        note("Nothing was sent yet.")
        return
    now = time.time()
    print_table(
        ["WHEN", "TARGET", "STATUS", "WHAT"],
        [
            [
                relative(one.tried_at or one.created_at, now),
                one.target,
                one.status if one.tries < 2 else f"{one.status}, {one.tries} tries",
                one_line(f"{one.title}  {one.problem}".strip()),
            ]
            for one in found
        ],
    )


@click.command()
@_name_argument
@json_option
@pass_session
def test(session: Session, name: str, as_json: bool) -> None:
    """Send a message to TARGET now, and say what came of it."""
    from bg_charm_service.domain.notices import MessageStatus
    from bg_charm_service.domain.views import MessageView

    path = (_TARGETS, path_segment(name, "target"), "test")
    response = session.ask(lambda client: client.post(*path))
    found = response.read(MessageView)
    if as_json:
        print_json(response.content)
    if found.status != MessageStatus.SENT:
        raise ServiceError(f"Nothing arrived at {found.target}: {found.problem}")
    if not as_json:
        click.echo(f"Sent a message to {found.target}, {found.shown}.")


@click.command()
@_name_argument
@pass_session
def remove(session: Session, name: str) -> None:
    """Send nothing more to TARGET, and forget its address."""
    session.ask(lambda client: client.delete(_TARGETS, path_segment(name, "target")))
    click.echo(f"Removed {name}.")


notify = OrderedGroup(
    "notify",
    help="Have people told when something goes wrong.",
    commands=[add, list_targets, test, remove],
)
