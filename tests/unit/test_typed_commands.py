"""Commands that texts name: whoever reads one can type it as it stands."""

from __future__ import annotations

import ast
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bg_charm_service.daemon import readers
from bg_charm_service.daemon.readers import program_name, reader_of_command, reader_of_log
from bg_charm_service.daemon.settings import Settings, default_data_dir
from bg_charm_service.domain.package_folder import PACKAGE_FOLDER
from bg_charm_service.domain.typed_commands import Reader

INSTALLED = Reader("bg-charm-service", ("--data-dir", "/var/lib/bg charms"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "See `bg-charm-service charm list`.",
            "`bg-charm-service --data-dir '/var/lib/bg charms' charm",
        ),
        ("`bg-charm-service --integration=gmail --initialize`", "bg charms' --integration=gmail"),
        ("`sudo bg-charm-service …`", "`sudo bg-charm-service --data-dir '/var/lib/bg charms' …`"),
        ("`bg-charm-service --data-dir /x token list`", "`bg-charm-service --data-dir /x token"),
        ("bg-charm-service 1.0 started", "bg-charm-service 1.0 started"),
        ("`bg-charm-service.db` is gone", "`bg-charm-service.db` is gone"),
    ],
)
def test_a_command_names_the_service_that_is_meant(text: str, expected: str) -> None:
    """What stands in backquotes gets the reader's options, unless it has its own."""
    assert expected in INSTALLED.typeable(text)


def test_a_program_that_is_not_found_by_its_name_is_named_by_its_path() -> None:
    """A path with spaces is one word for a shell."""
    reader = Reader("/opt/some where/bg-charm-service")
    assert "`'/opt/some where/bg-charm-service' open`" == reader.typeable("`bg-charm-service open`")
    told = reader.typeable("`bg-charm-service --data-dir /x open`")
    assert "`'/opt/some where/bg-charm-service' --data-dir /x open`" == told


def test_a_checkout_is_used_by_its_launcher(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From its root as `bin/…`, from elsewhere by its whole path: both can be typed."""
    monkeypatch.chdir(PACKAGE_FOLDER.parent)
    assert "bin/bg-charm-service" == program_name()
    assert Path(program_name()).is_file()
    monkeypatch.chdir(tmp_path)
    assert Path(program_name()).is_file()
    assert Path(program_name()).is_absolute()


def test_an_installed_program_is_named_as_it_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By its name where the shell finds it, else by the path that it was started by."""
    program = tmp_path / "bin" / "bg-charm-service"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(readers, "PACKAGE_FOLDER", tmp_path / "lib" / "bg_charm_service")
    monkeypatch.setattr(sys, "argv", [str(program)])
    monkeypatch.setenv("PATH", "/nowhere")
    assert shutil.which("bg-charm-service") is None
    assert str(program) == program_name()
    monkeypatch.setenv("PATH", str(program.parent))
    assert "bg-charm-service" == program_name()


def test_a_command_needs_no_option_that_is_the_default() -> None:
    """Nor one that comes from the environment, which the next command has too."""
    assert () == reader_of_command({}, {"KV_STORE_DIR": "/x"}).options
    assert () == reader_of_command({"data_dir": "/x"}, {"KV_STORE_DIR": "/x"}).options
    assert ("--data-dir", "/x") == reader_of_command({"data_dir": "/x"}, {}).options
    assert () == reader_of_command({"data_dir": str(default_data_dir())}, {}).options
    given = {"data_dir": "/x", "service_url": "http://charms"}
    assert ("--url", "http://charms") == reader_of_command(given, {}).options


def test_whoever_reads_a_log_has_not_the_environment_of_the_service() -> None:
    """Where the service has its data by a variable, the commands in its log say so."""
    assert ("--data-dir", "/x") == reader_of_log(Settings(data_dir=Path("/x"))).options
    assert () == reader_of_log(Settings()).options


def hints() -> Iterator[tuple[str, str]]:
    """Every text of the program that names a command, and where it stands."""
    for file in PACKAGE_FOLDER.rglob("*.py"):
        tree = ast.parse(file.read_text())
        docs = {
            node.body[0].value
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docs:
                yield f"{file.name}:{node.lineno}", node.value


def test_each_command_in_a_text_is_marked_as_one() -> None:
    """In backquotes, or as code of a page: else nobody would make it typeable."""
    command = re.compile(r"(.{0,6})bg-charm-service (?:--[a-z]|(?!request\b)[a-z])")
    found = [(where, before) for where, text in hints() for before in command.findall(text)]
    assert len(found) > 15
    wrong = [where for where, before in found if not before.endswith(("`", "`sudo ", "<code>"))]
    assert [] == wrong
