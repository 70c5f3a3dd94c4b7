"""The charms that ship with the service: a list of them, and what a person is asked for one."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from bg_charm_service.cli.output.json_output import json_option
from bg_charm_service.cli.output.printing import note, print_json
from bg_charm_service.cli.standard_input import ask_for
from bg_charm_service.domain.errors import InvalidInput

if TYPE_CHECKING:
    from bg_charm_service.service.shipped_charms import ShippedCharm, ShippedField


@click.command("shipped")
@json_option
def list_shipped(as_json: bool) -> None:
    """List the charms that ship with the service, which `charm add --from NAME` adds."""
    show_shipped(as_json=as_json)


def show_shipped(*, as_json: bool) -> None:
    """Print the charms that ship, a sentence each."""
    import msgspec

    from bg_charm_service.service.shipped_charms import shipped_charms

    charms = shipped_charms()
    if as_json:
        told = [
            {
                "name": one.name,
                "sentence": one.sentence,
                "space": one.space,
                "integration": one.integration or "manual",
                "fields": [asdict(field) for field in one.fields],
                "sign_in": one.providers,
            }
            for one in charms
        ]
        print_json(msgspec.json.encode(told))
        return
    width = max(len(one.name) for one in charms)
    for one in charms:
        click.echo(f"{one.name:{width}}  {one.sentence}")
    note("`bg-charm-service charm add --from NAME` asks for what one needs, and adds it.")


def tell_next(charm: ShippedCharm, space: str, name: str) -> None:
    """Say what comes next for a charm that was added: to sign in, or to look at what it brings."""
    for provider in charm.providers:
        note(
            f"Sign in for it: `bg-charm-service auth login {provider} --space {space} "
            f"--charm {name}`"
        )
    if charm.result:
        command = "items" if charm.is_collection else "get"
        note(f"What it brings: `bg-charm-service charm {command} {space}/{name} {charm.result}`")


def fields_of(
    charm: ShippedCharm, values: dict[str, Any], secrets: Iterable[str]
) -> dict[str, Any]:
    """Give the fields of a new charm: those given, and the others as somebody answers.

    `secrets` are asked for in any case. Where there is no terminal, nothing else is; raises
    UsageError for what is missing then.
    """
    named = {one.name: one for one in charm.fields}
    given = dict(values)
    if sys.stdin.isatty():
        for field in charm.fields:
            if field.is_asked and field.name not in given:
                given[field.name] = _answer(field)
        secrets = [name for name in secrets if name not in given]
    for name in secrets:
        question = named[name].question if name in named else name
        given[name] = ask_for(question, hidden=True)
    if missing := charm.missing(given):
        ways = " ".join(
            f"--set-secret {one.name}" if one.is_secret else f"--set {one.name}=JSON"
            for one in missing
        )
        names = ", ".join(one.name for one in missing)
        raise click.UsageError(f"{charm.name} needs {names}: give {ways}.")
    return charm.completed(given)


def _answer(field: ShippedField) -> Any:
    """Ask until there is an answer that can be read."""
    while True:
        text = ask_for(field.question, hidden=field.is_secret)
        if not text.strip():
            if field.is_required:
                note("This is needed.")
                continue
            return field.default
        try:
            return field.read(text)
        except InvalidInput as error:
            note(str(error))
