"""The promises of request bodies: what is taken, and how a refusal names the member."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bg_charm_service.api.requests import LimitsBody, RegistrationBody, read_charm, to_json
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.identity import space_did
from bg_charm_service.domain.limits import LIMIT_NAMES
from bg_charm_service.domain.merkle import refer
from bg_charm_service.domain.views import NewCharm

DEMO = space_did("demo")
CHARM_ID = refer({})


def registration(**members: object) -> RegistrationBody:
    """Read a registration with these members."""
    return RegistrationBody.read(json.dumps(members).encode())


@pytest.mark.parametrize("name", ["pieceId", "charmId"])
def test_a_registration_takes_both_names_of_a_charm(name: str) -> None:
    """The original's button sends pieceId, its older documents charmId."""
    body = registration(**{name: CHARM_ID, "space": DEMO, "integration": "my-test", "more": 1})
    assert (DEMO, CHARM_ID) == (body.space, body.charm)
    assert "my-test" == body.integration


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"nonsense", "The body is not JSON."),
        (b"", "The body is not JSON."),
        (b"[" * 100_000, "The body is not JSON."),
        (b'"text"', "The body is not a JSON object."),
        (b'{"integration": "x", "pieceId": "y"}', "space: Field required"),
        (b'{"space": "x", "pieceId": "y"}', "integration: Field required"),
        (b'{"space": 1, "integration": "x", "pieceId": "y"}', "space: Input should be a valid"),
        (b'{"space": "\\ud800", "integration": "x"}', "space: This is not valid Unicode text"),
    ],
)
def test_a_bad_registration_names_the_member(body: bytes, reason: str) -> None:
    """A registration that cannot be read says which member is wrong, and why."""
    with pytest.raises(InvalidInput, match=f"^{reason}"):
        RegistrationBody.read(body)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"space": DEMO}, "pieceId: Field required"),
        (
            {"space": "did:key:demo", "pieceId": CHARM_ID},
            "space: Invalid space ID: did:key:demo. Must be a valid DID.",
        ),
        ({"space": "", "pieceId": CHARM_ID}, "space: The space's name is empty."),
        ({"space": DEMO, "pieceId": CHARM_ID, "charmId": refer(1)}, "pieceId and charmId name two"),
    ],
)
def test_a_registration_names_one_charm(members: dict[str, Any], reason: str) -> None:
    """The texts are the original's, behind the member that is wrong."""
    with pytest.raises(InvalidInput, match=f"^{reason}"):
        registration(integration="x", **members)


def test_a_registration_takes_names() -> None:
    """A space's name and a charm's cause are taken as they are: the service knows them."""
    body = registration(space="demo", pieceId="hello", integration="x")
    assert ("demo", "hello") == (body.space, body.charm)


def test_a_line_of_an_import_needs_source_and_space() -> None:
    """Everything else has a default."""
    assert NewCharm(
        source="x",
        file_name="charm.py",
        space="demo",
        class_name=None,
        values={},
        links={},
        writable_links={},
        cause=None,
        register=False,
        integration="",
    ) == read_charm({"source": "x", "space": "demo"})


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (5, "This is not a JSON object"),
        ({"space": "demo"}, "source: Field required"),
        ({"source": "x", "space": "demo", "sett": {}}, "sett: There is no such member"),
        ({"source": "x", "space": "demo", "register": "yes"}, "register: Input should be a valid"),
        ({"source": "\ud800", "space": "demo"}, "source: This is not valid Unicode text"),
        ({"source": "x", "space": "demo", "set": {"a": float("nan")}}, "set.a: This is not a JSON"),
    ],
)
def test_a_bad_line_of_an_import_names_the_member(value: object, reason: str) -> None:
    """Nothing is guessed: unknown members, wrong types and what JSON cannot hold are refused."""
    with pytest.raises(InvalidInput, match=f"^{reason}"):
        read_charm(value)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_values_keep_what_they_say(value: object) -> None:
    """A value of a body means the same as stored JSON."""
    assert value == json.loads(to_json(value, "value"))


def test_every_limit_can_be_given() -> None:
    """A body about limits takes each limit that there is, under its name."""
    assert [each.name for each in LIMIT_NAMES] == list(LimitsBody.model_fields)
