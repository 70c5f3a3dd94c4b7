"""Merkle references and their text form."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.merkle import MAX_DEPTH, is_merkle_id, refer

EMPTY_MAP_ID = "baedreiejlbo3grw733nk7wp5mzjfqyzpa7hquspn4yt4np6zq3375fpavq"

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: abs(x) <= 2**53)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)


def sha256(data: bytes) -> bytes:
    """Hash bytes."""
    return hashlib.sha256(data).digest()


def leaf(tag: str, data: bytes) -> bytes:
    """Hash bytes under a tag."""
    return sha256(sha256(f"merkle-structure:{tag}".encode()) + data)


def id_of(digest: bytes) -> str:
    """Write a digest as a merkle id."""
    cid = b"\x01\x07\x12\x20" + digest
    return "b" + base64.b32encode(cid).decode().lower().rstrip("=")


def nested_list(depth: int) -> object:
    """Make an empty list inside lists, as many as `depth` in all."""
    value: list[object] = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "merkle_id"),
    [
        ({}, EMPTY_MAP_ID),
        (
            {"causal": "bgUpdater-2025-03-18"},
            "baedreiew6ioyvfnvp2bdvmgkkz64ffk6gssvgmibh7yaw43yqhtv2nq75a",
        ),
        (
            {"a": 1, "b": ["x", True, None]},
            "baedreiaiwims345pvdq7pvsjafd3vtn36gfxv53pyw6spqwimmw2ts6n2a",
        ),
    ],
)
def test_known_values_have_known_ids(value: object, merkle_id: str) -> None:
    """The ids are those of the original."""
    assert refer(value) == merkle_id


@pytest.mark.parametrize(
    ("value", "digest"),
    [
        (None, leaf("null", b"")),
        (True, leaf("boolean/byte", b"\x01")),
        (False, leaf("boolean/byte", b"\x00")),
        (0, leaf("integer/leb128", b"\x00")),
        (63, leaf("integer/leb128", b"\x3f")),
        (64, leaf("integer/leb128", b"\xc0\x00")),
        (-1, leaf("integer/leb128", b"\x7f")),
        (-64, leaf("integer/leb128", b"\x40")),
        (-123456, leaf("integer/leb128", b"\xc0\xbb\x78")),
        (2**53, leaf("integer/leb128", b"\x80\x80\x80\x80\x80\x80\x80\x10")),
        (1.5, leaf("float/double-precision", b"\x00\x00\x00\x00\x00\x00\xf8\x3f")),
        ("é", leaf("string/utf-8", b"\xc3\xa9")),
        (b"\x00\xff", leaf("bytes/raw", b"\x00\xff")),
        ([], leaf("list/item/ref-tree", sha256(b""))),
    ],
)
def test_values_are_hashed_by_their_kind(value: object, digest: bytes) -> None:
    """Each kind of value has its own tag and bytes."""
    assert refer(value) == id_of(digest)


def test_odd_member_is_carried_up() -> None:
    """Members are hashed in pairs, and one without a partner goes up as it is."""
    one, two, three = (leaf("string/utf-8", text) for text in (b"1", b"2", b"3"))
    tree = sha256(sha256(one + two) + three)
    assert refer(["1", "2", "3"]) == id_of(leaf("list/item/ref-tree", tree))


def test_map_is_sorted_by_utf8_of_its_keys() -> None:
    """Keys are ordered by their bytes, where UTF-16 order would differ."""
    value = leaf("null", b"")
    low, high = (leaf("string/utf-8", key.encode()) for key in ("\uffee", "\U0001f600"))
    tree = sha256(sha256(low + value) + sha256(high + value))
    expected = id_of(leaf("map/k+v/ref-tree", tree))
    assert refer({"\U0001f600": None, "\uffee": None}) == expected
    assert refer({"\uffee": None, "\U0001f600": None}) == expected


@given(json_values)
def test_id_depends_on_content_only(value: object) -> None:
    """A value that went through JSON text, keys sorted, keeps its id."""
    merkle_id = refer(value)
    assert is_merkle_id(merkle_id)
    assert refer(json.loads(json.dumps(value, sort_keys=True))) == merkle_id


@given(json_values, json_values)
def test_different_values_have_different_ids(one: object, other: object) -> None:
    """Two values share an id only when they are written alike."""
    alike = _written(one) == _written(other)
    assert (refer(one) == refer(other)) is alike


@given(st.integers(-(2**53), 2**53))
def test_integral_floats_are_integers(number: int) -> None:
    """A number's id does not depend on how it is held in memory."""
    assert refer(float(number)) == refer(number)


@pytest.mark.parametrize(
    "value",
    [
        2**53 + 1,
        -(2**53) - 1,
        1e300,
        math.nan,
        math.inf,
        -math.inf,
        "\ud800",
        {"\udfff": 1},
        {1: "x"},
        {"x"},
        pytest.param(object(), id="object"),
        [{"deep": [1j]}],
    ],
    ids=ascii,
)
def test_value_without_a_reference_is_refused(value: object) -> None:
    """What is not exact JSON is refused, at any depth."""
    with pytest.raises(InvalidInput):
        refer(value)


def test_nesting_has_a_limit() -> None:
    """A value nested too deep is an error of the input, never a RecursionError."""
    assert is_merkle_id(refer(nested_list(MAX_DEPTH)))
    for depth in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(InvalidInput, match="nested deeper"):
            refer(nested_list(depth))


def test_cycle_is_refused() -> None:
    """A value that holds itself ends in an error."""
    cycle: dict[str, object] = {}
    cycle["self"] = [cycle]
    with pytest.raises(InvalidInput, match="nested deeper"):
        refer(cycle)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        EMPTY_MAP_ID[:-1],
        EMPTY_MAP_ID + "a",
        EMPTY_MAP_ID + "\n",
        EMPTY_MAP_ID.upper(),
        "z" + EMPTY_MAP_ID[1:],
        EMPTY_MAP_ID[:-1] + "r",
        EMPTY_MAP_ID[:20] + "1" + EMPTY_MAP_ID[21:],
        EMPTY_MAP_ID[:20] + "é" + EMPTY_MAP_ID[21:],
        "bafkrei" + EMPTY_MAP_ID[7:],
        "baedreiz" + EMPTY_MAP_ID[8:],
    ],
)
def test_other_texts_are_not_merkle_ids(text: str) -> None:
    """Anything but the one spelling of a reference is refused."""
    assert not is_merkle_id(text)


@given(st.binary(min_size=32, max_size=32))
def test_every_digest_has_an_id(digest: bytes) -> None:
    """The text form is recognised for any digest."""
    assert is_merkle_id(id_of(digest))


@given(st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=51, max_size=53))
def test_ids_are_exactly_what_decodes_to_a_reference(tail: str) -> None:
    """A text is an id if and only if it is what its own digest is written as."""
    text = "baedrei" + tail
    assert is_merkle_id(text) is _is_written_form(text)


def _is_written_form(text: str) -> bool:
    digits = text[1:].upper()
    try:
        cid = base64.b32decode(digits + "=" * (-len(digits) % 8))
    except binascii.Error:
        return False
    return cid[:4] == b"\x01\x07\x12\x20" and len(cid) == 36 and id_of(cid[4:]) == text


def _written(value: object) -> str:
    return json.dumps(_with_plain_numbers(value), sort_keys=True)


def _with_plain_numbers(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_with_plain_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: _with_plain_numbers(item) for key, item in value.items()}
    return value
