"""Promises of how a charm's state is shown."""

from __future__ import annotations

import json

from bg_charm_service.api.pages.state_view import (
    CUT_CHARACTERS,
    NICE_BYTES,
    read_state,
    shown_fields,
    shown_values,
)


def test_small_values_are_shown_as_json() -> None:
    """Fields come in the order of the class, without what only marks them as a charm."""
    state = {"$NAME": "X", "b": [1], "a": "ä", "bgUpdater": {"$stream": True}}
    shown = shown_fields(state, {"a": "value", "b": "value"})
    assert [("a", '"ä"', False), ("b", "[\n  1\n]", False)] == [
        (one.name, one.text, one.is_folded) for one in shown
    ]


def test_large_values_are_folded_and_cut() -> None:
    """A large value is behind one line that says what it is, and is not sent whole."""
    (items, text, keys) = shown_fields(
        {"items": list(range(20_000)), "text": "x" * 500, "keys": {str(n): n for n in range(200)}},
        {},
    )
    assert (True, True, CUT_CHARACTERS) == (items.is_folded, items.is_cut, len(items.text))
    assert items.summary.startswith("List of 20,000 items, ")
    assert (True, False, "Text of 500 characters") == (text.is_folded, text.is_cut, text.summary)
    assert keys.summary.startswith("Object with 200 keys, ")


def test_items_are_a_line_each() -> None:
    """A small one stands as it is stored, a larger one is folded; a very large one is not read."""
    values = [("a", b'{"x":1}'), ("b", json.dumps("x" * 300).encode())]
    values.append(("c", json.dumps(["y"] * NICE_BYTES).encode()))
    small, text, large = shown_values(values)
    assert ('{"x":1}', False) == (small.text, small.is_folded)
    assert (True, True) == (text.is_folded, text.summary.startswith('"xxx'))
    assert text.summary.endswith("xxx…, 302 B")
    assert (True, True) == (large.is_folded, large.is_cut)
    assert large.summary.startswith('["y", "y", ')


def test_collections_show_how_much_they_have() -> None:
    """Their items are on a page of their own."""
    (shown,) = shown_fields({"box": {"$items": 3, "bytes": 2048}}, {"box": "items"})
    assert ("items", "3 items, 2.0 kB") == (shown.kind, shown.summary)


def test_secrets_and_links() -> None:
    """A secret shows nothing; a link shows where it leads."""
    secret, link = shown_fields(
        {"token": {"$secret": True}, "auth": {"$link": "did/charm/auth"}},
        {"token": "secret", "auth": "cell"},
    )
    assert ("secret", "") == (secret.kind, secret.text)
    assert ("link", "did/charm/auth") == (link.kind, link.text)
    (signed_in,) = shown_fields({"auth": {"$secret": True}}, {"auth": "oauth"})
    assert ("sign-in", "") == (signed_in.kind, signed_in.text)


def test_very_large_values_are_cut_as_they_are_stored() -> None:
    """What would take long to write nicely is not read: its beginning is shown, and its size."""
    items = "[" + "[]," * NICE_BYTES + "1]"
    text = '"' + "é" * NICE_BYTES + '"'
    state = f'{{"small":[1],"items":{items},"text":{text},"keys":{{"a":{text}}},"last":2}}'
    small, first, second, third, last = shown_fields(read_state(state.encode()), {})

    assert ("[\n  1\n]", "2") == (small.text, last.text)
    assert (items[:CUT_CHARACTERS], f"List of {NICE_BYTES + 1:,} items, 786 kB") == (
        first.text,
        first.summary,
    )
    assert (text[:CUT_CHARACTERS], "Text, 524 kB") == (second.text, second.summary)
    assert third.summary == "Object, 524 kB"
    assert all(field.is_cut and field.is_folded for field in (first, second, third))


def test_many_values_of_some_size_are_a_large_state() -> None:
    """The nice form is for so much in all; the rest is shown as it is stored."""
    value = "[" + "1," * (NICE_BYTES // 10) + "1]"
    state = "{" + ",".join(f'"f{number}":{value}' for number in range(9)) + "}"
    shown = shown_fields(read_state(state.encode()), {})

    assert [True] * 4 + [False] * 5 == [field.text.startswith("[\n") for field in shown]


def test_a_state_of_small_values_is_read_as_it_is() -> None:
    """Reading changes nothing of what fits."""
    state = {"$NAME": "X", "a": [1, {"b": None}], "token": {"$secret": True}}
    assert state == read_state(json.dumps(state).encode())
