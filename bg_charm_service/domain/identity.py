"""Ed25519 identities: their keys in every form, their DIDs, and the DIDs of named spaces.

Owns every form that a key is given in: passphrase, PKCS#8 PEM, BIP-39 phrase, raw seed.
Must not read files or settings, and no text or error made here shows a secret.
Who only reads DIDs loads no cryptography, and every worker is forked with what its zygote has
loaded: the libraries for keys are imported by the functions that use one.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import base58

from bg_charm_service.domain.errors import InvalidInput

if TYPE_CHECKING:
    from mnemonic import Mnemonic
    from nacl.signing import SigningKey

#: The name of the space that holds the service's own cells.
SYSTEM_SPACE_NAME = "toolshed-system"

#: The operator's passphrase when none is set; everybody knows it.
DEFAULT_PASSPHRASE = "implicit trust"

#: The passphrase of the identity that named spaces are derived from; everybody knows it.
COMMON_USER_PASSPHRASE = "common user"

_SEED_BYTES = 32
_PHRASE_WORDS = 24

_DID_PREFIX = "did:key:z"
_ED25519_MULTICODEC = b"\xed\x01"
_PUBLIC_KEY_BYTES = 32
#: The prefix and the 47 base58 digits that 34 bytes starting with 0xed always take.
_DID_CHARACTERS = len(_DID_PREFIX) + 47

#: What stands in front of the seed in the usual form of a PEM key (RFC 8410).
_PEM_PREFIX = bytes.fromhex("302e020100300506032b657004220420")

_USUAL_PEM = re.compile(
    rb"-----BEGIN PRIVATE KEY-----\r?\n([A-Za-z0-9+/]{64})\r?\n-----END PRIVATE KEY-----\s*"
)


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
        return cls(_seed_of_pem(pem))

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
        text = base64.b64encode(_PEM_PREFIX + self.seed)
        return b"-----BEGIN PRIVATE KEY-----\n%b\n-----END PRIVATE KEY-----\n" % text

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
        from nacl.signing import SigningKey

        return SigningKey(self.seed)

    @cached_property
    def _did(self) -> str:
        return did_of(bytes(self._key.verify_key))


def rotation_text(old: str, new: str) -> bytes:
    """Give what a new key of the operator's signs to take over from the DID of the old one."""
    return f"bg-charm-service: rotate identity 1\n{old}\n{new}".encode()


def verify(did: str, message: bytes, signature: bytes) -> bool:
    """Tell whether the DID's identity made this signature; raises InvalidInput for no DID."""
    from nacl.exceptions import BadSignatureError
    from nacl.signing import VerifyKey

    try:
        VerifyKey(public_key_of(did)).verify(message, signature)
    # The second is for what has not the length of a signature.
    except (BadSignatureError, ValueError):
        return False
    return True


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


@lru_cache(maxsize=1)
def _common_user() -> Identity:
    return Identity.from_passphrase(COMMON_USER_PASSPHRASE)


def _seed_of_pem(pem: bytes) -> bytes:
    # The usual form is read here: the library for the others takes some megabytes.
    usual = _USUAL_PEM.fullmatch(pem)
    key = base64.b64decode(usual[1]) if usual else b""
    return key[len(_PEM_PREFIX) :] if key.startswith(_PEM_PREFIX) else _seed_of_unusual_pem(pem)


def _seed_of_unusual_pem(pem: bytes) -> bytes:
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


@lru_cache(maxsize=1)
def _bip39() -> Mnemonic:
    from mnemonic import Mnemonic

    return Mnemonic("english")


def _utf8(text: str, what: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInput(f"{what} is not valid Unicode text.") from None
