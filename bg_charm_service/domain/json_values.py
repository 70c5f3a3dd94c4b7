"""Whether bytes are JSON that everybody here can read: valid, not too deep, no endless numbers.

A worker can answer with anything, and whoever reads a stored value counts on it. Pure.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Final

import msgspec

#: A value may be nested so deep; pydantic reads no more than 200.
MOST_DEPTH: Final = 100

_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_OPENING, _CLOSING = b"[{", b"]}"
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in _OPENING + _CLOSING)
_STEPS: Final = [(byte in _OPENING) - (byte in _CLOSING) for byte in range(256)]

#: Python reads no whole number with more digits.
_LONGEST_NUMBER: Final = 4300
_ENDLESS_NUMBER: Final = re.compile(rb"[0-9]{%d}" % (_LONGEST_NUMBER + 1))


def check_json(value: bytes) -> None:
    """Raise ValueError with the reason for what is no such JSON."""
    try:
        msgspec.json.decode(value, type=msgspec.Raw)
        value.decode()
        if len(value) > _LONGEST_NUMBER and _ENDLESS_NUMBER.search(value):
            # It may stand in a text.
            msgspec.json.decode(value)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {MOST_DEPTH} levels") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"it is no JSON: {error}") from None
    if len(value) <= MOST_DEPTH:
        return
    if sum(value.count(bracket) for bracket in (b"[", b"{")) > MOST_DEPTH < _depth(value):
        raise ValueError(f"it is nested deeper than {MOST_DEPTH} levels")


def is_json(value: bytes) -> bool:
    """Whether `check_json` finds nothing wrong."""
    try:
        check_json(value)
    except ValueError:
        return False
    return True


def _depth(value: bytes) -> int:
    brackets = _STRING.sub(b"", value).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)
