"""Reads from a charm class what it says to the service, and which names of `Charm` it has taken.

A name that is annotated is a field, and one that the class defines is its own: both win over what
the service means by it, so that a charm never breaks when `Charm` gains a name. What the words
mean is not known here. Used when a class is described, never for a run.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection
from datetime import timedelta
from typing import Any, Final

from bg_charm_service.domain.class_words import METHOD_WORDS, VALUE_WORDS, Said

_MISSING: Final = object()

#: A word that is no scalar is told by so many characters of its repr.
_SHOWN_CHARACTERS: Final = 80


def own_attribute(cls: type, base: type, name: str, default: Any = _MISSING) -> Any:
    """Give what a class, or one between it and `base`, defines under a name; else `default`."""
    for owner in cls.__mro__:
        if owner is not object and not issubclass(base, owner) and name in vars(owner):
            return vars(owner)[name]
    return default


def said_by(cls: type, base: type, fields: Collection[str]) -> dict[str, Said]:
    """Give the words that a class says by plain attributes, as they stand there."""
    said: dict[str, Said] = {}
    for word in VALUE_WORDS:
        value = own_attribute(cls, base, word)
        if value is _MISSING or value is None or word in fields or inspect.isroutine(value):
            continue
        if not isinstance(value, property | classmethod | staticmethod):
            said[word] = _scalar(value)
    return said


def hidden_names(cls: type, base: type) -> tuple[str, ...]:
    """Give the public names of `base` that a class uses for something of its own."""
    public = [name for name in dir(base) if not name.startswith("_")]
    return tuple(name for name in public if own_attribute(cls, base, name) is not _MISSING)


def is_word(name: str) -> bool:
    """Whether a method of this name is no stream."""
    return name in VALUE_WORDS or name in METHOD_WORDS


def _scalar(value: object) -> Said:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool | int | float | str) and type(value) in (bool, int, float, str):
        return value
    try:
        return f"{value!r:.{_SHOWN_CHARACTERS}}"
    except Exception:
        return f"a {type(value).__name__}"
