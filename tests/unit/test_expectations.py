"""What a class may say of how often its state should change, and what it is told otherwise."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bg_charm_service import Charm
from bg_charm_service.sdk.class_schema import DeclarationError
from bg_charm_service.workers.runtime.charm_binding import describe


def kept(expects: object) -> dict[str, float]:
    """What is kept of a class that expects this."""
    annotations = {"items": list[str], "note": str}
    body = {"__annotations__": annotations, "items": [], "note": "", "expects": expects}
    return describe(type("News", (Charm,), body)).expects


@pytest.mark.parametrize(
    ("expects", "seconds"),
    [("1d", 86400.0), ("90s", 90.0), ("5m", 300.0), (2, 2.0), (timedelta(hours=1), 3600.0)],
)
def test_length_of_time_is_for_any_field(expects: object, seconds: float) -> None:
    """Written as a text with a unit, as seconds or as a timedelta."""
    assert {"": seconds} == kept(expects)


def test_fields_have_lengths_of_their_own() -> None:
    """Each that is named is expected to change by itself."""
    assert {"items": 86400.0, "note": 60.0} == kept({"items": "1d", "note": "1m"})


@pytest.mark.parametrize(
    ("expects", "said"),
    [
        ("soon", "expected a text such as"),
        ("", "expected a text such as"),
        (0, "expected a text such as"),
        (True, "expected a text such as"),
        (float("nan"), "expected a text such as"),
        (["1d"], "expected a text such as"),
        ({}, "not nothing"),
        ({"items": None}, "expected a text such as"),
        ({"item": "1d"}, "'item' is no field that it stores; it has items, note"),
        ({1: "1d"}, "1 is no field"),
    ],
)
def test_what_cannot_be_meant_is_refused(expects: object, said: str) -> None:
    """With what is wrong, and what would be right."""
    with pytest.raises(DeclarationError, match=said) as refused:
        kept(expects)
    assert "expects" == refused.value.member


def test_link_cannot_be_expected_to_change() -> None:
    """What it links to is stored elsewhere."""
    from bg_charm_service import Cell

    body = {"__annotations__": {"other": Cell[int]}, "expects": {"other": "1d"}}
    with pytest.raises(DeclarationError, match="is no field that it stores"):
        describe(type("Reader", (Charm,), body))


def test_name_that_the_author_has_for_something_else_stays_the_authors() -> None:
    """A field of that name is a field; a method of that name says nothing, as with each word."""

    class Field(Charm):
        expects: int = 3

    class Stream(Charm):
        def expects(self, event: dict[str, Any]) -> None: ...

    assert ({}, "expects") == (describe(Field).expects, describe(Field).fields[0].name)
    assert ({}, ()) == (describe(Stream).expects, describe(Stream).streams)
