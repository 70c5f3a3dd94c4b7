"""Ed25519 identities, their DIDs, and the DIDs of named spaces.

Owns every form a key is given in: passphrase, PKCS#8 PEM, BIP-39 phrase, raw seed.
Must not read files or settings, and no text or error made here shows a secret.
Imported by every layer, so it imports nothing of ours but what is below it: errors, DIDs, PEM.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from functools import cached_property, lru_cache

from mnemonic import Mnemonic
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from bg_charm_service.domain.dids import did_of, is_did, public_key_of
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.pem_keys import pem_of, seed_of

#: The name of the space that holds the service's own cells.
SYSTEM_SPACE_NAME = "toolshed-system"

#: The operator's passphrase when none is set; everybody knows it.
DEFAULT_PASSPHRASE = "implicit trust"

#: The passphrase of the identity that named spaces are derived from; everybody knows it.
COMMON_USER_PASSPHRASE = "common user"

_SEED_BYTES = 32
_PHRASE_WORDS = 24


@dataclass(frozen=True, repr=False)
class Identity:
    """An Ed25519 key pair, known to others by its DID."""

    seed: bytes

    def __post_init__(self) -> None:
        if len(self.seed) != _SEED_BYTES:
            raise InvalidInput(
                f"An Ed25519 seed is {_SEED_BYTES} bytes long; this one is {len(self.seed)}."
            )

    @classmethod
    def generate(cls) -> Identity:
        """Make a new random identity."""
        return cls(secrets.token_bytes(_SEED_BYTES))

    @classmethod
    def from_seed(cls, seed: bytes) -> Identity:
        """Take the 32 bytes of an Ed25519 private key."""
        return cls(bytes(seed))

    @classmethod
    def from_passphrase(cls, passphrase: str) -> Identity:
        """Make the identity that this passphrase always gives; an empty one is refused."""
        if not passphrase:
            raise InvalidInput("The passphrase is empty.")
        return cls(hashlib.sha256(_utf8(passphrase, "The passphrase")).digest())

    @classmethod
    def from_pem(cls, pem: bytes) -> Identity:
        """Read an unencrypted PKCS#8 PEM private key."""
        return cls(seed_of(pem))

    @classmethod
    def from_mnemonic(cls, phrase: str) -> Identity:
        """Read a BIP-39 phrase of 24 English words, which carry the seed itself."""
        words = phrase.lower().split()
        if len(words) != _PHRASE_WORDS:
            raise InvalidInput(
                f"The recovery phrase has {len(words)} words; expected {_PHRASE_WORDS}."
            )
        bip39 = _bip39()
        known = frozenset(bip39.wordlist)
        for position, word in enumerate(words, start=1):
            if word not in known:
                raise InvalidInput(
                    f"Word {position} of the recovery phrase is not in the English BIP-39 list."
                )
        try:
            return cls(bytes(bip39.to_entropy(words)))
        except ValueError:
            raise InvalidInput(
                "The recovery phrase's checksum is wrong: a word is mistyped or out of order."
            ) from None

    def derive(self, name: str) -> Identity:
        """Make the identity that belongs to this one under a name."""
        return Identity(hashlib.sha256(self.sign(_utf8(name, "The name"))).digest())

    def did(self) -> str:
        """Give the DID that names this identity's public key."""
        return self._did

    def to_pem(self) -> bytes:
        """Write the private key as unencrypted PKCS#8 PEM."""
        return pem_of(self.seed)

    def to_mnemonic(self) -> str:
        """Write the private key as a BIP-39 phrase of 24 English words."""
        return _bip39().to_mnemonic(self.seed)

    def sign(self, message: bytes) -> bytes:
        """Make the Ed25519 signature of a message."""
        return self._key.sign(message).signature

    def __repr__(self) -> str:
        return f"Identity({self.did()})"

    @cached_property
    def _key(self) -> SigningKey:
        return SigningKey(self.seed)

    @cached_property
    def _did(self) -> str:
        return did_of(bytes(self._key.verify_key))


def verify(did: str, message: bytes, signature: bytes) -> bool:
    """Tell whether the DID's identity made this signature; raises InvalidInput for no DID."""
    try:
        VerifyKey(public_key_of(did)).verify(message, signature)
    # The second is for what has not the length of a signature.
    except (BadSignatureError, ValueError):
        return False
    return True


@lru_cache(maxsize=1024)
def space_did(name_or_did: str) -> str:
    """Give a space's DID from its name; a DID is returned as it is."""
    if is_did(name_or_did):
        return name_or_did
    if name_or_did.startswith("did:"):
        raise InvalidInput(f"Invalid space ID: {name_or_did!s:.100}. Must be a valid DID.")
    if not name_or_did:
        raise InvalidInput("The space's name is empty.")
    return _common_user().derive(name_or_did).did()


@lru_cache(maxsize=1)
def _common_user() -> Identity:
    return Identity.from_passphrase(COMMON_USER_PASSPHRASE)


@lru_cache(maxsize=1)
def _bip39() -> Mnemonic:
    return Mnemonic("english")


def _utf8(text: str, what: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInput(f"{what} is not valid Unicode text.") from None
