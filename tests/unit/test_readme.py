"""Promises of README: short enough to be read, and what it names exists."""

from __future__ import annotations

import shlex

import pytest

from tests.unit.pages import ROOT, check_program_call, rows, section, spans

README = (ROOT / "README.md").read_text()

#: Whoever reads README to its end has seen every other page named.
DOCUMENTS = sorted(path.name for path in (ROOT / "docs").glob("*.md"))


def test_it_has_fewer_than_200_lines() -> None:
    """What README says can be read in one sitting; everything else has a page of its own."""
    assert len(README.splitlines()) < 200


def test_named_commands_exist() -> None:
    """Every row of the table of commands can be called."""
    shown = rows("README.md", "For operators")

    assert shown
    for row in shown:
        for span in spans(row[0]):
            check_program_call(shlex.split(span))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_page_is_linked(name: str) -> None:
    """Every page of docs is reached from the end of README."""
    assert f"(docs/{name})" in section("README.md", "More")


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "LICENSE"])
def test_what_people_look_for_first_is_linked(name: str) -> None:
    """How to help, how to report, what is new, and on what terms."""
    assert f"({name})" in section("README.md", "More")
