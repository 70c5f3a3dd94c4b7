"""Cell and Stream on their own, as tests of charms and integrations meet them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_type_hints

import pytest
from pydantic import BaseModel

from bg_charm_service import Cell, Secret, Stream
from bg_charm_service.domain.errors import StateError

CHARM = {"$NAME": "Mail", "bgUpdater": {"$stream": True}, "auth": {"scope": ["read", "send"]}}


class Auth(BaseModel):
    """A model to link to."""

    token: str = ""
    expires: int = 0


@dataclass(frozen=True)
class Point:
    """A dataclass to link to."""

    x: int = 0
    y: int = 0


def test_get_gives_what_was_set() -> None:
    """A cell holds the last value that was set."""
    cell = Cell(1)
    cell.set(2)

    assert cell.get() == 2


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (["bgUpdater"], {"$stream": True}),
        (["auth", "scope"], ["read", "send"]),
        (["auth", "scope", 1], "send"),
        (["auth", "scope", -1], "send"),
        (["auth", "scope", 2], None),
        (["auth", "scope", "name"], None),
        (["auth", "token", "value"], None),
        (["$NAME", "length"], None),
        (["nothing"], None),
    ],
)
def test_key_reads_members_at_any_depth(path: list[str | int], expected: object) -> None:
    """A chain of keys reads a nested member; one that is not there reads as None."""
    cell: Cell[Any] = Cell(CHARM)
    for name in path:
        cell = cell.key(name)

    assert cell.get() == expected


def test_key_reads_models_and_dataclasses() -> None:
    """Members of typed values are their attributes."""
    assert Cell(Auth(token="t")).key("token").get() == "t"
    assert Cell(Point(y=3)).key("y").get() == 3


def test_key_writes_members_at_any_depth() -> None:
    """Setting a nested member leaves its neighbours as they are."""
    cell = Cell({"auth": {"scope": ["read"], "token": "old"}})
    cell.key("auth").key("token").set("new")
    cell.key("auth").key("scope").key(0).set("write")

    assert cell.get() == {"auth": {"scope": ["write"], "token": "new"}}


def test_key_makes_dicts_on_the_way() -> None:
    """Setting a member of something missing makes a dict for it."""
    cell: Cell[dict[str, Any]] = Cell({})
    cell.key("a").key("b").set(1)

    assert cell.get() == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("value", "changes", "expected"),
    [
        ({"a": 1, "b": 2}, {"b": 3}, {"a": 1, "b": 3}),
        (Auth(token="old", expires=9), {"token": "new"}, Auth(token="new", expires=9)),
        (Point(1, 2), {"x": 5}, Point(5, 2)),
        (None, {"a": 1}, {"a": 1}),
    ],
)
def test_update_replaces_some_members(
    value: Any, changes: dict[str, object], expected: object
) -> None:
    """Update changes what it names, in dicts, models and dataclasses."""
    cell = Cell(value)
    cell.update(changes)

    assert cell.get() == expected


@pytest.mark.parametrize("value", [Auth(), Point()])
def test_update_refuses_unknown_members(value: Any) -> None:
    """A typed value takes no member that its type does not have."""
    with pytest.raises(StateError, match="has no member 'tokne'"):
        Cell(value).update({"tokne": "x"})


@pytest.mark.parametrize("value", [1, "text", True])
def test_update_needs_members(value: Any) -> None:
    """A plain value has nothing to update."""
    with pytest.raises(StateError, match="has no members"):
        Cell(value).update({"a": 1})


def test_list_items_are_not_appended_by_key() -> None:
    """A list's key must be there to be set."""
    with pytest.raises(StateError, match="no item 1 in a list of 1"):
        Cell(["a"]).key(1).set("b")


def test_read_only_cell_refuses_every_write() -> None:
    """A cell that may only be read refuses set, update and nested writes."""
    cell = Cell({"a": 1}, writable=False)

    with pytest.raises(StateError, match="only be read"):
        cell.set({})
    with pytest.raises(StateError, match="only be read"):
        cell.update({"a": 2})
    with pytest.raises(StateError, match="only be read"):
        cell.key("a").set(2)
    assert cell.get() == {"a": 1}


def test_stream_keeps_what_was_sent() -> None:
    """A stream by itself collects its events in order."""
    stream = Stream()
    stream.send({"n": 1})
    stream.send({"n": 2})

    assert stream.sent == [{"n": 1}, {"n": 2}]


def test_secret_is_the_plain_type_in_code() -> None:
    """To everything but this service, Secret[str] is str."""

    class Holder:
        token: Secret[str]

    assert get_type_hints(Holder)["token"] is str
