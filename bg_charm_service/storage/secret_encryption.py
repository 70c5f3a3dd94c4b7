"""The store's data key: what encrypts secrets at rest, and how it is handed to identities.

Owns the two byte formats, a sealed data key and an encrypted value. Must not store anything,
nor decide who may read: the store keeps the bytes and calls this with the identity it has.
"""

from __future__ import annotations

from dataclasses import dataclass

from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_KEYBYTES
from nacl.exceptions import CryptoError
from nacl.public import SealedBox
from nacl.secret import Aead
from nacl.signing import SigningKey, VerifyKey
from nacl.utils import random

from bg_charm_service.domain.errors import AuthorizationError, InvalidInput
from bg_charm_service.domain.identity import Identity, public_key_of

_KEY_BYTES = crypto_aead_xchacha20poly1305_ietf_KEYBYTES

#: First byte of an encrypted value: XChaCha20-Poly1305, then 24 bytes of nonce and the ciphertext.
_FORMAT = b"\x01"


@dataclass(frozen=True, slots=True, repr=False)
class DataKey:
    """The random key that encrypts a store's secrets; it never shows its bytes."""

    _key: bytes

    def __post_init__(self) -> None:
        if len(self._key) != _KEY_BYTES:
            raise InvalidInput(f"A data key is {_KEY_BYTES} bytes long; this is {len(self._key)}.")

    @classmethod
    def generate(cls) -> DataKey:
        """Make a new random key."""
        return cls(random(_KEY_BYTES))

    @classmethod
    def unseal(cls, sealed: bytes, identity: Identity) -> DataKey:
        """Open a key sealed to this identity; raises AuthorizationError when it was not."""
        private_key = SigningKey(identity.seed).to_curve25519_private_key()
        try:
            return cls(SealedBox(private_key).decrypt(sealed))
        except (CryptoError, InvalidInput):
            raise AuthorizationError(
                f"The key to this store's secrets is not sealed to {identity.did()}, or is damaged."
            ) from None

    def seal_to(self, did: str) -> bytes:
        """Encrypt this key so that only the DID's identity can open it; raises InvalidInput."""
        verify_key = VerifyKey(public_key_of(did))
        try:
            public_key = verify_key.to_curve25519_public_key()
        except CryptoError:
            raise InvalidInput(f"Nothing can be sealed to {did}: its key is weak.") from None
        return SealedBox(public_key).encrypt(self._key)

    def encrypt(self, plaintext: bytes, context: bytes) -> bytes:
        """Encrypt a value; only the same context, the place where it is kept, decrypts it."""
        return _FORMAT + Aead(self._key).encrypt(plaintext, _FORMAT + context)

    def decrypt(self, encrypted: bytes, context: bytes) -> bytes:
        """Give back the value; raises InvalidInput when key, context or bytes are not the same."""
        try:
            if encrypted[:1] != _FORMAT:
                raise CryptoError
            return Aead(self._key).decrypt(encrypted[1:], _FORMAT + context)
        except (CryptoError, ValueError):
            raise InvalidInput(
                "A secret does not decrypt: its bytes were altered or moved, "
                "or belong to another store."
            ) from None

    def __repr__(self) -> str:
        return "DataKey(…)"
