"""Promises of how a charm's state is shown."""

from __future__ import annotations

from bg_charm_service.api.pages.state_view import CUT_CHARACTERS, shown_fields


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


def test_secrets_and_links() -> None:
    """A secret shows nothing; a link shows where it leads."""
    secret, link = shown_fields(
        {"token": {"$secret": True}, "auth": {"$link": "did/charm/auth"}},
        {"token": "secret", "auth": "cell"},
    )
    assert ("secret", "") == (secret.kind, secret.text)
    assert ("link", "did/charm/auth") == (link.kind, link.text)
