"""Makes docs/reference.md and docs/config.toml of the program itself: every flag, variable, key,
command and option.

    make reference

tests/unit/test_reference.py and test_config_file.py hold that they are what is made here.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from bg_charm_service.cli.root import root
from bg_charm_service.daemon.config_text import config_text
from bg_charm_service.daemon.settings import SETTINGS, Setting, Variable
from bg_charm_service.domain.identity import DEFAULT_PASSPHRASE

PAGE = Path(__file__).parent / "reference.md"
EXAMPLE = Path(__file__).parent / "config.toml"

_BEGIN = """\
# Reference

Every flag, variable and command, made from the program itself by `make reference`:
whoever wants another text here changes it in the program.

Without a command, `bg-charm-service` runs the service; in a checkout it is `bin/bg-charm-service`.
Commands work both while it runs, through the socket in its data directory, and while it does not.
With `--url URL --token TOKEN`, those that need a service manage one elsewhere: see
[access.md](access.md).
Flags stand before the command: `bin/bg-charm-service --data-dir D charm list`.
`--json` prints JSON, before or behind the command; exit codes are 0 done, 1 failed, 2 wrong usage,
and [more for some](operating.md#exit-codes).

A flag wins over the variable, the variable over the key in the
[configuration file](operating.md#configuration), that over the default; an empty variable counts as
not set. Flags and keys take seconds, variables whose names end in `_MS` milliseconds.
Sizes are bytes, or end in K, M or G."""


def reference() -> str:
    """Write the page."""
    context = click.Context(root, info_name="bg-charm-service")
    commands = list(_commands(root, context))
    parts = [
        _BEGIN,
        "## Flags\n\n" + _table(["flag", "variable", "key", "default", "meaning"], _flags(context)),
        "## Variables without a flag\n\n"
        + _table(["variable", "key", "default", "meaning"], _flagless()),
        "## Commands\n\n" + _table(["command", "what it does"], map(_in_short, commands)),
        *map(_in_full, commands),
    ]
    return "\n\n".join(parts) + "\n"


def _flags(context: click.Context) -> Iterator[list[str]]:
    settings = {setting.name: setting for setting in SETTINGS}
    for param in root.get_params(context):
        setting = settings.get(param.name or "")
        if setting is not None:
            variables = ", ".join(f"`{each.name}`" for each in setting.variables)
            yield [f"`{setting.usage}`", variables, _key(setting), setting.default, setting.help]
        elif isinstance(param, click.Option):
            yield [f"`{param.opts[0]}`", "", "", "", param.help or ""]


def _flagless() -> Iterator[list[str]]:
    passphrase = "Passphrase that the operator's key is made from; the default is public"
    yield ["`OPERATOR_PASS`", "", f"`{DEFAULT_PASSPHRASE}`", passphrase]
    for setting in SETTINGS:
        if not setting.flag:
            names = ", ".join(f"`{each.name}`" for each in setting.variables)
            shown = _default_of(setting, setting.variables[0])
            yield [names, _key(setting), f"`{shown}`" if shown else "", setting.help]


def _key(setting: Setting) -> str:
    """Write a setting's key in a configuration file, if it has one."""
    return f"`{setting.name}`" if setting.in_file else ""


def _default_of(setting: Setting, variable: Variable) -> str:
    """Write a default in the unit of the variable."""
    if setting.default and variable.name.endswith("_MS"):
        return f"{float(setting.default) * 1000:.12g}"
    return setting.default


def _commands(
    group: click.Group, context: click.Context
) -> Iterator[tuple[click.Command, click.Context]]:
    for name in group.list_commands(context):
        command = group.commands[name]
        below = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from _commands(command, below)
        else:
            yield command, below


def _name(context: click.Context) -> str:
    return context.command_path.partition(" ")[2]


def _in_short(found: tuple[click.Command, click.Context]) -> list[str]:
    command, context = found
    first = inspect.cleandoc(command.help or "").partition("\n\n")[0]
    anchor = _name(context).replace(" ", "-")
    return [f"[`{_name(context)}`](#{anchor})", _in_one_line(first)]


def _in_full(found: tuple[click.Command, click.Context]) -> str:
    command, context = found
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    parts = [f"### {_name(context)}", f"```\n{usage}\n```", *_paragraphs(command.help or "")]
    options = list(map(_option, _options(command)))
    if options:
        parts.append(_table(["option", "default", "meaning"], options))
    return "\n\n".join(parts)


def _options(command: click.Command) -> Iterator[click.Option]:
    for param in command.params:
        if isinstance(param, click.Option):
            yield param


def _option(option: click.Option) -> list[str]:
    context = click.Context(click.Command("none"))
    usage, _ = option.get_help_record(context) or ("", "")
    extra = option.get_help_extra(context)
    meaning, _, written = (option.help or "").partition("  [default: ")
    default = extra.get("default") or written.removesuffix("]")
    if extra.get("required"):
        default = "(required)"
    more = [extra["range"]] if extra.get("range") else []
    more += ["may be given several times"] if option.multiple else []
    if more:
        meaning = f"{meaning.removesuffix('.')}; {', '.join(more)}."
    return [f"`{usage.replace(' RANGE', '')}`", default, meaning]


def _paragraphs(text: str) -> Iterator[str]:
    """Give click's paragraphs as Markdown: one that it is not to wrap is kept as it is."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b\n"):
            yield "```\n" + paragraph.removeprefix("\b\n") + "\n```"
        else:
            yield re.sub(r"^- ", r"`-` ", _in_one_line(paragraph))


def _in_one_line(text: str) -> str:
    return " ".join(text.split())


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    return "\n".join([_row(head), "|" + "---|" * len(head), *map(_row, rows)])


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(reference())
    EXAMPLE.write_text(config_text({}))
