"""Every flag and every variable of the settings table, with every hostile text.

Generated from the table: a new setting is tried without anybody's doing.
"""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from bg_charm_service.cli.root import root
from bg_charm_service.cli.setting_options import click_options
from bg_charm_service.daemon.settings import SETTINGS, Setting, Variable, load_settings
from bg_charm_service.domain.errors import InvalidInput
from tests.bad_input.values import ARGUMENTS, TEXTS

FLAGS = [setting for setting in SETTINGS if setting.takes_value]
VARIABLES = [variable for setting in SETTINGS for variable in setting.variables]

#: No answer to a mistake is longer, in characters.
LONGEST_LINE = 1100


def check_line(line: str) -> None:
    """Fail unless a text is one line that a terminal can show, and no longer than it has to be."""
    assert line.isprintable(), ascii(line)
    assert len(line) <= LONGEST_LINE, line


def refusal(variable: Variable, text: str) -> str:
    """Give the words that a variable's value is refused with; nothing when it is taken."""
    try:
        load_settings({}, {variable.name: text})
    except InvalidInput as error:
        return str(error)
    return ""


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)
def test_variables(variable: Variable) -> None:
    """A variable is taken, or refused in one line that names it."""
    for text in TEXTS.values():
        line = refusal(variable, text)
        assert not line or line.startswith(f"{variable.name}=")
        check_line(line)


@pytest.mark.parametrize("setting", FLAGS, ids=lambda setting: setting.flag)
def test_flags(setting: Setting) -> None:
    """A flag is taken, or refused with 2 and one line that names it."""
    command = click.Command("program", params=list(click_options()), callback=lambda **_: None)
    for text in ARGUMENTS.values():
        result = CliRunner().invoke(command, [f"{setting.flag}={text}"])
        assert result.exit_code in (0, 2), result.exception
        if result.exit_code:
            *usage, line = result.stderr.splitlines()
            assert len(usage) <= 3, usage
            assert line.startswith(f"Error: Invalid value for '{setting.flag}': "), line
            check_line(line)


@pytest.mark.parametrize("setting", FLAGS, ids=lambda setting: setting.flag)
def test_flags_without_a_value(setting: Setting) -> None:
    """A flag that lacks its value is wrong usage."""
    result = CliRunner().invoke(root, [setting.flag])
    assert 2 == result.exit_code
    assert "requires an argument" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("text", ARGUMENTS.values(), ids=ARGUMENTS)
def test_words_where_a_command_belongs(text: str) -> None:
    """What is no command is wrong usage, told in one line."""
    if text in ("--help", "--"):
        pytest.skip("this is one")
    result = CliRunner().invoke(root, ["--no-api", text])
    assert 2 == result.exit_code
    check_line(result.stderr.splitlines()[-1])
