"""Promises of how a page shows items: columns, cells, and one of them whole."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bg_charm_service.api.pages.items_view import (
    CELL_CHARACTERS,
    Cell,
    is_by_day,
    members_of,
    table_of,
)


def stored(*values: Any) -> list[tuple[str, bytes]]:
    """Items with these values."""
    return [(str(number), json.dumps(value).encode()) for number, value in enumerate(values)]


def test_columns_are_those_that_the_type_names() -> None:
    """What lacks a member, or is no object, has an empty cell there."""
    table = table_of([("b", "B"), ("x", "X")], stored({"a": 1, "b": [1, "c"]}, "text"))
    assert table is not None
    assert (("b", "B"), ("x", "X")) == table.columns
    assert [["1, c", ""], ["", ""]] == [[cell.text for cell in row.cells] for row in table.rows]


def test_columns_are_found_where_a_type_names_none() -> None:
    """Members that are one short thing each, in their order; scalars make no table."""
    long = "x" * (CELL_CHARACTERS + 1)
    table = table_of([], stored({"a_b": 1, "c": long, "d": {}}, {"a_b": None, "e": True}))
    assert table is not None
    assert (("a_b", "A b"), ("e", "E")) == table.columns
    assert ["", "yes"] == [cell.text for cell in table.rows[1].cells]
    assert None is table_of([], stored("a", {"b": 1}))
    assert None is table_of([], stored({"c": long}))
    assert None is table_of([], [])


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("2026-11-30T08:30:00.5Z", Cell("2026-11-30 08:30", "2026-11-30 08:30 UTC", True)),
        ("2026-11-30T08:30:00+01:00", Cell("2026-11-30 08:30", "2026-11-30 08:30 UTC+01:00", True)),
        ("2026-11-30T08:30", Cell("2026-11-30 08:30", "2026-11-30 08:30", True)),
        ("2026-11-30", Cell("2026-11-30")),
        ("two\n lines", Cell("two lines", "two\n lines")),
        (None, Cell("")),
        (0.5, Cell("0.5")),
        ([{"a": 1}], Cell('[{"a":1}]')),
    ],
)
def test_cells(value: Any, cell: Cell) -> None:
    """Times as people write them, the rest on one line; the whole of it as a title."""
    table = table_of([("a", "A")], stored({"a": value}))
    assert table is not None
    assert cell == table.rows[0].cells[0]


def test_long_texts_are_cut_in_a_cell() -> None:
    """Not on the page of the item, but where it is very long."""
    table = table_of([("a", "A")], stored({"a": "x" * 30_000}))
    assert table is not None
    assert CELL_CHARACTERS == len(table.rows[0].cells[0].text)
    text, inner, empty, flag = members_of(
        json.dumps({"a": "x" * 30_000, "b": {"c": 1}, "d": None, "e": False}).encode()
    )
    assert (20_000, True) == (len(text.text), text.is_cut)
    assert ['{\n  "c": 1\n}', "", "no"] == [inner.text, empty.text, flag.text]
    assert ["2026-11-30 08:30 UTC"] == [one.text for one in members_of(b'"2026-11-30T08:30:00Z"')]


def test_keys_that_begin_with_a_day() -> None:
    """All of them, or the list does not begin at one."""
    assert is_by_day(["2026-11-30 a", "2026-11-30T08:00:00Z"])
    assert not is_by_day(["2026-11-30 a", "b"])
    assert not is_by_day(["2026-11-301"])
    assert not is_by_day([])
