"""What in a value JSON cannot say: where it stands, and how its library makes it plain.

Used by a field whose value could not be written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

#: What libraries call the method that gives plain values: numpy, pandas, polars, pyarrow and torch.
_TO_PLAIN: Final = ("tolist", "to_list", "to_pylist", "to_dicts", "to_dict")

#: So many parts of a value are looked at.
_MOST_PARTS: Final = 10_000

_MOST_CHARACTERS_OF_A_KEY: Final = 40


def place_of(part: Any, value: Any) -> str:
    """Say where `part` stands in containers of Python, as `.orders.3`; empty where not found."""
    pending: list[tuple[str, Any]] = [("", value)]
    seen: set[int] = set()
    while pending and len(seen) < _MOST_PARTS:
        place, current = pending.pop()
        if current is part:
            return place
        if id(current) not in seen:
            seen.add(id(current))
            pending += [(f"{place}.{name}", each) for name, each in _inside(current)]
    return ""


def remedy_for(part: Any) -> str:
    """Say what to store instead of a library's value; empty where nobody can tell."""
    kind = type(part)
    if hasattr(kind, "item") and getattr(part, "shape", None) == ():
        return "store what its `.item()` gives"
    for method in _TO_PLAIN:
        if hasattr(kind, method):
            return f"store what its `.{method}()` gives"
    return ""


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield _name(key), each
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield str(number), each


def _name(key: Any) -> str:
    if not isinstance(key, str):
        return str(key) if isinstance(key, int) else type(key).__name__
    short = " ".join(key[:_MOST_CHARACTERS_OF_A_KEY].split())
    return short.encode(errors="backslashreplace").decode()
