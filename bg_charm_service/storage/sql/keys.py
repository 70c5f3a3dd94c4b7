"""Reading the rows of many charms by one statement: their keys go in as one JSON array.

A statement with a place for each key would be another one for each number of keys; this one is
prepared once, and was as quick as any other way for two hundred keys, and for one.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

#: What to read from, before a `CROSS JOIN table ON charm_key = wanted`.
KEYS = "(SELECT value AS wanted FROM json_each(?))"

_encode = msgspec.json.Encoder().encode


def json_keys(charm_keys: Sequence[int]) -> str:
    """Give keys as the parameter of `KEYS`; rows come in their order."""
    return _encode(charm_keys).decode()
