"""The data key: sealed to identities, and encrypting values for one place."""

from __future__ import annotations

import base58
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bg_charm_service.domain.errors import AuthorizationError, InvalidInput
from bg_charm_service.domain.identity import Identity
from bg_charm_service.storage.secret_encryption import DataKey

OWNER = Identity.from_passphrase("the owner")
STRANGER = Identity.from_passphrase("a stranger")
KEY = DataKey.generate()
SECRET = b'{"token": "hunter2"}'
PLACE = b"space/charm/auth"


@given(st.binary(min_size=32, max_size=32))
def test_sealed_key_opens_for_its_identity(seed: bytes) -> None:
    """Sealing needs the DID alone; opening needs the identity behind it."""
    identity = Identity.from_seed(seed)
    assert DataKey.unseal(KEY.seal_to(identity.did()), identity) == KEY


def test_sealed_key_stays_shut_for_others() -> None:
    """Another identity is refused, and told which identity it is."""
    sealed = KEY.seal_to(OWNER.did())
    with pytest.raises(AuthorizationError, match=STRANGER.did()):
        DataKey.unseal(sealed, STRANGER)


def test_damaged_seal_is_refused() -> None:
    """A sealed key that lost or changed bytes never gives a key."""
    sealed = KEY.seal_to(OWNER.did())
    for damaged in (b"", sealed[:40], sealed[:-1], sealed[:-1] + bytes([sealed[-1] ^ 1])):
        with pytest.raises(AuthorizationError):
            DataKey.unseal(damaged, OWNER)


@pytest.mark.parametrize(
    "did",
    [
        "nobody",
        "did:key:z" + base58.b58encode(b"\xed\x01\x01" + bytes(31)).decode(),
        "did:key:z" + base58.b58encode(b"\xed\x01\x02" + bytes(31)).decode(),
    ],
    ids=["no did", "weak point", "not a point"],
)
def test_sealing_to_a_useless_did_is_refused(did: str) -> None:
    """A key is never sealed to a DID that nobody, or anybody, can stand behind."""
    with pytest.raises(InvalidInput):
        KEY.seal_to(did)


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_encrypted_value_comes_back(plaintext: bytes, context: bytes) -> None:
    """What was encrypted for a place is decrypted there."""
    assert KEY.decrypt(KEY.encrypt(plaintext, context), context) == plaintext


def test_encryption_hides_the_value() -> None:
    """The same value is stored differently each time, and never readable."""
    one, other = KEY.encrypt(SECRET, PLACE), KEY.encrypt(SECRET, PLACE)
    assert one != other
    assert b"hunter2" not in one


def test_moved_value_does_not_decrypt() -> None:
    """A ciphertext copied to another place is refused."""
    with pytest.raises(InvalidInput, match="does not decrypt"):
        KEY.decrypt(KEY.encrypt(SECRET, PLACE), b"space/another/auth")


def test_another_key_does_not_decrypt() -> None:
    """A value of another store is refused."""
    with pytest.raises(InvalidInput, match="does not decrypt"):
        DataKey.generate().decrypt(KEY.encrypt(SECRET, PLACE), PLACE)


@given(st.data())
def test_altered_value_does_not_decrypt(data: st.DataObject) -> None:
    """A change of any one bit, or a cut at any length, is noticed."""
    encrypted = KEY.encrypt(SECRET, PLACE)
    position = data.draw(st.integers(0, len(encrypted) - 1))
    flipped = bytearray(encrypted)
    flipped[position] ^= 1 << data.draw(st.integers(0, 7))
    for altered in (bytes(flipped), encrypted[:position]):
        with pytest.raises(InvalidInput, match="does not decrypt"):
            KEY.decrypt(altered, PLACE)


def test_key_never_shows_its_bytes() -> None:
    """A data key printed by accident shows nothing."""
    assert [repr(KEY), str(KEY), f"{KEY}"] == ["DataKey(…)"] * 3
