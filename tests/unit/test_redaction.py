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
    mask,
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


def test_an_address_is_no_secret_in_parts() -> None:
    """A webhook's address is its key: a request is told without its scheme, or by its path."""
    secrets = secret_texts([b'"https://chat.example/api/webhooks/12/the-key?x=1"'])
    texts = [
        "POST https://chat.example/api/webhooks/12/the-key?x=1",
        "POST chat.example/api/webhooks/12/the-key answered 500",
        "POST /api/webhooks/12/the-key",
    ]
    assert all("the-key" not in redact(text, secrets) for text in texts)
    short = secret_texts([b'["https://chat.example/", "ftp://chat.example/a/b/cdefghijk"]'])
    assert "chat.example/ /a/b/cdefghijk" == redact("chat.example/ /a/b/cdefghijk", short)


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


#: Texts that hold credentials, as libraries and people print them, and what is shown of them.
MASKED = {
    # URLs: the user part, the query, and what follows a hash by its name.
    "GET https://me:pa55@api.example/v1?appid=abc failed": (
        "GET https://[secret]@api.example/v1?[secret] failed"
    ),
    "postgres://me:pa/55@db.example/name": "postgres://[secret]@db.example/name",
    "redis://:pa55@db.example:6379/0": "redis://[secret]@db.example:6379/0",
    "http://a/b:c@d": "http://a/b:c@d",
    "https://h.example/x?opaque": "https://h.example/x?[secret]",
    "https://h.example/#access_token=abc&state=1": "https://h.example/#access_token=[secret]&state=1",
    '{"url": "https:\\/\\/me:pa55@h.example\\/x?a=1"}': (
        '{"url": "https:\\/\\/[secret]@h.example\\/x?[secret]"}'
    ),
    "Max retries exceeded with url: /v1?appid=abc (Caused by X)": (
        "Max retries exceeded with url: /v1?[secret] (Caused by X)"
    ),
    # Headers: as lines, as a dict, as pairs, as an argument, inside what was printed by repr.
    "Authorization: Bearer abc\nHost: x": "Authorization: [secret]\nHost: x",
    "proxy-authorization: Basic abc==": "proxy-authorization: [secret]",
    'Authorization: Charm-Signature did="did:key:z", nonce="n"': "Authorization: [secret]",
    "Cookie: a=b; c=d": "Cookie: [secret]",
    "Set-Cookie: a=b; Path=/": "Set-Cookie: [secret]",
    "X-Goog-Api-Key: abc": "X-Goog-Api-Key: [secret]",
    "{'Authorization': 'Bearer abc', 'Accept': '*/*'}": (
        "{'Authorization': '[secret]', 'Accept': '*/*'}"
    ),
    "[(b'cookie', b'a=b; c=d'), (b'host', b'x')]": "[(b'cookie', b'[secret]'), (b'host', b'x')]",
    "curl -H 'Authorization: Bearer abc' -H 'Accept: x' h": (
        "curl -H 'Authorization: [secret]' -H 'Accept: x' h"
    ),
    "b'GET / HTTP/1.1\\r\\nAuthorization: Basic abc\\r\\nHost: x'": (
        "b'GET / HTTP/1.1\\r\\nAuthorization: [secret]\\r\\nHost: x'"
    ),
    # Values by the names that they have.
    "key=abc token=abc secret=abc password=abc": (
        "key=[secret] token=[secret] secret=[secret] password=[secret]"
    ),
    "api_key=abc, access_token=abc; apikey=abc": (
        "api_key=[secret], access_token=[secret]; apikey=[secret]"
    ),
    "clientSecret=abc&accessKey=abc&x=1": "clientSecret=[secret]&accessKey=[secret]&x=1",
    "AWS_SECRET_ACCESS_KEY=a/b+c OPERATOR_PASS=abc": (
        "AWS_SECRET_ACCESS_KEY=[secret] OPERATOR_PASS=[secret]"
    ),
    "login(user='me', password='p a', retries=3)": (
        "login(user='me', password='[secret]', retries=3)"
    ),
    'password = "p a"': 'password = "[secret]"',
    '{"token": "a\\"b", "n": 1}': '{"token": "[secret]", "n": 1}',
    '{"pin_secret": 12345, "n": 1}': '{"pin_secret": [secret], "n": 1}',
    "{'api_key': b'abc'}": "{'api_key': b'[secret]'}",
    '"{\\"token\\": \\"abc\\"}"': '"{\\"token\\": \\"[secret]\\"}"',
    # Tokens of this service, whatever stands around them.
    "sent bgc_0123456789abcdefghijklmnop to it": "sent [secret] to it",
}

#: What is shown as it is: ids, DIDs, and words that only look alike.
PLAIN = [
    "did:key:z6Mkfuw7h6jDwqVb6wimYGys14JFcyTem4Kqvdj9DjpFhY88/baedreiejlbo3grw733nk7wp5mzjfqyzpa7h",
    "of:baedreiejlbo3grw733nk7wp5mzjfqyzpa7hquspn4yt4np6zq3375fpavq",
    "key=did:key:z6Mkfuw7h6jDwqVb6wimYGys14JFcyTem4Kqvdj9DjpFhY88 token=of:baedreiejlbo",
    "KeyError: 'key'",
    "Invalid token: unexpected end; the password is wrong, its key: none",
    "monkey=banana turkey=hot max_tokens=4096 tokens: 5",
    '{"token": null, "secret": true}',
    "https://h.example:8080/path/@scope/name#part",
    "http://[::1]:80/a@b",
    "Is it so? Then x=y.",
    "2 + 2 = 4; the key = value pairs",
    "cookies are sweet, authorization is needed",
    "",
]


@pytest.mark.parametrize(("text", "shown"), MASKED.items())
def test_credentials_are_masked(text: str, shown: str) -> None:
    """What looks like a credential does not show; what was masked stays as it is."""
    assert shown == mask(text)
    assert shown == mask(shown)


@pytest.mark.parametrize("text", PLAIN)
def test_ordinary_text_is_not_masked(text: str) -> None:
    """Ids, DIDs and ordinary words are no credentials."""
    assert text == mask(text)


@given(
    st.text(st.characters(exclude_categories=["Cs", "Nd"]), max_size=40),
    st.sampled_from(["token={}", '"token": "{}"', "https://me:{}@h/", "Authorization: {}"]),
    st.text("0123456789", min_size=12, max_size=40),
)
def test_no_value_shows_whatever_stands_before_it(before: str, form: str, value: str) -> None:
    """No text in front of a credential keeps it from being found."""
    assert value not in mask(f"{before} {form.format(value)}")


@pytest.mark.parametrize(
    "piece",
    ["/", "://", "?a", "token=", '"token": "', "'key':", "authorization: ", "'cookie: ", "x-a-",
     "a", "\\", "token=)))", "://a:b/@", "?", "password \"", '\\"key', "=", "key'",
     "https://a.b/c?d=e "],
)  # fmt: skip
def test_a_long_text_ends(piece: str) -> None:
    """No text is looked at again and again: with the square of its length, this would not end."""
    text = (piece * 300_000)[:300_000]
    assert mask(f"{text}\n token=abc").endswith("\n token=[secret]")
