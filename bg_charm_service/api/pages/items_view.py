"""Items of a collection as a table, and one of them as a list of its members. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from bg_charm_service.api.pages.state_view import CUT_CHARACTERS
from bg_charm_service.domain.text_limits import cut
from bg_charm_service.service.commands.items import member_text

#: Longer texts are cut in a cell, in characters.
CELL_CHARACTERS: Final = 160

#: Where a class names no columns, they are looked for in so many items, and are so many.
_LOOKED_AT: Final = 20
_MOST_COLUMNS: Final = 6

_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}(?!\d)")
_TIME: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2})(:\d{2}(?:\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?"
)

Columns = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Cell:
    """One text of a table; `title` is the whole of it, where the text is not."""

    text: str
    title: str = ""
    is_time: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """An item, by its key."""

    key: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Items in columns, each with its key and title."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an item, as a text."""

    name: str
    text: str
    is_cut: bool = False


def table_of(columns: Columns, items: Sequence[tuple[str, bytes]]) -> Table | None:
    """Make a table of items, given by key and JSON; None where they have no members to show."""
    values = [(key, msgspec.json.decode(stored)) for key, stored in items]
    columns = columns or _found_columns([value for _, value in values[:_LOOKED_AT]])
    if not columns:
        return None
    rows = [
        Row(key, tuple(_cell(_member(value, name)) for name, _ in columns)) for key, value in values
    ]
    return Table(tuple(columns), tuple(rows))


def members_of(stored: bytes) -> list[Member]:
    """Give the members of an item; what is no object is one without a name."""
    value = msgspec.json.decode(stored)
    members = value.items() if isinstance(value, dict) else [("", value)]
    return [_shown(name, one) for name, one in members]


def is_by_day(keys: Sequence[str]) -> bool:
    """Whether keys begin with their day, so that a list can begin at one."""
    return bool(keys) and all(_DAY.match(key) for key in keys)


def _found_columns(values: Sequence[Any]) -> Columns:
    found: dict[str, bool] = {}
    for value in values:
        if not isinstance(value, dict):
            return ()
        for name, member in value.items():
            is_short = (
                not isinstance(member, dict | list) and len(member_text(member)) <= CELL_CHARACTERS
            )
            found[name] = found.get(name, True) and is_short
    names = [name for name, is_short in found.items() if is_short][:_MOST_COLUMNS]
    return [(name, name.replace("_", " ").strip().capitalize() or name) for name in names]


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _cell(value: Any) -> Cell:
    if isinstance(value, str) and (found := _TIME.fullmatch(value)):
        day, minute, _, offset = found.groups()
        zone = "" if offset is None else " UTC" if offset == "Z" else f" UTC{offset}"
        return Cell(f"{day} {minute}", f"{day} {minute}{zone}", is_time=True)
    whole = member_text(value)
    text = cut(" ".join(whole[: CELL_CHARACTERS * 4].split()), CELL_CHARACTERS)
    return Cell(text, whole[:1000] if text != whole else "")


def _shown(name: str, value: Any) -> Member:
    if isinstance(value, dict) or (
        isinstance(value, list) and not all(isinstance(one, str | int | float) for one in value)
    ):
        text = json.dumps(value, ensure_ascii=False, indent=2)
    else:
        text = _cell(value).title if _is_time(value) else member_text(value)
    return Member(name, text[:CUT_CHARACTERS], is_cut=len(text) > CUT_CHARACTERS)


def _is_time(value: Any) -> bool:
    return isinstance(value, str) and _TIME.fullmatch(value) is not None
