"""Identities, their DIDs and forms, and the DIDs of named spaces."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import base58
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import example, given
from hypothesis import strategies as st

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.identity import (
    DEFAULT_PASSPHRASE,
    SYSTEM_SPACE_NAME,
    Identity,
    is_did,
    public_key_of,
    space_did,
    verify,
)

SYSTEM_SPACE_DID = "did:key:z6Mkfuw7h6jDwqVb6wimYGys14JFcyTem4Kqvdj9DjpFhY88"
DEFAULT_DID = "did:key:z6MksHnZGdHxNoCqcC3kPvBSo2goCzLSWheQ8LrVpAtQwgwW"
ZERO_SEED_DID = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"
ZERO_SEED_PHRASE = "abandon " * 23 + "art"

#: The example key of RFC 8410, section 10.3, and its public half from section 10.1.
RFC_8410_PEM = b"""-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
"""
RFC_8410_PUBLIC_KEY = bytes.fromhex(
    "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"
)

seeds = st.binary(min_size=32, max_size=32)


def did_of_bytes(key: bytes) -> str:
    """Write bytes as a did:key, whatever they are."""
    return "did:key:z" + base58.b58encode(key).decode("ascii")


def test_passphrase_gives_known_did() -> None:
    """A passphrase gives the same identity as in the original."""
    assert Identity.from_passphrase(DEFAULT_PASSPHRASE).did() == DEFAULT_DID


def test_seed_gives_known_did() -> None:
    """A raw seed gives the same identity as in the original."""
    assert Identity.from_seed(bytes(32)).did() == ZERO_SEED_DID


def test_passphrase_seed_is_its_sha256() -> None:
    """A passphrase beyond ASCII is hashed as UTF-8."""
    passphrase = "mot de passe à clé"
    assert (
        Identity.from_passphrase(passphrase).seed
        == hashlib.sha256(passphrase.encode("utf-8")).digest()
    )


def test_generated_identities_differ() -> None:
    """A generated identity is new each time."""
    assert Identity.generate().did() != Identity.generate().did()


@pytest.mark.parametrize("passphrase", ["", "\ud800"])
def test_unusable_passphrase_is_refused(passphrase: str) -> None:
    """An empty passphrase, or one that is no Unicode text, is one clear error."""
    with pytest.raises(InvalidInput, match=r"^The passphrase is "):
        Identity.from_passphrase(passphrase)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_seed_of_wrong_length_is_refused(length: int) -> None:
    """A seed that is not 32 bytes long is refused with its length."""
    with pytest.raises(InvalidInput, match=f"this one is {length}"):
        Identity.from_seed(bytes(length))


def test_pem_of_rfc_8410_is_read() -> None:
    """A PKCS#8 key made elsewhere gives its own public key."""
    identity = Identity.from_pem(RFC_8410_PEM)
    assert public_key_of(identity.did()) == RFC_8410_PUBLIC_KEY
    assert identity.to_pem() == RFC_8410_PEM


@pytest.mark.parametrize(
    "pem",
    [
        RFC_8410_PEM.replace(b"\n", b"\r\n"),
        b"My key, made in May.\n" + RFC_8410_PEM,
        RFC_8410_PEM[:50] + b"\n" + RFC_8410_PEM[50:],
        ed25519.Ed25519PrivateKey.from_private_bytes(
            Identity.from_pem(RFC_8410_PEM).seed
        ).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    ],
    ids=["other line ends", "with words", "folded elsewhere", "another library's"],
)
def test_pem_may_look_otherwise(pem: bytes) -> None:
    """The same key in any PEM that is PKCS#8 is the same identity."""
    assert Identity.from_pem(pem) == Identity.from_pem(RFC_8410_PEM)


def test_usual_keys_need_no_large_library() -> None:
    """A process that reads, writes and uses keys in the usual form saves its megabytes."""
    code = (
        "import sys\n"
        "from bg_charm_service.domain.identity import Identity, verify\n"
        "one = Identity.generate()\n"
        "assert Identity.from_pem(one.to_pem()) == one\n"
        "assert verify(one.did(), b'text', one.sign(b'text'))\n"
        "assert 'cryptography' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_zero_seed_gives_known_phrase() -> None:
    """The 24 words carry the seed itself: the published BIP-39 vector for 32 zero bytes."""
    assert Identity.from_seed(bytes(32)).to_mnemonic() == ZERO_SEED_PHRASE
    assert Identity.from_mnemonic(ZERO_SEED_PHRASE).did() == ZERO_SEED_DID


@given(seeds)
def test_every_form_gives_the_same_identity(seed: bytes) -> None:
    """PEM and phrase give back the identity that they were written from."""
    identity = Identity.from_seed(seed)
    assert Identity.from_pem(identity.to_pem()) == identity
    assert Identity.from_mnemonic(identity.to_mnemonic()) == identity


def test_phrase_may_be_typed_loosely() -> None:
    """Capitals, line breaks and spaces in a phrase do not matter."""
    typed = "\n " + ZERO_SEED_PHRASE.title().replace(" ", "  \n") + "\n"
    assert Identity.from_mnemonic(typed).did() == ZERO_SEED_DID


@pytest.mark.parametrize(
    ("phrase", "reason"),
    [
        ("", "has 0 words; expected 24"),
        ("abandon " * 11 + "about", "has 12 words; expected 24"),
        ("abandon " * 24, "checksum is wrong"),
        ("abandon " * 6 + "hunter2 " + "abandon " * 16 + "art", "^Word 7 of the recovery phrase"),
    ],
)
def test_bad_phrase_says_what_is_wrong(phrase: str, reason: str) -> None:
    """A wrong phrase is one clear error that does not repeat its words."""
    with pytest.raises(InvalidInput, match=reason) as caught:
        Identity.from_mnemonic(phrase)
    assert "abandon" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (rsa.generate_private_key(65537, 2048), "RSA"),
        (ec.generate_private_key(ec.SECP256R1()), "EC"),
        (x25519.X25519PrivateKey.generate(), "X25519"),
    ],
    ids=["rsa", "ec", "x25519"],
)
def test_pem_of_another_kind_names_the_kind(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey, kind: str
) -> None:
    """A PEM key that is not Ed25519 is refused by its kind."""
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(InvalidInput, match=f"one of kind {kind}"):
        Identity.from_pem(pem)


