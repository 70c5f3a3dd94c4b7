"""Promises of docs/decisions: each has a status, and what replaces what is said on both sides."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.pages import ROOT, table_rows

FOLDER = ROOT / "docs" / "decisions"
DECISIONS = sorted(FOLDER.glob("[0-9]*.md"))

#: Below the title stand the day and the status; both links of a status name a note.
HEAD = re.compile(
    r"# (?P<number>\d{4}): .+\n\n"
    r"\d{4}-\d\d-\d\d\n\n"
    r"Status: (?:accepted(?:, replaces (?P<replaces>.+))?|replaced by (?P<replaced>.+))\n\n"
)
LINK = re.compile(r"\[(\d{4})\]\((\1-[a-z-]+\.md)\)")


def head(path: Path) -> re.Match[str]:
    """Read the head of a decision."""
    found = HEAD.match(path.read_text())
    assert found, f"{path.name}: no status"
    return found


def links(text: str | None) -> set[str]:
    """Return the notes that a status names, by their files; nothing else stands there."""
    assert not text or not LINK.sub("", text).replace("and", "").strip(" ,")
    return {file for _, file in LINK.findall(text or "")}


def pairs(which: str) -> set[tuple[str, str]]:
    """Return each decision with each one that its status names."""
    return {(path.name, other) for path in DECISIONS for other in links(head(path)[which])}


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_each_has_a_status(path: Path) -> None:
    """It was accepted, or is replaced; and its number is that of its file."""
    assert path.name.startswith(head(path)["number"])


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_each_says_why(path: Path) -> None:
    """A decision has a context, is decided, and has consequences."""
    for part in ("**Context.**", "**Decision", "**Consequence.**"):
        assert part in path.read_text()


def test_what_replaces_and_what_is_replaced_agree() -> None:
    """The new note names the old one, and the old one the new one; both are there."""
    replaced = pairs("replaced")

    assert replaced
    assert {(new, old) for old, new in replaced} == pairs("replaces")
    assert {name for pair in replaced for name in pair} <= {path.name for path in DECISIONS}


def test_a_decision_is_replaced_by_a_later_one() -> None:
    """Time goes one way."""
    assert all(old < new for old, new in pairs("replaced"))


def test_numbers_are_given_once() -> None:
    """No two decisions have the same number."""
    numbers = [path.name[:4] for path in DECISIONS]

    assert sorted(set(numbers)) == numbers


def test_the_list_names_each_in_order() -> None:
    """README of the folder has each decision once, by its number, and marks those that are over."""
    shown = table_rows((FOLDER / "README.md").read_text())

    assert [f"[{path.name[:4]}]({path.name})" for path in DECISIONS] == [row[0] for row in shown]
    for path, (_, about) in zip(DECISIONS, shown, strict=True):
        over = links(head(path)["replaced"])
        assert bool(over) == ("(replaced by" in about)
        assert all(f"(replaced by {name[:4]})" in about for name in over)
