"""Merkle references: ids that follow from a value's content alone.

Owns the algorithm and the text form of the ids of charms and cells.
Must not know what a value means; raises InvalidInput for one that has no reference.
Imported by every layer, so it imports nothing of ours but the errors.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter

from bg_charm_service.domain.errors import InvalidInput

#: How deep lists and maps may be nested in a value that gets a reference.
MAX_DEPTH = 1000

#: Larger integers are not exact where numbers are double precision.
_MAX_INTEGER = 2**53

#: CIDv1, codec 0x07, sha2-256, 32 bytes of digest.
_CID_PREFIX = b"\x01\x07\x12\x20"

#: What that prefix and 32 bytes look like in base32: the eighth character still holds two of the
#: prefix's bits, the last one holds three of the digest's and two that are zero.
_MERKLE_ID = re.compile(r"baedrei[a-h][a-z2-7]{50}[aeimquy4]", re.ASCII)


def _tag(name: str) -> bytes:
    return hashlib.sha256(f"merkle-structure:{name}".encode()).digest()


_NULL = _tag("null")
_BOOLEAN = _tag("boolean/byte")
_INTEGER = _tag("integer/leb128")
_FLOAT = _tag("float/double-precision")
_STRING = _tag("string/utf-8")
_BYTES = _tag("bytes/raw")
_LIST = _tag("list/item/ref-tree")
_MAP = _tag("map/k+v/ref-tree")


def is_merkle_id(text: str) -> bool:
    """Tell whether the text is a merkle id."""
    return _MERKLE_ID.fullmatch(text) is not None


def refer(value: object) -> str:
    """Give the merkle id of a JSON-like value, in which bytes are allowed too.

    Raises InvalidInput when it holds anything else, or is nested deeper than MAX_DEPTH.
    """
    cid = _CID_PREFIX + _digest(value)
    return "b" + base64.b32encode(cid).decode("ascii").rstrip("=").lower()


class _Branch:
    """A list or map whose members are being hashed."""

    def __init__(self, container: object) -> None:
        self.members: list[bytes] = []
        self.remaining: Iterator[object]
        self._keys: list[bytes] | None = None
        if isinstance(container, Mapping):
            entries = sorted(
                ((_key(key), item) for key, item in container.items()), key=itemgetter(0)
            )
            self._keys = [_hash(_STRING, key) for key, _ in entries]
            self.remaining = iter([item for _, item in entries])
        elif isinstance(container, Sequence):
            self.remaining = iter(container)

    def digest(self) -> bytes:
        if self._keys is None:
            return _hash(_LIST, _fold(self.members))
        entries = zip(self._keys, self.members, strict=True)
        return _hash(_MAP, _fold([_fold([key, item]) for key, item in entries]))


def _digest(value: object) -> bytes:
    # A stack of our own: nesting must never end in a RecursionError.
    path = [_Branch([value])]
    while True:
        branch = path[-1]
        for member in branch.remaining:
            if isinstance(member, (list, tuple, Mapping)):
                if len(path) > MAX_DEPTH:
                    raise InvalidInput(f"A value is nested deeper than {MAX_DEPTH} levels.")
                path.append(_Branch(member))
                break
            branch.members.append(_leaf(member))
        else:
            if len(path) == 1:
                return branch.members[0]
            path.pop()
            path[-1].members.append(branch.digest())


def _leaf(value: object) -> bytes:
    if value is None:
        return _hash(_NULL, b"")
    if isinstance(value, bool):
        return _hash(_BOOLEAN, b"\x01" if value else b"\x00")
    if isinstance(value, str):
        return _hash(_STRING, _utf8(value))
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidInput(f"{value} is not a JSON number.")
        if not value.is_integer():
            return _hash(_FLOAT, struct.pack("<d", value))
        value = int(value)
    if isinstance(value, int):
        return _hash(_INTEGER, _signed_leb128(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _hash(_BYTES, bytes(value))
    raise InvalidInput(f"A value of type {type(value).__name__} is not JSON.")


def _key(key: object) -> bytes:
    if not isinstance(key, str):
        raise InvalidInput(f"A key of type {type(key).__name__} is not a string.")
    return _utf8(key)


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInput(f"{text!a:.80} holds half of a surrogate pair.") from None


def _signed_leb128(number: int) -> bytes:
    if abs(number) > _MAX_INTEGER:
        raise InvalidInput("An integer is beyond 2**53.")
    encoded = bytearray()
    while not -64 <= number < 64:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number & 0x7F)
    return bytes(encoded)


def _fold(nodes: list[bytes]) -> bytes:
    if not nodes:
        return hashlib.sha256(b"").digest()
    while len(nodes) > 1:
        pairs = [
            hashlib.sha256(nodes[at] + nodes[at + 1]).digest() for at in range(0, len(nodes) - 1, 2)
        ]
        nodes = pairs + nodes[len(pairs) * 2 :]
    return nodes[0]


def _hash(tag: bytes, data: bytes) -> bytes:
    return hashlib.sha256(tag + data).digest()
