"""Keeps secrets out of what is shown: pure text work, called where a run is settled.

Texts shorter than four characters are left alone: they stand in ordinary words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

#: What stands where a secret stood.
MARK = "[secret]"

#: Shorter texts and numbers are no secrets that could be told from chance.
MIN_CHARACTERS = 4


def secret_texts(values: Iterable[bytes]) -> tuple[str, ...]:
    """The texts inside JSON values that must not be shown, longest first.

    Each in the forms in which it gets printed: as it is, inside JSON, as Python shows it.
    """
    found: set[str] = set()
    for value in values:
        for leaf in _leaves(json.loads(value)):
            shown = leaf if isinstance(leaf, str) else json.dumps(leaf)
            if len(shown) < MIN_CHARACTERS:
                continue
            found.update((shown, json.dumps(shown)[1:-1], repr(shown)[1:-1]))
    return tuple(sorted(found, key=len, reverse=True))


def redact(text: str, secrets: Iterable[str]) -> str:
    """Replace every secret in a text."""
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
