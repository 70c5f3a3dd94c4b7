"""Commands about tokens, which let people and programs in over the network."""

from __future__ import annotations

import time

import click

from bg_charm_service.cli.arguments import SpaceType
from bg_charm_service.cli.output.formatting import one_line, relative
from bg_charm_service.cli.output.json_output import json_option
from bg_charm_service.cli.output.printing import note, print_json, print_table
from bg_charm_service.cli.session import Session, pass_session
from bg_charm_service.cli.usage import OrderedGroup
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.identity import space_did

#: The units that a length of time may be written in, in seconds.
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class SpanType(click.ParamType[float]):
    """A length of time such as `30d`."""

    name = "span"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        text = str(value)
        number, unit = text[:-1], text[-1:]
        if not (number.isascii() and number.isdecimal() and int(number) and unit in _UNITS):
            self.fail(f"{text!r} is no length of time such as 30d, 12h or 15m.", param, ctx)
        return float(int(number) * _UNITS[unit])


@click.command()
@click.option("--name", required=True, metavar="NAME", help="What it is for.")
@click.option("--space", metavar="SPACE", type=SpaceType(), help="Let it act on this space only.")
@click.option("--read-only", is_flag=True, help="Let it change nothing.")
@click.option("--expires", metavar="SPAN", type=SpanType(), help="Such as 30d, 12h or 15m.")
@json_option
@pass_session
def new(
    session: Session,
    name: str,
    space: str | None,
    read_only: bool,
    expires: float | None,
    as_json: bool,
) -> None:
    """Make a token and print it.

    This is the only time that it is shown: just its hash is stored.
    """
    from bg_charm_service.api.responses import MadeToken

    body = {
        "name": name,
        "space": space_did(space) if space is not None else None,
        "read_only": read_only,
        "expires_seconds": expires,
    }
    response = session.ask(lambda client: client.post("tokens", body=body), makes_directory=True)
    if as_json:
        print_json(response.content)
        return
    made = response.read(MadeToken)
    click.echo(made.token)
    note("This token is not shown again: keep it where you keep passwords.")


@click.command("list")
@json_option
@pass_session
def list_tokens(session: Session, as_json: bool) -> None:
    """List the tokens, those that are valid no more too."""
    from bg_charm_service.storage.records import TokenRecord

    response = session.ask(lambda client: client.get("tokens"))
    if as_json:
        print_json(response.content)
        return
    tokens = response.read(list[TokenRecord])
    if not tokens:
        note("No tokens. `bg-charm-service token new --name NAME` makes one.")
        return
    now = time.time()
    print_table(
        ["NAME", "STATUS", "MAY", "SPACE", "MADE", "EXPIRES", "LAST USED"],
        [
            [
                one_line(each.name),
                _status(each, now),
                "read" if each.read_only else "change",
                f"…{each.space[-8:]}" if each.space else "all",
                relative(each.created_at, now),
                relative(each.expires_at, now),
                relative(each.last_used_at, now),
            ]
            for each in tokens
        ],
    )


@click.command()
@click.argument("name", metavar="NAME")
@pass_session
def revoke(session: Session, name: str) -> None:
    """Let a token be valid no more, at once."""
    if "/" in name:
        raise InvalidInput(f"There is no token {name!r}. See `bg-charm-service token list`.")
    session.ask(lambda client: client.delete("tokens", name))
    click.echo(f"Revoked {name}.")


def _status(token: object, now: float) -> str:
    from bg_charm_service.storage.records import TokenRecord

    assert isinstance(token, TokenRecord)
    if token.revoked_at is not None:
        return "revoked"
    return "valid" if token.is_valid(now) else "expired"


token = OrderedGroup(
    "token", help="Let others in over the network.", commands=[new, list_tokens, revoke]
)
