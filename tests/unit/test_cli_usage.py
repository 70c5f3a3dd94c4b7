"""The promises of usage: help, exit codes, and one line for every error."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from bg_charm_service.cli.output.error_output import one_line_errors
from bg_charm_service.cli.root import root
from bg_charm_service.domain.errors import Conflict

ORIGINAL_HELP = """\
Background Charm Service
A robust service for running charms in the background with health monitoring

Usage: bg-charm-service [options] [command]
"""


def run(*arguments: str, **environment: str) -> Result:
    """Run the program inside this process."""
    runner = CliRunner(env=environment)
    return runner.invoke(root, list(arguments), prog_name="bg-charm-service")


def test_help_reads_like_the_original() -> None:
    """Help begins with the original's words, and lists integrations and every command."""
    result = run("--help")
    assert result.output.startswith(ORIGINAL_HELP)
    assert "Available: calendar, discord, gcal, gmail, mail, manual, opml, rss\n" in result.output
    assert re.search(r"^  --help +Show this help message$", result.output, re.MULTILINE)
    for command in root.commands:
        assert f"\n  {command} " in result.output
    assert max(map(len, result.output.splitlines())) <= 100


def test_help_lists_integrations_of_ones_own() -> None:
    """A directory of integrations given before --help is looked at too."""
    directory = Path(__file__).parents[1] / "fixtures" / "integrations"
    assert "myservice" in run(f"--integrations-dir={directory}", "--help").output


def commands_of(group: click.Group, *path: str) -> list[tuple[str, ...]]:
    """Give the paths of all commands."""
    found: list[tuple[str, ...]] = []
    for name, command in group.commands.items():
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += commands_of(command, *path, name)
    return found


@pytest.mark.parametrize("path", commands_of(root), ids=" ".join)
def test_every_command_has_help(path: tuple[str, ...]) -> None:
    """Help of a command needs neither a service nor good settings, and fits a terminal."""
    result = run(*path, "--help", CYCLE_INTERVAL_MS="nonsense")
    assert 0 == result.exit_code
    assert f"Usage: bg-charm-service {' '.join(path)}" in result.output
    assert max(map(len, result.output.splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--interval=0"], "Invalid value for '--interval'"),
        (["--interval=-1"], "Invalid value for '--interval'"),
        (["--interval=abc"], "Invalid value for '--interval'"),
        (["--timeout=30000"], "were milliseconds meant?"),
        (["nonsense"], "No such command 'nonsense'"),
        (["charm", "get"], "Missing argument 'SPACE/CHARM'"),
        (["charm", "list", "--data-dir", "x"], "--data-dir stands before the command"),
        (["charm", "list", "--nonsense"], "No such option '--nonsense'"),
        (["charm", "add", "/nowhere.py", "--space", "demo"], "'/nowhere.py' does not exist"),
        (["charm", "add", __file__], "Missing option '--space'"),
        (["charm", "add", __file__, "--space", "x", "--integration", "y"], "give --register"),
    ],
)
def test_mistakes_of_usage_exit_with_2(arguments: list[str], reason: str) -> None:
    """What is written wrongly is told before anything is opened."""
    result = run(*arguments)
    assert 2 == result.exit_code
    assert "Error: " in result.output
    assert reason in result.output


def test_a_bad_variable_is_a_usage_error() -> None:
    """The environment is part of the usage; the error names the variable."""
    result = run("status", CYCLE_INTERVAL_MS="0")
    assert 2 == result.exit_code
    assert "CYCLE_INTERVAL_MS='0'" in result.output


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (Conflict("two\nlines"), "two lines"),
        (ExceptionGroup("many", [Conflict("the reason")]), "the reason"),
        (KeyError("x"), "Internal error: KeyError: 'x' (test_cli_usage.py, line "),
    ],
)
def test_every_error_is_one_line(error: Exception, line: str) -> None:
    """Errors of ours are told as they are, others with their place; the exit code is 1."""
    with pytest.raises(click.ClickException) as caught, one_line_errors():
        raise error
    assert caught.value.message.startswith(line)
    assert 1 == caught.value.exit_code
    assert "\n" not in caught.value.message


def test_what_a_command_may_not_need_is_not_loaded() -> None:
    """The command line is there before what makes services, loops and requests is loaded."""
    heavy = {"asyncio", "loguru", "httpx2", "fastapi", "sqlite3", "pydantic", "rich", "tomllib"}
    code = "import sys, bg_charm_service.cli.root; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert set() == heavy & {*loaded.stdout.split()}


def test_space_dids_need_no_service() -> None:
    """The DID of a named space is computed; it is the original's."""
    result = run("space", "did", "toolshed-system")
    assert "did:key:z6Mkfuw7h6jDwqVb6wimYGys14JFcyTem4Kqvdj9DjpFhY88\n" == result.output
