"""Who may change what: owners of a space, and nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from bg_charm_service.domain.identity import Identity, space_did
from tests.process.program import COUNTER, Program

SECOND_PASS = "the second operator"
SECOND_DID = Identity.from_passphrase(SECOND_PASS).did()


def first_operator(folder: Path) -> Program:
    """Give the first operator of a data directory, with a charm of hers."""
    program = Program(folder / "data", OPERATOR_PASS="the first operator")
    (folder / "counter.py").write_text(COUNTER)
    program.output("charm", "add", str(folder / "counter.py"), "--space=hers", "--register")
    return program


def second_operator(owner: Program) -> Program:
    """Give another operator of the same directory."""
    return Program(owner.data_dir, OPERATOR_PASS=SECOND_PASS)


@pytest.fixture
def owner(tmp_path: Path) -> Program:
    """The first operator of a directory of this test."""
    return first_operator(tmp_path)


@pytest.fixture
def other(owner: Program) -> Program:
    """The second operator of that directory, whom nobody has let in."""
    return second_operator(owner)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The first operator of a directory in which nothing changes; she has let the second one in."""
    program = first_operator(tmp_path_factory.mktemp("owned"))
    program.output("add-admin-charm", f"--grant={SECOND_DID}")
    return program


def test_stranger_is_told_how_to_get_in(owner: Program, other: Program) -> None:
    """Who was not granted the system space learns who can grant it, and by which command."""
    text = other.error("status")
    assert "AuthorizationError" in text
    assert owner.output("identity", "did") in text
    assert SECOND_DID == other.output("identity", "did")
    assert f"add-admin-charm --grant {SECOND_DID}" in text


def test_the_did_is_that_of_the_service_that_runs(owner: Program) -> None:
    """Whatever the caller's own default is; a key that is given with the command is asked about."""
    did = owner.output("identity", "did")
    caller = Program(owner.data_dir)
    stopped = caller.run("identity", "did")
    assert did != stopped.stdout.strip()
    assert "The public default" in stopped.stderr
    with owner.service():
        told = caller.run("identity", "did")
        assert (did, "") == (told.stdout.strip(), told.stderr)
        assert SECOND_DID == second_operator(owner).output("identity", "did")


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
    first: Program, command: tuple[str, ...]
) -> None:
    """The system space is not every space: a change elsewhere needs its owner's grant."""
    before = state_of(first)
    refused = second_operator(first).error(*command)
    assert f"space grant {space_did('hers')} {SECOND_DID}" in refused
    assert before == state_of(first)


def test_owner_can_share_a_space(owner: Program, other: Program) -> None:
    """Once granted, the other one may change what is in it."""
    owner.output("add-admin-charm", f"--grant={SECOND_DID}")
    owner.output("space", "grant", "hers", SECOND_DID)
    other.output("charm", "set", "hers/counter", "counter", "7")
    assert 7 == owner.value("charm", "get", "hers/counter", "counter", "--json")


def state_of(program: Program) -> object:
    """All that is known of her charm."""
    return program.value("charm", "show", "hers/counter")
