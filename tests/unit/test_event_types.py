"""What the type of a handler's event says: what in it is secret, and what does not fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, NotRequired, TypedDict

import msgspec
import pytest
from pydantic import BaseModel, Field

from bg_charm_service import Charm, Secret
from bg_charm_service.domain.errors import NotFound
from bg_charm_service.domain.events.secret_paths import covered_event, secret_parts
from bg_charm_service.workers.runtime.charm_binding import check_event, describe


class Account(TypedDict):
    """A part of an event."""

    name: str
    key: NotRequired[Secret[str | None]]


class Order(TypedDict):
    """An event with a secret inside."""

    accounts: list[Account]
    by_name: dict[str, Account]


@dataclass
class Card:
    """An event as a dataclass."""

    number: Secret[str]
    holder: str = ""


class Node(BaseModel):
    """An event that holds others of its kind."""

    token: Annotated[Secret[str], Field(alias="accessToken")] = ""
    inside: list[Node] = []


class Plain(BaseModel):
    """An event without a secret."""

    count: int


class Typed(Charm):
    """Has a handler of each kind."""

    def bg_updater(self, event: dict[str, Any]) -> None:
        """Take anything."""

    def bare(self, event) -> None:  # type: ignore[no-untyped-def]
        """Take anything."""

    def hidden(self, event: NotThere) -> None:  # type: ignore[name-defined]  # noqa: F821
        """Take what is there for type checkers only."""

    def order(self, event: Order) -> None:
        """Take an order."""

    def card(self, event: Card) -> None:
        """Take a card."""

    def node(self, event: Node) -> None:
        """Take a node."""

    def whole(self, event: Secret[str]) -> None:
        """Take a secret."""

    def plain(self, event: Plain) -> None:
        """Take a number."""


EVENTS = describe(Typed).events

SHOWN = {"$secret": True}


def test_only_types_that_say_something_are_known() -> None:
    """A handler of any JSON has none, nor one whose type cannot be looked up."""
    assert {"order", "card", "node", "whole", "plain"} == set(EVENTS)
    assert () == EVENTS["plain"].secrets


@pytest.mark.parametrize(
    ("stream", "event", "shown", "secret"),
    [
        (
            "order",
            {
                "accounts": [{"name": "a", "key": "k1"}, {"name": "b", "key": None}],
                "by_name": {"c": {"name": "c", "key": "k2"}},
            },
            {
                "accounts": [{"name": "a", "key": SHOWN}, {"name": "b", "key": None}],
                "by_name": {"c": {"name": "c", "key": SHOWN}},
            },
            ["k1", "k2"],
        ),
        ("card", {"number": "4711", "x": 1}, {"number": SHOWN, "x": 1}, ["4711"]),
        ("card", {"number": ["4711"]}, {"number": SHOWN}, [["4711"]]),
        ("card", [{"number": "4711"}], [SHOWN], [{"number": "4711"}]),
        ("card", "4711", "4711", []),
        ("node", {"accessToken": "t"}, {"accessToken": SHOWN}, ["t"]),
        (
            "node",
            {"token": "t", "inside": [{"token": "u"}]},
            {"token": SHOWN, "inside": [SHOWN]},
            ["t", {"token": "u"}],
        ),
        ("whole", "all of it", SHOWN, ["all of it"]),
        ("plain", {"count": 1}, {"count": 1}, []),
    ],
)
def test_secrets_are_found_and_covered(
    stream: str, event: object, shown: object, secret: list[object]
) -> None:
    """Wherever the type has one, whatever stands there; what no member leads to is as it is."""
    paths = EVENTS[stream].secrets
    stored = msgspec.json.encode(event)
    assert shown == msgspec.json.decode(covered_event(stored, paths))
    assert secret == [msgspec.json.decode(part) for part in secret_parts(stored, paths)]


def test_an_event_is_checked_without_telling_what_is_in_it() -> None:
    """What does not fit is named by its place, and where a type has secrets by its kind alone."""
    assert "" == check_event(Typed, "plain", b'{"count": 1}')
    assert "" == check_event(Typed, "bgUpdater", b"17")
    assert "event.count: Field required" == check_event(Typed, "plain", b"{}")
    wrong = check_event(Typed, "order", b'{"accounts": [{"key": "k1"}], "by_name": {}}')
    assert "event.accounts.0.name: missing" == wrong
    with pytest.raises(NotFound, match="no stream other"):
        check_event(Typed, "other", b"{}")