def test_encrypted_pem_is_refused() -> None:
    """A PEM key that needs a password says so."""
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pw"))
    with pytest.raises(InvalidInput, match="is encrypted"):
        Identity.from_pem(pem)


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"\xff\xfe\x00",
        RFC_8410_PEM.replace(b"MC4C", b"AAAA"),
        RFC_8410_PEM[:60],
        ed25519.Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    ],
    ids=["empty", "binary", "damaged", "cut", "public key"],
)
def test_unreadable_pem_says_what_is_expected(pem: bytes) -> None:
    """Bytes that are no private key are one clear error that names the form expected."""
    with pytest.raises(InvalidInput, match="expected an Ed25519 key in PKCS#8 form"):
        Identity.from_pem(pem)


def test_derived_seed_is_hash_of_signature() -> None:
    """Deriving is SHA-256 over the signature of the name."""
    identity = Identity.from_seed(bytes(32))
    assert identity.derive("demo").seed == hashlib.sha256(identity.sign(b"demo")).digest()


def test_repr_and_str_show_the_did_only() -> None:
    """An identity printed by accident shows its DID and no secret."""
    identity = Identity.from_pem(RFC_8410_PEM)
    for shown in (repr(identity), str(identity), f"{[identity]}"):
        assert identity.did() in shown
        assert repr(identity.seed) not in shown
        assert identity.seed.hex() not in shown


def test_system_space_has_known_did() -> None:
    """A space's name gives the DID that it has in the original."""
    assert space_did(SYSTEM_SPACE_NAME) == SYSTEM_SPACE_DID


def test_space_did_leaves_a_did_alone() -> None:
    """A DID in place of a name is that space."""
    assert space_did(DEFAULT_DID) == DEFAULT_DID


@pytest.mark.parametrize("name", ["", "did:key:z6Mk", DEFAULT_DID[:-1], "did:web:example.org"])
def test_mistyped_space_is_refused(name: str) -> None:
    """No name, or half a DID, never becomes a space by accident."""
    with pytest.raises(InvalidInput):
        space_did(name)


@pytest.mark.parametrize("did", [SYSTEM_SPACE_DID, DEFAULT_DID, ZERO_SEED_DID])
def test_known_dids_are_dids(did: str) -> None:
    """The vectors are recognised."""
    assert is_did(did)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "did:key:",
        "did:key:z6Mk",
        DEFAULT_DID[:-1],
        DEFAULT_DID + "1",
        DEFAULT_DID + "\n",
        DEFAULT_DID[:-1] + "\n",
        DEFAULT_DID[:-1] + "0",
        DEFAULT_DID[:-1] + "é",
        " " + DEFAULT_DID,
        DEFAULT_DID.upper(),
        DEFAULT_DID.replace("did:key:z", "did:key:f"),
        did_of_bytes(b"\xec\x01" + bytes(32)),
        did_of_bytes(b"\xed\x01" + bytes(31)),
        did_of_bytes(b"\xed\x01" + bytes(33)),
        did_of_bytes(b"\xe7\x01" + b"\x02" * 33),
        "did:web:example.org",
        "z" * 10_000,
    ],
)
def test_other_texts_are_not_dids(text: str) -> None:
    """Anything but the one spelling of an Ed25519 key's DID is refused."""
    assert not is_did(text)
    with pytest.raises(InvalidInput, match="Not a DID of an Ed25519 key"):
        public_key_of(text)


@given(seeds)
@example(bytes(32))
@example(b"\xff" * 32)
def test_did_carries_the_public_key(public_key: bytes) -> None:
    """Any 32 bytes make a DID, and come back from it."""
    did = did_of_bytes(b"\xed\x01" + public_key)
    assert is_did(did)
    assert public_key_of(did) == public_key


@given(seeds, st.binary(max_size=100))
def test_signature_is_verified_by_did(seed: bytes, message: bytes) -> None:
    """A signature holds for its DID and message, and for no other."""
    identity = Identity.from_seed(seed)
    signature = identity.sign(message)
    assert verify(identity.did(), message, signature)
    assert not verify(identity.did(), message + b"!", signature)
    assert not verify(identity.derive("another").did(), message, signature)
    assert not verify(identity.did(), message, signature[:-1])


def test_verify_needs_a_did() -> None:
    """Verifying against something that is no DID is an error, not a False."""
    with pytest.raises(InvalidInput):
        verify("somebody", b"message", bytes(64))
