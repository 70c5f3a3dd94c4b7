"""What a signature covers: all of the request, its time and its nonce."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from bg_charm_service.api.auth.request_signing import SCHEME, RequestText, Signature, authorization
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.identity import Identity

OWNER = Identity.from_passphrase("an owner")
REQUEST = RequestText("POST", "localhost:8000", "/api/charms/x/run?y=1", b"{}")


def signed(request: RequestText = REQUEST) -> Signature:
    """Sign a request and read the header again."""
    return Signature.parse(authorization(OWNER, request, 1000.9).removeprefix(f"{SCHEME} "))


def test_a_signature_holds_for_its_request() -> None:
    """What was signed is what holds; the header says who, when and which."""
    signature = signed()
    assert (OWNER.did(), 1000) == (signature.did, signature.time)
    assert signature.holds(REQUEST)
    assert signed().nonce != signature.nonce


@pytest.mark.parametrize(
    "change",
    [
        {"method": "PUT"},
        {"host": "localhost:8001"},
        {"target": "/api/charms/x/run"},
        {"target": "/api/charms/x/run?y=2"},
        {"body": b"{} "},
        {"body": b""},
    ],
    ids=str,
)
def test_it_holds_for_no_other_request(change: dict[str, Any]) -> None:
    """A change of any part breaks it."""
    assert not signed().holds(dataclasses.replace(REQUEST, **change))


@pytest.mark.parametrize(
    "change",
    [{"time": 1001}, {"nonce": "a" * 22}, {"did": Identity.from_passphrase("other").did()}],
    ids=str,
)
def test_time_nonce_and_signer_are_signed(change: dict[str, Any]) -> None:
    """Nothing of the header can be replaced."""
    assert not dataclasses.replace(signed(), **change).holds(REQUEST)


@pytest.mark.parametrize("text", ["", "nonsense", 'did="did:key:z6Mk", time="1"', "\n" * 100])
def test_what_is_no_signature_is_refused(text: str) -> None:
    """A header in another form says what is expected."""
    with pytest.raises(InvalidInput, match="Expected Charm-Signature did="):
        Signature.parse(text)
