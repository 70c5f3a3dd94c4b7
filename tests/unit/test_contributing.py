"""Promises of CONTRIBUTING.md and findings: what they name is there, and nothing is left out."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.unit.pages import ROOT, TARGETS, check_exists, rows, section, spans

PAGE = "CONTRIBUTING.md"
FINDINGS = sorted((ROOT / "findings").iterdir())

#: What tests need beside tests.
NO_KINDS = {"fakes", "fixtures"}


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_makefile_targets_are_named(target: str) -> None:
    """Every task of the Makefile is named as `make TASK`."""
    assert re.search(rf"`make {target}(NAME)?[ `]", section(PAGE, "Setting up"))


def test_named_tasks_exist() -> None:
    """Every task that the table names can be called."""
    named = [span for row in rows(PAGE, "Setting up") for cell in row for span in spans(cell)]

    for span in named:
        if span.startswith("make "):
            check_exists(span)


def test_kinds_of_tests_are_the_folders() -> None:
    """Every folder of tests says what it proves, and there is no other."""
    folders = {
        f"tests/{path.name}/"
        for path in (ROOT / "tests").iterdir()
        if path.is_dir() and not path.name.startswith(("_", "."))
    }
    shown = {span for row in rows(PAGE, "Kinds of tests") for span in spans(row[0])}

    assert folders - {f"tests/{name}/" for name in NO_KINDS} == shown


@pytest.mark.parametrize("what", ["setting", "limit", "route", "integration", "charm", "finding"])
def test_it_says_how_to_add(what: str) -> None:
    """What people add most has its steps."""
    assert re.search(rf"^### an? {what}$", section(PAGE, "How to add …"), re.MULTILINE)


@pytest.mark.parametrize("path", FINDINGS, ids=lambda path: path.name)
def test_findings_stand_by_themselves(path: Path) -> None:
    """A finding is a program that stops at the first surprise, and uses none of our own code."""
    text = path.read_text()

    assert path.suffix == ".sh"
    assert os.access(path, os.X_OK)
    assert "set -euo pipefail" in text
    assert "bg_charm_service" not in text
    installed = re.findall(r"pip\b.* install (.+)$", text, re.MULTILINE)
    packages = [word for line in installed for word in line.split() if not word.startswith("-")]
    # What the kernel does needs none.
    assert packages
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", word) for word in packages)
