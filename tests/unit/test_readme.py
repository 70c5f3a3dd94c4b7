"""Promises of README: it names everything that can be used, and what it names exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bg_charm_service.cli.root import root
from bg_charm_service.daemon.settings import SETTINGS, Setting

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()

PROGRAM = "bin/bg-charm-service"
VARIABLES = {each.name for setting in SETTINGS for each in setting.variables} | {"OPERATOR_PASS"}
FLAGS = {setting.flag for setting in SETTINGS if setting.flag} | {"--help"}
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


def section(title: str) -> str:
    """Return one section of README."""
    _, _, rest = README.partition(f"\n## {title}\n")
    assert rest, f"README has no section {title}"
    return rest.partition("\n## ")[0]


def rows(title: str) -> list[list[str]]:
    """Return the cells of a section's tables, without their heads."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    heads = {place for place, row in enumerate(cells) if set("".join(row)) == {"-"}}
    return [row for place, row in enumerate(cells) if not {place, place + 1} & heads]


def settings_row(setting: Setting) -> list[str]:
    """Return the row that a setting with a flag has in README."""
    variables = ", ".join(f"`{each.name}`" for each in setting.variables)
    return [f"`{setting.usage}`", variables, setting.default, setting.help]


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
    elif words[0] == PROGRAM:
        check_program_call(words[1:])
    elif span.startswith("--"):
        assert span in FLAGS
    elif re.fullmatch(r"[A-Z]+(_[A-Z]+)*", span):
        assert span in VARIABLES
    else:
        assert span in OTHER_NAMES or (ROOT / span).exists()


def test_settings_table() -> None:
    """The table of flags is the settings table, row by row, with `--help` at its end."""
    shown = [row for row in rows("Flags and variables") if row[0].startswith("`--")]

    assert [settings_row(s) for s in SETTINGS if s.flag] == shown[:-1]
    assert "`--help`" == shown[-1][0]


def test_variables_without_a_flag() -> None:
    """Every variable that has no flag has a row of its own, and no row is about another."""
    shown = [row for row in rows("Flags and variables") if not row[0].startswith("`--")]
    named = {name for row in shown for name in spans(row[0])}

    flagless = {each.name for s in SETTINGS if not s.flag for each in s.variables}
    assert flagless | {"OPERATOR_PASS"} == named


@pytest.mark.parametrize("name", sorted(command_names(root)))
def test_commands_are_named(name: str) -> None:
    """Every command of the program stands in the table of commands."""
    named = [span for row in rows("Commands") for span in spans(row[0])]

    assert any(f"{span} ".startswith(f"{name} ") for span in named)


def test_named_commands_exist() -> None:
    """Every row of the table of commands can be called."""
    for row in rows("Commands"):
        for span in spans(row[0]):
            check_program_call(shlex.split(span))


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_makefile_targets_are_named(target: str) -> None:
    """Every task of the Makefile is named as `make TASK`."""
    assert re.search(rf"`make {target}(NAME)?[ `]|^make {target}$", README, re.MULTILINE)


OLD_AND_NEW = rows("Old commands and new ones")


@pytest.mark.parametrize("row", OLD_AND_NEW, ids=[row[0] for row in OLD_AND_NEW])
def test_what_stands_beside_an_old_command_exists(row: list[str]) -> None:
    """Each old command has something new beside it that works, or the word that it has not."""
    new = spans(row[1])

    assert new or row[1].startswith(("not needed", "not used yet"))
    for span in new:
        check_exists(span)


OLD_NAMES = """
    deno task start,deno task test,deno test src/path/to/test.ts,deno task check,deno fmt,deno lint,
    deno task gmail:kv,deno task gmail,deno task gcal,deno task discord,deno task initialize,
    deno task initialize:gmail,deno task initialize:gcal,deno task add-admin-charm,
    deno task build-binaries,./scripts/restart-local-dev.sh,./dist/bg-charm-service,--charms,
    --interval,--failures,--log-interval,--integration,--initialize,--max-concurrent,--max-retries,
    --help,--timeout,KV_STORE_DIR,MAX_CONCURRENT_JOBS,MAX_RETRIES,POLLING_INTERVAL_MS,
    CYCLE_INTERVAL_MS,LOG_INTERVAL_MS,MAX_CONSECUTIVE_FAILURES,CHARM_EXECUTION_TIMEOUT_MS,
    TOKEN_REFRESH_TIMEOUT_MS,SCAN_INTEGRATION_TIMEOUT_MS,MAINTENANCE_JOB_TIMEOUT_MS,API_URL,
    TOOLSHED_API_URL,OPERATOR_PASS,IDENTITY,OTEL_ENABLED,OTEL_SERVICE_NAME,
    OTEL_EXPORTER_OTLP_ENDPOINT,ENV
"""


@pytest.mark.parametrize("old", [name.strip() for name in OLD_NAMES.split(",")])
def test_old_names_are_there(old: str) -> None:
    """Whoever looks for what they used with the original finds it in the left column."""
    assert old in {span for row in OLD_AND_NEW for span in spans(row[0])}


def linked_files() -> Iterator[tuple[str, str]]:
    """Return every relative link of README and docs: the file that has it, and its target."""
    for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if "://" not in target:
                yield str(page.relative_to(ROOT)), target


@pytest.mark.parametrize(("page", "target"), sorted(set(linked_files())))
def test_links_lead_somewhere(page: str, target: str) -> None:
    """Every relative link of README, CHANGELOG and docs leads to a file."""
    assert ((ROOT / page).parent / target).exists()
