"""Keeps secrets out of what is shown: pure text work, called where a run is settled.

Texts shorter than four characters are left alone: they stand in ordinary words. Looking for very
many texts would take longer than the run itself: then all of what it printed is kept out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

#: What stands where a secret stood.
MARK = "[secret]"

#: What stands instead of a text in which too many secrets would have to be looked for.
WITHHELD = "[withheld: its charm has too many secrets to look for]"

#: Texts that are looked for, and how large the values may be that they stand in, in bytes.
MOST_TEXTS = 1000
MOST_BYTES = 256 * 1024

#: Stands among secrets, as the last, for all those that nobody looks for.
_ALL_OTHERS = ""

#: Shorter texts and numbers are no secrets that could be told from chance.
MIN_CHARACTERS = 4


def secret_texts(values: Iterable[bytes]) -> tuple[str, ...]:
    """The texts inside JSON values that must not be shown, longest first.

    Each in the forms in which it gets printed: as it is, inside JSON, as Python shows it. Where
    they are too many, what they give lets `redact` withhold the whole.
    """
    found: set[str] = set()
    count = size_bytes = 0
    for value in values:
        size_bytes += len(value)
        if size_bytes > MOST_BYTES:
            return (_ALL_OTHERS,)
        for leaf in _leaves(json.loads(value)):
            count += 1
            if count > MOST_TEXTS:
                return (_ALL_OTHERS,)
            shown = leaf if isinstance(leaf, str) else json.dumps(leaf)
            if len(shown) < MIN_CHARACTERS:
                continue
            found.update((shown, json.dumps(shown)[1:-1], repr(shown)[1:-1]))
    return tuple(sorted(found, key=len, reverse=True))


def redact(text: str, secrets: Sequence[str]) -> str:
    """Replace every secret in a text; they come longest first."""
    if secrets and secrets[-1] == _ALL_OTHERS:
        return WITHHELD if text else ""
    for secret in secrets:
        text = text.replace(secret, MARK)
    return text


def _leaves(value: Any) -> Iterator[str | int | float]:
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            pending += one.values()
        elif isinstance(one, list):
            pending += one
        elif isinstance(one, str | int | float) and not isinstance(one, bool):
            yield one
