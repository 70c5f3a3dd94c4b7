"""How the tests of the documents read them: sections, tables, code spans, and what these name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click

from bg_charm_service.cli.root import root
from bg_charm_service.daemon.settings import SETTINGS

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()

#: Everything that is written for people.
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "tests" / "README.md",
]

PROGRAM = "bin/bg-charm-service"
VARIABLES = {each.name for setting in SETTINGS for each in setting.variables} | {"OPERATOR_PASS"}
FLAGS = {setting.flag for setting in SETTINGS if setting.flag} | {"--help", "--json", "--version"}
TARGETS = set(re.findall(r"^([a-z][a-z-]*)%?:(?: |$)", MAKEFILE, re.MULTILINE))

#: What may stand in the right column beside commands, flags and variables.
OTHER_NAMES = {"SPACE/CHARM", "service.sock", "dist/bg-charm-service", "integration = …"}


def command_names(group: click.Group, before: str = "") -> Iterator[str]:
    """Return the full name of every command, groups themselves left out."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from command_names(command, f"{before}{name} ")
        else:
            yield f"{before}{name}"


def spans(text: str) -> list[str]:
    """Return what stands between backticks."""
    return re.findall(r"`([^`]+)`", text)


def section(page: str, title: str) -> str:
    """Return one section of a page, named by its path from the root."""
    _, _, rest = (ROOT / page).read_text().partition(f"\n## {title}\n")
    assert rest, f"{page} has no section {title}"
    return rest.partition("\n## ")[0]


def rows(page: str, title: str) -> list[list[str]]:
    """Return the cells of a section's tables, without their heads."""
    return table_rows(section(page, title))


def table_rows(text: str) -> list[list[str]]:
    """Return the cells of the tables in a text, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [
        [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in lines
    ]
    heads = {place for place, row in enumerate(cells) if set("".join(row)) == {"-"}}
    return [row for place, row in enumerate(cells) if not {place, place + 1} & heads]


def check_program_call(words: list[str]) -> None:
    """Walk a command line as the program would: flags, then a command with its own options."""
    command: click.Command = root
    while words and (words[0].startswith("--") or isinstance(command, click.Group)):
        word = words.pop(0)
        flag = word.partition("=")[0]
        if flag.startswith("--"):
            options = {name for param in command.params for name in param.opts} | {"--help"}
            assert flag in options
        else:
            assert isinstance(command, click.Group)
            command = command.commands[word]
    options = {name for param in command.params for name in param.opts} | {"--help"}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options


def check_exists(span: str) -> None:
    """Fail unless a code span names something that can be used."""
    words = shlex.split(span)
    if words[0] == "make":
        target = words[1]
        assert target in TARGETS or target == "run-NAME"
        for path in re.findall(r"ARGS=(tests/\S+)", span):
            assert (ROOT / path).exists(), path
    elif words[0] == PROGRAM:
        check_program_call(words[1:])
    elif span.startswith("--"):
        assert span in FLAGS
    elif re.fullmatch(r"[A-Z]+(_[A-Z]+)*", span):
        assert span in VARIABLES
    else:
        assert span in OTHER_NAMES or (ROOT / span).exists()
