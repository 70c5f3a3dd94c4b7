"""Whether bytes are JSON that everybody here can read: valid, not too deep, no endless numbers.

A worker can answer with anything, and whoever reads a stored value counts on it. A large value is
checked in parts, between which others get their turn. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

import msgspec

#: A value may be nested so deep; pydantic reads no more than 200.
MOST_DEPTH: Final = 100

#: So much of a value is looked at without a pause, in bytes: ten milliseconds, at worst.
PART_BYTES: Final = 256 * 1024

_TEXT: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_REST_OF_TEXT: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_WHOLE_TEXTS: Final = re.compile(rb'(?:[^"]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_QUOTE: Final = ord('"')
_OPENING, _CLOSING = b"[{", b"]}"
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in _OPENING + _CLOSING)
_STEPS: Final = [(byte in _OPENING) - (byte in _CLOSING) for byte in range(256)]

#: Python reads no whole number with more digits; those of a fraction it does.
_LONGEST_NUMBER: Final = 4300
_ENDLESS_NUMBER: Final = re.compile(rb"(?<![0-9.])[0-9]{%d}" % (_LONGEST_NUMBER + 1))
_DIGITS: Final = b"0123456789."


class CheckedJson(bytes):
    """Bytes that were checked already; `problem` is what was found, empty for nothing."""

    problem: str

    def __new__(cls, value: bytes, problem: str = "") -> CheckedJson:
        """Mark bytes as checked."""
        checked = super().__new__(cls, value)
        checked.problem = problem
        return checked


def check_json(value: bytes) -> None:
    """Raise ValueError with the reason for what is no such JSON."""
    if isinstance(value, CheckedJson):
        if value.problem:
            raise ValueError(value.problem)
        return
    for _ in check_json_in_parts(value):
        pass


def check_json_in_parts(value: bytes, part_bytes: int = PART_BYTES) -> Iterator[None]:
    """Check the same a part at a time; raises ValueError. Whether it is JSON is one part.

    That takes some nanoseconds a byte, since nothing is made of it.
    """
    try:
        msgspec.json.decode(value, type=msgspec.Raw)
        value.decode()
    except RecursionError:
        raise ValueError(f"it is nested deeper than {MOST_DEPTH} levels") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"it is no JSON: {error}") from None
    if len(value) <= MOST_DEPTH:
        return
    may_be_deep = sum(value.count(bracket) for bracket in (b"[", b"{")) > MOST_DEPTH
    if may_be_deep or len(value) > _LONGEST_NUMBER:
        yield from _check_structure(value, part_bytes)


def is_json(value: bytes) -> bool:
    """Whether `check_json` finds nothing wrong."""
    try:
        check_json(value)
    except ValueError:
        return False
    return True


def _check_structure(value: bytes, part_bytes: int) -> Iterator[None]:
    """Look at what of a JSON value stands outside of its texts: brackets, and numbers."""
    place, depth, is_in_text, digits = 0, 0, False, b""
    while place < len(value):
        end = min(place + part_bytes, len(value))
        if is_in_text:
            # An escape that ends behind this part is left to the next one.
            place = _end_of(_REST_OF_TEXT, value, place, end)
            if place < end and value[place] == _QUOTE:
                place, is_in_text = place + 1, False
        else:
            until = _end_of(_WHOLE_TEXTS, value, place, end)
            outside = digits + _TEXT.sub(b"", value[place:until])
            if _ENDLESS_NUMBER.search(outside):
                raise ValueError("it is no JSON: a number has too many digits")
            depth = _depth_after(outside, depth)
            # A number may go on in the next part; that it is a fraction is all that counts then.
            digits = outside[len(outside.rstrip(_DIGITS)) :]
            digits = b"." if b"." in digits else digits
            place = until
            if until < end:
                place, is_in_text = until + 1, True
        yield


def _end_of(pattern: re.Pattern[bytes], value: bytes, place: int, end: int) -> int:
    found = pattern.match(value, place, end)
    # Both patterns match nothing at all too.
    return found.end() if found is not None else place


def _depth_after(outside: bytes, depth: int) -> int:
    """Give how deep it is behind a part; raises ValueError for what is too deep inside."""
    brackets = outside.translate(None, _NO_BRACKETS)
    opened = brackets.count(b"[") + brackets.count(b"{")
    if depth + opened > MOST_DEPTH:
        deepest = max(accumulate(map(_STEPS.__getitem__, brackets), initial=depth))
        if deepest > MOST_DEPTH:
            raise ValueError(f"it is nested deeper than {MOST_DEPTH} levels")
    return depth + opened - (len(brackets) - opened)
