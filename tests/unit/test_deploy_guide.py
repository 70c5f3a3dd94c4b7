"""Promises of docs/deploy.md that need no machine; tests/systemd runs its commands on one."""

from __future__ import annotations

import re
import shlex

import pytest

from bg_charm_service.daemon.settings import SETTINGS
from tests.systemd.guide import ADDRESS, GUIDE, Block, Guide, read
from tests.systemd.machine import Machine
from tests.unit.pages import TARGETS, check_program_call, section

TEXT = GUIDE.read_text(encoding="utf-8")
COMMANDS = [line for block in read(TEXT) for line in block.commands.splitlines()]

#: A file that the shell finds, and what ends a call of the program in a line.
FOUND = re.compile(r'"\$\(.*?\)"')
END = re.compile(r" [|>]")


def test_each_part_of_the_way_has_commands() -> None:
    """From nothing to a service that is backed up and watched, and back."""
    assert len({block.section for block in read(TEXT)}) == len(re.findall(r"^## ", TEXT, re.M))


def test_its_commands_exist() -> None:
    """Every call of the program and of make is one that there is."""
    calls = [
        END.split(FOUND.sub("FILE", line[line.index("bg-charm-service ") :]))[0]
        for line in COMMANDS
        if re.match(r"(?:[A-Z]+=\S+ )?bg-charm-service ", line)
    ]
    assert len(calls) > 10
    for call in calls:
        check_program_call(shlex.split(call)[1:])
    assert TARGETS >= set(re.findall(r"^make -C \S+ (\S+)", "\n".join(COMMANDS), re.M))


def test_its_settings_exist() -> None:
    """What it writes into the file of settings are keys of it."""
    keys = set(re.findall(r"^(\w+) = ", "\n".join(COMMANDS), re.M))
    assert keys
    assert keys <= {setting.name for setting in SETTINGS}


def test_prometheus_is_told_what_the_guide_for_operators_says() -> None:
    """The same scrape and the same rules."""
    (told,) = re.findall(
        r"^```yaml\n(.*?)^```", section("docs/operating.md", "Monitoring"), re.DOTALL | re.M
    )
    assert told in "\n".join(COMMANDS)


def test_the_address_that_stands_for_another_is_said() -> None:
    """Whoever reads it knows what to replace."""
    assert f"`{ADDRESS}` for where this repository is" in TEXT


@pytest.mark.parametrize(
    "text",
    [
        "## A\n```sh\nls\n```\n",
        "## A\n```\nls\n```\n",
        "## A\n  ```bash\n  ls\n  ```\n",
        "## A\n~~~\nls\n~~~\n",
        "## A\n```text\nsomething\n```\n",
        "## A\n```bash\nls\n```\n## B\n```text\nsomething\n```\n",
    ],
)
def test_commands_that_would_not_be_run_are_refused(text: str) -> None:
    """Blocks that are not marked as bash, and shown lines of nothing."""
    with pytest.raises(AssertionError):
        read(text)


def test_blocks_are_read_with_what_they_show() -> None:
    """In their order, each with its section."""
    text = "## A\n```bash\nls\n```\n\nText.\n\n```text\nx…\n```\n## B\n```bash\ncd\nls\n```\n"
    assert [Block("A", "ls\n", ("x…",)), Block("B", "cd\nls\n", ())] == read(text)


class Printing(Machine):
    """A machine on which every command prints the same."""

    def __init__(self, text: str) -> None:
        self.text = text

    def output(self, *command: str, **variables: str) -> str:
        """Print it."""
        return self.text

    def put(self, path: str, *lines: str) -> None:
        """Write nothing."""


def test_what_was_not_followed_is_known() -> None:
    """A block counts as run once it has printed what the guide shows."""
    guide = Guide(Printing("did:key:z6Mk"))
    every = [block.commands for block in read(TEXT)]
    assert every == guide.left()
    guide.follow("The key")
    assert [block.commands for block in read(TEXT) if block.section != "The key"] == guide.left()
    with pytest.raises(AssertionError, match="Nothing is wrong"):
        guide.follow("Settings")
    with pytest.raises(AssertionError, match="no section"):
        guide.follow("Elsewhere")
