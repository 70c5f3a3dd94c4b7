"""Reading the rows of many charms by one statement: their keys go in as one JSON array.

A statement with a place for each key would be another one for each number of keys; this one is
prepared once, and was as quick as any other way for two hundred keys, and for one.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

#: Keys that are among these: behind an IN.
AMONG = "(SELECT value AS wanted FROM json_each(?))"

#: What to read from, before a `CROSS JOIN table ON charm_key = wanted`.
KEYS = f"{AMONG} AS given"

#: The same for texts, which are `word` in it.
WORDS = "(SELECT value AS word FROM json_each(?1)) AS given"

_encode = msgspec.json.Encoder().encode


def json_keys(charm_keys: Sequence[int]) -> str:
    """Give keys as the parameter of `KEYS`; rows come in their order."""
    return _encode(charm_keys).decode()
