"""Promises of the guides: their examples work, and the files, flags and events they name exist."""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bg_charm_service.api.hooks.deliveries import read_delivery
from bg_charm_service.api.hooks.signatures import is_signed
from bg_charm_service.cli.root import root
from bg_charm_service.daemon.settings import SETTINGS
from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.limits import LIMIT_NAMES
from bg_charm_service.scanning.discovery import Source, load_integration
from bg_charm_service.workers.runtime.charm_binding import describe, load_class
from tests.fakes.senders import github
from tests.unit.pages import PAGES, ROOT, rows, spans

PACKAGE = ROOT / "bg_charm_service"

#: Flags of other programs, and of the benchmarks, that the guides use or name.
FOREIGN_FLAGS = {
    *("--now", "--unix-socket", "--block-signal", "--unstable-kv", "--unstable-worker-options"),
    *("--no-install-recommends", "--no-pager", "--lines", "--silent", "--show-error", "--fail"),
    *("--osv-url", "--quick", "--write", "--rounds", "--runs", "--minutes", "--charms", "--folder"),
    *("--hours", "--kills", "--loops"),
}


def examples(page: str, marker: str) -> list[str]:
    """Return the Python examples of a page that have the marker in them."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.M)
    return [block for block in blocks if marker in block]


def options(command: click.Command) -> Iterator[str]:
    """Return every option of a command and of those below it."""
    yield from (name for param in command.params for name in param.opts)
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        yield from options(below)


CHARMS = [*examples("README.md", "(Charm)"), *examples("docs/charms.md", "(Charm)")]


@pytest.mark.parametrize("source", CHARMS)
def test_charms_can_be_added(source: str) -> None:
    """Every charm of README and of the author's guide loads, and can be polled."""
    schema = describe(load_class(source, "example.py", None))

    assert "bgUpdater" == schema.updater


def test_the_first_charm_has_five_lines() -> None:
    """README keeps its word about the five lines."""
    source = examples("README.md", "(Charm)")[0]

    assert 5 == len(source.splitlines())


@pytest.mark.parametrize("test", examples("docs/charms.md", "def test_"))
def test_the_examples_of_tests_pass(
    test: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests that the author's guide shows pass on the charms that it shows."""
    modules = set()
    for source in examples("docs/charms.md", "(Charm)"):
        (name,) = re.findall(r"^class (\w+)\(Charm\)", source, re.M)
        (tmp_path / f"{name.lower()}.py").write_text(source)
        modules.add(name.lower())
    (tmp_path / "test_charms.py").write_text(test)
    monkeypatch.syspath_prepend(str(tmp_path))

    found = runpy.run_path(str(tmp_path / "test_charms.py"))
    for name in modules & sys.modules.keys():
        sys.modules.pop(name)

    tests = [name for name in found if name.startswith("test_")]
    assert tests
    for name in tests:
        found[name]()


@pytest.mark.parametrize("source", examples("docs/integrations.md", "integration = "))
def test_integrations_load(source: str, tmp_path: Path) -> None:
    """Every integration of the guide is found and loaded from a directory."""
    file = tmp_path / "example.py"
    file.write_text(source)

    assert load_integration(Source("file", str(file))).id in source


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_flags_exist(page: Path) -> None:
    """Every flag that a page names belongs to the program or one of its commands."""
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page.read_text()))

    assert set() == named - set(options(root)) - {"--help"} - FOREIGN_FLAGS


def test_named_modules_exist() -> None:
    """Every file and folder that the page about the architecture names is in the package."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = re.findall(r"`([a-z_/]+(?:\.py|/))`", text)

    assert named
    assert [] == [n for n in named if not ((PACKAGE / n).exists() or (ROOT / n).exists())]


def test_named_tests_exist() -> None:
    """The page about the tests has a part for each folder, and the files that it names exist."""
    tests = ROOT / "tests"
    text = (tests / "README.md").read_text()
    named = re.findall(r"`([a-z_]+/[a-z_/]+(?:\.py)?)`", text)
    folders = {path.name for path in tests.iterdir() if path.is_dir() and path.name[0] not in "_."}

    assert folders == set(re.findall(r"^## (.*)$", text, re.M))
    assert named
    assert [] == [name for name in named if not any((at / name).exists() for at in (tests, ROOT))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_paths_exist(page: Path) -> None:
    """Every file that a page names with its folder is there: from the root, the package or here."""
    named = re.findall(r"`(\w[\w.-]*/(?:[\w.-]+/)*[a-z][a-z0-9_-]*\.(?:py|sh))`", page.read_text())
    places = (ROOT, PACKAGE, page.parent)

    assert [] == [name for name in named if not any((at / name).exists() for at in places)]


@pytest.mark.parametrize(
    ("page", "title"), [("operating", "Failures"), ("charms", "When it fails")]
)
def test_every_cause_of_failure_is_explained(page: str, title: str) -> None:
    """Operators and authors find each cause that a run can have, and no other."""
    explained = [cause for row in rows(f"docs/{page}.md", title) for cause in spans(row[0])]

    assert sorted(FailureCause) == sorted(explained)


def test_every_limit_is_listed_with_its_default() -> None:
    """The guide for operators has each limit: its name, the service's flag, and the default."""
    defaults = {setting.flag: setting.default for setting in SETTINGS}
    shown = [row for row in rows("docs/operating.md", "Limits") if row[0].startswith("`--")]

    assert [f"`--{each.name}`" for each in LIMIT_NAMES] == [row[0] for row in shown]
    for _, flag, default, _ in shown:
        assert defaults[flag.strip("`")] == default.removesuffix(" s")


def test_named_events_exist() -> None:
    """Every log event that the operator's guide names is one that the code writes."""
    sources = "".join(file.read_text() for file in PACKAGE.rglob("*.py"))
    _, _, table = (ROOT / "docs" / "operating.md").read_text().partition("| event | when |\n")
    rows = table.partition("\n\n")[0].splitlines()
    named = {name for row in rows for name in re.findall(r"`([a-z_.]+)`", row.split("|")[1])}

    parts = {name.removeprefix("status.").removesuffix("_more") for name in named}
    assert parts
    assert [] == sorted(part for part in parts if f'"{part}"' not in sources)


def linked_files() -> Iterator[tuple[str, str]]:
    """Return every relative link of the pages: the file that has it, and its target."""
    for page in PAGES:
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
            if "://" not in target:
                yield str(page.relative_to(ROOT)), target


def anchors(page: Path) -> set[str]:
    """Return the anchors that the headings of a page have."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize(("page", "target"), sorted(set(linked_files())))
def test_links_lead_somewhere(page: str, target: str) -> None:
    """Every relative link of a page leads to a file, and to a heading where it names one."""
    name, _, anchor = target.partition("#")
    file = (ROOT / page).parent / name if name else ROOT / page

    assert file.exists()
    assert not anchor or anchor in anchors(file)


def test_the_example_of_a_hook_takes_what_github_sends() -> None:
    """What is signed with its secret is taken, and its handler finds in the event what it wants."""
    (source,) = examples("docs/charms.md", "class Builds(Charm)")
    builds = load_class(source, "builds.py", None)
    hook = describe(builds).hooks["pushed"]
    push = github("shared", {"ref": "refs/heads/main", "after": "1f3c"}, delivery="1")
    assert is_signed(hook, ["shared"], push.headers, push.body, 0.0)
    charm = builds(github_secret="shared")
    charm.pushed(json.loads(read_delivery(hook, push.headers, push.body, 0.0).event))  # type: ignore[attr-defined]
    assert {"refs/heads/main": "1f3c"} == charm.newest  # type: ignore[attr-defined]
