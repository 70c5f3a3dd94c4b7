"""Finding integrations and loading them, each failure by itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.scanning.discovery import (
    ENTRY_POINT_GROUP,
    Source,
    find_sources,
    load_integration,
)

GOOD = """
class Mine:
    id = "mine"
    name = "Mine"
    def initialize(self): ...
    def get_integration_config(self): ...
"""


@pytest.fixture(autouse=True)
def _import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


def load(tmp_path: Path, code: str, name: str = "one.py") -> str:
    """Load code as a file of --integrations-dir and give its id."""
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(code)
    return load_integration(Source("file", str(file))).id


def test_shipped_integrations_are_found() -> None:
    """Every module of the integrations folder is a source, and each of them loads."""
    sources, problems = find_sources(None)
    shipped = [source for source in sources if source.kind == "module"]
    assert ["calendar", "discord", "gcal", "gmail", "mail", "opml", "rss"] == [
        load_integration(source).id for source in shipped
    ]
    assert [] == problems


def test_directory_is_looked_through(tmp_path: Path) -> None:
    """Python files and packages count; helpers with an underscore and other files do not."""
    for name in ("b.py", "a.py", "_helper.py", "notes.txt", ".hidden.py"):
        (tmp_path / name).write_text("")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "empty").mkdir()
    sources, problems = find_sources(tmp_path)
    files = [source.name for source in sources if source.kind == "file"]
    assert [str(tmp_path / name) for name in ("a.py", "b.py", "package/__init__.py")] == files
    assert [] == problems


def test_missing_directory_is_reported_and_costs_nothing_else(tmp_path: Path) -> None:
    """The shipped ones are there all the same."""
    sources, problems = find_sources(tmp_path / "nowhere")
    assert sources == find_sources(None)[0]
    assert [f"--integrations-dir {tmp_path / 'nowhere'}: No such file or directory"] == problems


@pytest.mark.parametrize("ending", ["integration = Mine()", "integration = Mine"])
def test_file_gives_its_integration(tmp_path: Path, ending: str) -> None:
    """The module attribute `integration` is used; a class is made into an object."""
    assert "mine" == load(tmp_path, GOOD + ending)


def test_package_may_import_its_own_modules(tmp_path: Path) -> None:
    """An integration may be spread over files."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "inner.py").write_text(GOOD)
    code = "from .inner import Mine\nintegration = Mine()"
    assert "mine" == load(tmp_path, code, "parts/__init__.py")


def test_file_may_import_a_helper_beside_it(tmp_path: Path) -> None:
    """The directory is on the import path, after everything else."""
    (tmp_path / "_kept_beside_it.py").write_text(GOOD)
    assert "mine" == load(tmp_path, "from _kept_beside_it import Mine\nintegration = Mine()")
    assert str(tmp_path) == sys.path[-1]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("1 +", r"SyntaxError: invalid syntax \(one.py, line 1\)"),
        ("import not_there_at_all", r"ModuleNotFoundError: .*not_there_at_all.*\(one.py, line 1\)"),
        ("\nraise ValueError('two\\nlines')", r"ValueError: two lines \(one.py, line 2\)"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("", "it has no `integration = MyIntegration"),
        ("integration = None", "its `id` must be a short name, not None"),
        (GOOD + "integration = Mine(); integration.id = 'a b'", "its `id` must be a short name"),
        (GOOD + "integration = Mine(); integration.id = 'manual'", "reserved for --charms"),
        (GOOD + "integration = Mine(); integration.name = 1", "its `name` must be text, not 1"),
        (
            GOOD + "integration = Mine(); integration.get_integration_config = 0",
            "it has no method `get_integration_config`",
        ),
    ],
)
def test_broken_source_says_why(tmp_path: Path, code: str, reason: str) -> None:
    """The reason is one line, with the place where there is one."""
    with pytest.raises(InvalidInput, match=reason) as caught:
        load(tmp_path, code)
    assert "\n" not in str(caught.value)


def test_entry_points_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another distribution offers an integration under the group's name."""
    (tmp_path / "their_integration.py").write_text(GOOD + "integration = Mine()")
    metadata = tmp_path / "their_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        f"[{ENTRY_POINT_GROUP}]\ntheirs = their_integration:integration\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    source = Source("entry point", "theirs")
    assert source in find_sources(None)[0]
    assert "mine" == load_integration(source).id
