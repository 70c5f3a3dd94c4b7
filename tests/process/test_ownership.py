"""Who may change what: owners of a space, and nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.program import COUNTER, Program


@pytest.fixture
def owner(tmp_path: Path) -> Program:
    """The first operator of a data directory, with a charm of hers."""
    program = Program(tmp_path / "data", OPERATOR_PASS="the first operator")
    (tmp_path / "counter.py").write_text(COUNTER)
    program.output("charm", "add", str(tmp_path / "counter.py"), "--space=hers", "--register")
    return program


@pytest.fixture
def other(owner: Program) -> Program:
    """Another operator of the same directory."""
    return Program(owner.data_dir, OPERATOR_PASS="the second operator")


def test_stranger_is_told_how_to_get_in(owner: Program, other: Program) -> None:
    """Who was not granted the system space learns who can grant it, and by which command."""
    text = other.error("status")
    did = other.output("identity", "did").strip()
    assert "AuthorizationError" in text
    assert owner.output("identity", "did").strip() in text
    assert f"add-admin-charm --grant {did}" in text


@pytest.mark.parametrize(
    "command",
    [
        ("charm", "set", "hers/counter", "counter", "7"),
        ("charm", "disable", "hers/counter"),
        ("charm", "enable", "hers/counter"),
        ("charm", "send", "hers/counter"),
        ("charm", "run", "hers/counter"),
        ("charm", "remove", "--yes", "hers/counter"),
        ("unregister", "hers/counter"),
        ("register", "hers/counter"),
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_granted_operator_keeps_out_of_spaces_of_others(
    owner: Program, other: Program, command: tuple[str, ...]
) -> None:
    """The system space is not every space: a change elsewhere needs its owner's grant."""
    did = other.output("identity", "did").strip()
    owner.output("add-admin-charm", f"--grant={did}")
    assert f"space grant {other_space(owner)} {did}" in other.error(*command)
    assert 0 == owner.value("charm", "get", "hers/counter", "counter", "--json")


def test_owner_can_share_a_space(owner: Program, other: Program) -> None:
    """Once granted, the other one may change what is in it."""
    did = other.output("identity", "did").strip()
    owner.output("add-admin-charm", f"--grant={did}")
    owner.output("space", "grant", "hers", did)
    other.output("charm", "set", "hers/counter", "counter", "7")
    assert 7 == owner.value("charm", "get", "hers/counter", "counter", "--json")


def other_space(program: Program) -> str:
    """The DID of the owner's space."""
    return program.output("space", "did", "hers").strip()
