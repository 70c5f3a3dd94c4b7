"""The DIDs of Ed25519 keys: whether a text is one, and which key it names.

Apart from the keys themselves, so that who only reads names has no cryptography to load: every
worker is forked with what its zygote has loaded. Used by `identity` and whoever takes DIDs.
"""

from __future__ import annotations

from functools import lru_cache

import base58

from bg_charm_service.domain.errors import InvalidInput

_DID_PREFIX = "did:key:z"
_ED25519_MULTICODEC = b"\xed\x01"
_PUBLIC_KEY_BYTES = 32
#: The prefix and the 47 base58 digits that 34 bytes starting with 0xed always take.
_DID_CHARACTERS = len(_DID_PREFIX) + 47


def is_did(text: str) -> bool:
    """Tell whether the text is the DID of an Ed25519 key."""
    return len(text) == _DID_CHARACTERS and _decode_did(text) is not None


def did_of(public_key: bytes) -> str:
    """Give the DID of a public key's 32 bytes."""
    return _DID_PREFIX + base58.b58encode(_ED25519_MULTICODEC + public_key).decode("ascii")


def public_key_of(did: str) -> bytes:
    """Give the 32 bytes of the public key that a DID names; raises InvalidInput."""
    public_key = _decode_did(did) if len(did) == _DID_CHARACTERS else None
    if public_key is None:
        raise InvalidInput(f"Not a DID of an Ed25519 key: {did!a:.100}.")
    return public_key


@lru_cache(maxsize=4096)
def _decode_did(text: str) -> bytes | None:
    if not text.startswith(_DID_PREFIX):
        return None
    digits = text.removeprefix(_DID_PREFIX)
    try:
        key = base58.b58decode(digits)
    except ValueError:
        return None
    # The library takes trailing white space; a name must have one spelling only.
    if digits[-1].isspace() or not key.startswith(_ED25519_MULTICODEC):
        return None
    public_key = key.removeprefix(_ED25519_MULTICODEC)
    return public_key if len(public_key) == _PUBLIC_KEY_BYTES else None
