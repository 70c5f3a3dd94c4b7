"""Promises of which bytes are stored as JSON: those that every reader here can read."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from bg_charm_service.domain.json_values import MOST_DEPTH, check_json, check_json_in_parts


def nested(depth: int, opening: str = "[", closing: str = "]", inside: str = "") -> bytes:
    """A value of this depth."""
    return (opening * depth + inside + closing * depth).encode()


@pytest.mark.parametrize(
    "value",
    [
        b"null",
        b" 1 ",
        '"ü"'.encode(),
        b'"\\ud83d\\ude00"',
        nested(MOST_DEPTH),
        nested(MOST_DEPTH, '{"a":', "}", "1"),
        b'"' + b"[" * 10_000 + b'"',
        b'"\\"' + b"[" * 10_000 + b'\\\\"',
        b"[" + b"[]," * 10_000 + b"{}]",
        b'"' + b"1" * 10_000 + b'"',
        b"1" * 4300,
        b"[1." + b"1" * 10_000 + b"]",
        b'["' + b"1" * 10_000 + b'",' + b"1" * 4300 + b"]",
        b"[0." + b"1" * 10_000 + b"," + b"1" * 4300 + b"]",
    ],
)
def test_values_that_all_can_read_are_fine(value: bytes) -> None:
    """What passes can be read by both readers of ours."""
    check_json(value)
    assert json.loads(value) == from_json(value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "no JSON"),
        (b"[1,]", "no JSON"),
        (b"NaN", "no JSON"),
        (b"1 2", "no JSON"),
        (b'"\xff"', "no JSON"),
        (b'"\\ud800"', "no JSON"),
        (b"1" * 4301, "no JSON"),
        (b"[0.1," + b"1" * 4301 + b"]", "no JSON"),
        (b'["' + b"1" * 10_000 + b'",' + b"1" * 4301 + b"]", "no JSON"),
        (nested(MOST_DEPTH + 1), "nested deeper than 100 levels"),
        (nested(MOST_DEPTH + 1, '{"a":', "}", "1"), "nested deeper"),
        (nested(51, '[{"a]":', "}]", "1"), "nested deeper"),
        (b'["\\\\",' + nested(MOST_DEPTH) + b"]", "nested deeper"),
        (b"[" * 1_000_000, "nested deeper|no JSON"),
        (nested(100_000), "nested deeper"),
    ],
)
def test_values_that_some_cannot_read_are_refused(value: bytes, reason: str) -> None:
    """What is no JSON, or too deep for some reader, is refused with the reason."""
    with pytest.raises(ValueError, match=reason):
        check_json(value)


def depth(value: Any) -> int:
    """How deep a value is, the plain way."""
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def plain_json(value: Any) -> str:
    """JSON whose texts are not escaped where they need not be."""
    return json.dumps(value, ensure_ascii=False)


#: Texts full of what stands for something outside of them.
TRICKY = st.text(alphabet='"\\[]{}:,.1eé\n', max_size=12)

VALUES = st.recursive(
    st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TRICKY,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TRICKY, inner, max_size=4),
    max_leaves=20,
)


@given(
    VALUES,
    st.integers(MOST_DEPTH - 6, MOST_DEPTH),
    st.integers(2, 40),
    st.sampled_from([json.dumps, plain_json]),
)
def test_a_value_in_parts_is_checked_as_a_whole(
    inner: Any, around: int, part_bytes: int, write: Callable[[Any], str]
) -> None:
    """Wherever the parts begin and end, what is too deep is found, and nothing else."""
    text = write(inner)
    value = ("[" * around + text + "]" * around).encode()
    if depth(inner) + around > MOST_DEPTH:
        with pytest.raises(ValueError, match="nested deeper"):
            list(check_json_in_parts(value, part_bytes))
    else:
        list(check_json_in_parts(value, part_bytes))


@pytest.mark.parametrize("part_bytes", [2, 3, 1000, 4299, 4301, 5000])
def test_a_number_in_parts_is_one_number(part_bytes: int) -> None:
    """A number that ends in another part than it begins in is as long as it is."""
    list(check_json_in_parts(b"[2," + b"1" * 4300 + b",3]", part_bytes))
    list(check_json_in_parts(b"[2,1." + b"1" * 9000 + b",3]", part_bytes))
    with pytest.raises(ValueError, match="too many digits"):
        list(check_json_in_parts(b"[2," + b"1" * 4301 + b",3]", part_bytes))


def test_a_large_value_has_many_parts() -> None:
    """No part is larger than another, whatever is in it; a small value has none or one."""
    for value in (b"[" + b"[]," * 99_999 + b"1]", b'"' + b"\\n" * 149_999 + b'"'):
        counts = [len(list(check_json_in_parts(value, size))) for size in (100, 1000, 10_000)]
        assert all(more > 9 * fewer for more, fewer in pairwise(counts))
    assert [] == list(check_json_in_parts(b"{}"))
