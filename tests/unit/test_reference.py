"""Promises of docs/reference.md: it is what the program says of itself, and all of that."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import click
import pytest

from bg_charm_service.cli.root import root
from bg_charm_service.daemon.settings import SETTINGS, Setting, Settings
from docs.reference import PAGE, reference
from tests.unit.pages import ROOT, check_program_call, command_names, rows, spans, table_rows

REFERENCE = "docs/reference.md"


def settings_row(setting: Setting) -> list[str]:
    """Return the row that a setting with a flag has."""
    variables = ", ".join(f"`{each.name}`" for each in setting.variables)
    key = f"`{setting.name}`" if setting.in_file else ""
    return [f"`{setting.usage}`", variables, key, setting.default, setting.help]


def commands() -> Iterator[tuple[str, click.Command]]:
    """Return every command with its full name."""
    for name in command_names(root):
        command: click.Command = root
        for word in name.split():
            assert isinstance(command, click.Group)
            command = command.commands[word]
        yield name, command


COMMANDS = list(commands())


def part(name: str) -> str:
    """Return what the page says of one command."""
    _, _, rest = PAGE.read_text().partition(f"\n### {name}\n")
    assert rest, f"{REFERENCE} says nothing of {name}"
    return rest.partition("\n### ")[0]


def test_the_page_is_what_is_made_of_the_program() -> None:
    """`make reference` was called after the last change of a flag or command."""
    assert ROOT / REFERENCE == PAGE
    assert reference() == PAGE.read_text(), "call `make reference`"


def test_settings_table() -> None:
    """The table of flags is the settings table, row by row, with what has no setting at its end."""
    shown = rows(REFERENCE, "Flags")

    assert [settings_row(s) for s in SETTINGS if s.flag] == shown[:-3]
    assert ["`--version`", "`--json`", "`--help`"] == [row[0] for row in shown[-3:]]


def test_variables_without_a_flag() -> None:
    """Every variable that has no flag has a row of its own, and no row is about another."""
    shown = rows(REFERENCE, "Variables without a flag")
    named = {name for row in shown for name in spans(row[0])}

    flagless = {each.name for s in SETTINGS if not s.flag for each in s.variables}
    assert flagless | {"OPERATOR_PASS"} == named


def test_defaults_of_variables_can_be_given() -> None:
    """What stands as the default of a variable is read as the default, in the variable's unit."""
    shown = {
        name: row for row in rows(REFERENCE, "Variables without a flag") for name in spans(row[0])
    }

    for setting in (s for s in SETTINGS if not s.flag):
        for variable in setting.variables:
            (default,) = spans(shown[variable.name][2]) or [""]
            given = setting.from_environment({variable.name: default})
            assert (getattr(Settings(), setting.name) or None) == given


def test_defaults_of_flags_can_be_given() -> None:
    """What stands as the default of a flag is read as the default; that of a place is in words."""
    in_words = ("data_dir", "config_file")
    for setting in (s for s in SETTINGS if s.takes_value and s.default and s.name not in in_words):
        assert getattr(Settings(), setting.name) == setting.from_flag(setting.default)


def test_everything_has_a_meaning() -> None:
    """No flag, variable, command or option is listed without a word about it."""
    tables = [rows(REFERENCE, title) for title in ("Flags", "Variables without a flag")]
    tables += [table_rows(part(name)) for name in command_names(root)]

    assert [] == [row for table in tables for row in table if not row[-1]]
    assert [] == [name for name, command in COMMANDS if not command.help]


@pytest.mark.parametrize("name", sorted(command_names(root)))
def test_commands_are_named(name: str) -> None:
    """Every command of the program stands in the table of commands."""
    named = [span for row in rows(REFERENCE, "Commands") for span in spans(row[0])]

    assert any(f"{span} ".startswith(f"{name} ") for span in named)


def test_named_commands_exist() -> None:
    """Every row of the table of commands can be called."""
    for row in table_rows(PAGE.read_text().partition("\n## Commands\n")[2].partition("\n### ")[0]):
        for span in spans(row[0]):
            check_program_call(shlex.split(span))


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_options_are_named(name: str, command: click.Command) -> None:
    """Each option of a command has its row, with default and meaning; nothing else has."""
    shown = {row[0].strip("`").split()[0]: row for row in table_rows(part(name))}
    options = [param for param in command.params if isinstance(param, click.Option)]

    assert [option.opts[0] for option in options] == list(shown)
    for option in options:
        _, default, meaning = shown[option.opts[0]]
        told, _, written = (option.help or "").partition("  [default: ")
        assert meaning.startswith(told.removesuffix("."))
        if option.required:
            assert "(required)" == default
        elif option.show_default:
            assert str(option.default) == default
        else:
            assert written.removesuffix("]") == default


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_arguments_are_in_the_usage(name: str, command: click.Command) -> None:
    """The usage of a command names what it takes, in its order."""
    usage = part(name).split("```")[1].split()
    arguments = [param for param in command.params if isinstance(param, click.Argument)]

    assert f"bg-charm-service {name} [OPTIONS]".split() == usage[: len(name.split()) + 2]
    assert [each.make_metavar(click.Context(command)) for each in arguments] == usage[
        len(name.split()) + 2 :
    ]


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_help_shows_no_mark_of_its_maker(name: str, command: click.Command) -> None:
    """The sign that keeps a paragraph as it is does not reach those who read it."""
    shown = command.get_help(click.Context(command, info_name=name))

    assert "\b" not in shown
    assert r"\b" not in shown
