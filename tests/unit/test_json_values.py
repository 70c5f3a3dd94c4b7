"""Promises of which bytes are stored as JSON: those that every reader here can read."""

from __future__ import annotations

import json

import pytest
from pydantic_core import from_json

from bg_charm_service.domain.json_values import MOST_DEPTH, check_json


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
