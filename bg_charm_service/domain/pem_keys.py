"""Ed25519 private keys in PKCS#8 PEM: written in the one usual form, read in any.

The usual form is read here, because the library for the others takes some megabytes: it is loaded
only for them. Used by `identity`.
"""

from __future__ import annotations

import base64
import re

from bg_charm_service.domain.errors import InvalidInput

#: What stands in front of the seed in the usual form (RFC 8410).
_PREFIX = bytes.fromhex("302e020100300506032b657004220420")

_USUAL = re.compile(
    rb"-----BEGIN PRIVATE KEY-----\r?\n([A-Za-z0-9+/]{64})\r?\n-----END PRIVATE KEY-----\s*"
)


def pem_of(seed: bytes) -> bytes:
    """Write a seed as unencrypted PKCS#8 PEM."""
    text = base64.b64encode(_PREFIX + seed)
    return b"-----BEGIN PRIVATE KEY-----\n%b\n-----END PRIVATE KEY-----\n" % text


def seed_of(pem: bytes) -> bytes:
    """Read the seed from an unencrypted PKCS#8 PEM key; raises InvalidInput for any other."""
    usual = _USUAL.fullmatch(pem)
    key = base64.b64decode(usual[1]) if usual else b""
    return key[len(_PREFIX) :] if key.startswith(_PREFIX) else _seed_of_unusual(pem)


def _seed_of_unusual(pem: bytes) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise InvalidInput(
            "The PEM key is encrypted; give an Ed25519 key without a password."
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidInput(
            "This is not a readable PEM private key; expected an Ed25519 key in PKCS#8 form, "
            "which starts with -----BEGIN PRIVATE KEY-----."
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        kind = type(key).__name__.removesuffix("PrivateKey").strip("_")
        raise InvalidInput(f"The PEM key is not an Ed25519 key but one of kind {kind}.")
    return key.private_bytes_raw()
