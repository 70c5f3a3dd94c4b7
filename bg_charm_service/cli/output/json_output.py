"""The option `--json`: of a command that prints JSON, or written somewhere before it.

Only what was asked for is said here; printing does it. Used by the commands and their groups.
"""

from __future__ import annotations

import click

#: The parameter that says so, of commands and of groups.
_NAME = "as_json"


def _or_before(ctx: click.Context, param: click.Parameter, value: bool) -> bool:
    # What is noted in `meta` is seen in all contexts below.
    return value or wants_json(ctx)


#: Gives a command that prints JSON the argument `as_json`.
json_option = click.option("--json", _NAME, is_flag=True, help="Print JSON.", callback=_or_before)


def json_before() -> click.Option:
    """Make the option of a group, for the command that follows."""
    return click.Option(
        ["--json", _NAME],
        is_flag=True,
        expose_value=False,
        help="Print JSON, of a command that can",
        callback=_note,
    )


def check_json(ctx: click.Context, command: click.Command) -> None:
    """Refuse --json before a command that prints none; raises UsageError."""
    if wants_json(ctx) and all(param.name != _NAME for param in command.params):
        raise click.UsageError(f"{command.name} prints no JSON: leave --json out.", ctx)


def wants_json(ctx: click.Context) -> bool:
    """Whether --json was written before any command."""
    return bool(ctx.meta.get(_NAME))


def _note(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.meta[_NAME] = ctx.meta.get(_NAME, False) or value
