"""Where the secrets of an event stand, as its handler's type says; pure work on JSON values.

A path names members from the outside in; `EACH` stands for every member of a list or an object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

#: Names of members from the outside in; empty for the whole event.
SecretPath = tuple[str, ...]

#: Stands in a path for each member of a list or an object.
EACH: Final = "*"

#: What stands for a secret wherever an event is shown.
COVERED: Final = {"$secret": True}

#: All of an event.
WHOLE: Final[tuple[SecretPath, ...]] = ((),)


@dataclass(frozen=True, slots=True)
class EventSchema:
    """What the type of a handler's event says, where it says more than that it is JSON."""

    secrets: tuple[SecretPath, ...] = ()


def secret_parts(event: bytes, paths: Sequence[SecretPath]) -> Iterator[bytes]:
    """Give the JSON of each part of an event that is secret; null is none."""
    if not paths:
        return
    whole = msgspec.json.decode(event)
    for path in paths:
        for part in _parts(whole, path):
            if part is not None:
                yield msgspec.json.encode(part)


def covered_event(event: bytes, paths: Sequence[SecretPath]) -> bytes:
    """Give an event as people may see it: what is secret stands as `{"$secret": true}`."""
    if not paths:
        return event
    whole = msgspec.json.decode(event)
    for path in paths:
        whole = _covered(whole, path)
    return msgspec.json.encode(whole)


def _parts(value: Any, path: SecretPath) -> Iterator[Any]:
    if not path:
        yield value
        return
    for _, inner in _members(value, path[0]):
        yield from _parts(inner, path[1:])


def _covered(value: Any, path: SecretPath) -> Any:
    if not path:
        # That nothing is there is no secret.
        return None if value is None else COVERED
    if value == COVERED:
        return value
    for key, inner in _members(value, path[0]):
        value[key] = _covered(inner, path[1:])
    return value


def _members(value: Any, name: str) -> list[tuple[Any, Any]]:
    """The members of a value that a step of a path means, with their places."""
    if isinstance(value, list):
        # Where a type says that one thing is there, and several are, each may be it.
        return list(enumerate(value))
    if not isinstance(value, dict):
        return []
    if name == EACH:
        return list(value.items())
    return [(name, value[name])] if name in value else []
