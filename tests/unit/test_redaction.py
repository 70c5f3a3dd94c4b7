"""Secrets do not get into what is shown."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bg_charm_service.domain.redaction import (
    MARK,
    MIN_CHARACTERS,
    MOST_BYTES,
    MOST_TEXTS,
    WITHHELD,
    redact,
    secret_texts,
)


def test_texts_inside_a_value_are_replaced() -> None:
    """Every text of a nested value is a secret, its keys are not."""
    secrets = secret_texts([b'{"token": "abcd-1234", "scopes": ["mail.read"], "expires": 1790000}'])
    shown = redact("token abcd-1234 for mail.read until 1790000", secrets)
    assert f"token {MARK} for {MARK} until {MARK}" == shown


def test_longer_secrets_go_first() -> None:
    """A secret that contains another one leaves no rest behind."""
    secrets = secret_texts([b'["pass", "password-2"]'])
    assert f"is {MARK}" == redact("is password-2", secrets)


def test_short_values_stay() -> None:
    """What could stand anywhere by chance is not replaced."""
    secrets = secret_texts([b'["a", 12, true, null]'])
    assert "a 12 true null" == redact("a 12 true null", secrets)


def test_no_secrets_no_change() -> None:
    """Without secrets a text is as it was."""
    assert "as it was" == redact("as it was", secret_texts([]))


@given(st.text(min_size=MIN_CHARACTERS, alphabet=st.characters(exclude_categories=["Cs"])))
def test_no_printed_form_shows_the_secret(secret: str) -> None:
    """However a text is printed, plainly, as JSON or by repr, it does not show."""
    secrets = secret_texts([json.dumps(secret).encode()])
    for form in (secret, json.dumps(secret), json.dumps({"key": secret}), repr([secret])):
        left = redact(form, secrets).replace(MARK, "")
        assert secret not in left, form


@pytest.mark.parametrize(
    ("values", "is_withheld"),
    [
        ([json.dumps([f"text {number}" for number in range(MOST_TEXTS)]).encode()], False),
        ([json.dumps([f"text {number}" for number in range(MOST_TEXTS + 1)]).encode()], True),
        ([json.dumps("x" * (MOST_BYTES - 2)).encode()], False),
        ([json.dumps("x" * (MOST_BYTES // 2)).encode()] * 2, True),
    ],
)
def test_too_many_secrets_withhold_the_whole(values: list[bytes], *, is_withheld: bool) -> None:
    """What cannot be looked for in time is not shown at all; an empty text stays empty."""
    secrets = secret_texts(values)
    shown = redact("what it printed: text 7", secrets)
    assert is_withheld == (shown == WITHHELD)
    assert "text 7" not in shown or values[0].startswith(b'"')
    assert "" == redact("", secrets)
    more = tuple(sorted({*secrets, "another one"}, key=len, reverse=True))
    assert is_withheld == (WITHHELD == redact("another one", more))
