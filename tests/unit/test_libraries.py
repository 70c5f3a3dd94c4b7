"""The charms of `make libraries`: all are tried, all they need is pinned, and the page has them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from libraries.catalogue import (
    CHARMS,
    COST_A_WORKER,
    GROUPS,
    NUMERIC,
    POLLED,
    PYTHON,
    REFUSED,
    LibraryCharm,
    read_charm,
)

ROOT = Path(__file__).parents[2]
LISTED = [*(name for names in GROUPS.values() for name in names), *REFUSED]


def folded(name: str) -> str:
    """A name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(file: Path) -> dict[str, str]:
    """The versions that a file of requirements has."""
    found = (line.split("==") for line in file.read_text().splitlines() if "==" in line)
    return {folded(name): version for name, version in found}


def test_every_charm_is_tried_once() -> None:
    """None lies in the folder that nobody runs, and none is listed that is not there."""
    assert sorted([*LISTED, POLLED]) == sorted(path.stem for path in CHARMS.glob("*.py"))
    assert {*NUMERIC, *COST_A_WORKER} <= {*LISTED} - REFUSED.keys()


@pytest.mark.parametrize("name", [*LISTED, POLLED])
def test_what_a_charm_needs_is_pinned(name: str) -> None:
    """Its library is installed by the command, comes with the service, or is in its own block."""
    charm = read_charm(name)
    assert charm.use
    if charm.library == PYTHON or f'"{charm.library}"' in charm.source.partition("# ///\n")[0]:
        return
    of_the_service = ("loguru", "tenacity", "rich")
    have = pinned(ROOT / "libraries" / "requirements.txt")
    assert folded(charm.library) in have or charm.library in of_the_service


def test_versions_are_those_of_the_service() -> None:
    """What both files pin is one version: both are installed into one environment."""
    here, there = (
        pinned(ROOT / name) for name in ("libraries/requirements.txt", "constraints.txt")
    )
    assert {} == {
        name: (here[name], there[name])
        for name in here.keys() & there.keys()
        if here[name] != there[name]
    }


def test_the_page_has_every_charm() -> None:
    """It was written by the command since the last charm was added or taken away."""
    page = (ROOT / "docs" / "libraries.md").read_text()
    rows = [
        tuple(cells[1:4:2])
        for cells in ([cell.strip() for cell in line.split("|")] for line in page.splitlines())
        if len(cells) > 5 and cells[1] not in ("library", "---")
    ]
    expected = [_row(read_charm(name)) for name in LISTED]
    assert expected == [row for row in rows if row in set(expected)]
    assert f"{len(LISTED)} small charms" in page


def _row(charm: LibraryCharm) -> tuple[str, str]:
    return charm.library, charm.use
