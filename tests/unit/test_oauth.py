"""What a provider is, what a token answer means, and what of a sign-in a run may see."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.oauth import (
    Provider,
    advice_of,
    asked_scopes,
    check_endpoint,
    check_provider,
    discovered,
    error_of,
    fingerprint,
    integration_of,
    is_about_client,
    is_over,
    metadata_urls,
    obtained_at,
    read_answer,
    refresh_token_of,
    secrets_of,
    token_of,
    with_user,
    without_refresh_token,
)
from bg_charm_service.domain.package_folder import PACKAGE_FOLDER
from bg_charm_service.sign_in.providers import shipped_providers

PROVIDER = Provider(
    "example",
    "https://example.org/authorize",
    "https://example.org/token",
    user={"email": "mail", "name": "login"},
)

ISSUER = "https://example.org/tenant"

DOCUMENT = {
    "issuer": ISSUER,
    "authorization_endpoint": "https://example.org/authorize",
    "token_endpoint": "https://example.org/token",
}


def read(answer: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Read an answer of a provider that was asked at 1000; gives what is stored."""
    found = read_answer(
        {"access_token": "new", **answer}, asked_at=1000.0, answered_at=1001.0, **more
    )
    assert found is not None
    stored: dict[str, Any] = json.loads(found.stored)
    assert found.expires_at == stored["expiresAt"] / 1000
    return stored


def test_a_token_is_as_old_as_its_answer_or_its_request() -> None:
    """One whose answer was not looked at for long, as when the machine slept, is none that is new.

    The clock may have been set back meanwhile.
    """
    assert 1002 == obtained_at(1000.0, 1002.0)
    assert 1000 == obtained_at(1000.0, 4600.0)
    assert 1000 == obtained_at(1000.0, 400.0)


@pytest.mark.parametrize(
    ("said", "ends_at"),
    [
        (None, 0),
        (3600, 4600),
        (3600.5, 4600.5),
        ("3600", 4600),
        ("3600.5", 4600.5),
        # Whoever says that it is over means it; what nobody can read is over at once too.
        (0, 1000),
        (-5, 1000),
        ("soon", 1000),
        (True, 1000),
        ([], 1000),
        (float("nan"), 1000),
        (float("inf"), 1000),
        ("1e400", 1000),
        (10**400, 1000),
        (10**12, 1000 + 10**9),
    ],
)
def test_when_a_token_ends(said: Any, ends_at: float) -> None:
    """Counted from when it was asked for; without a word it has no end."""
    answer = {} if said is None else {"expires_in": said}
    assert ends_at * 1000 == read(answer)["expiresAt"]


def test_what_an_answer_leaves_out_stays() -> None:
    """The refresh token, the scopes, the person: a refresh may say nothing of them."""
    before = {
        "token": "old",
        "refreshToken": "kept",
        "scope": ["a", "b"],
        "user": {"email": "me@example.org"},
        "tokenType": "Bearer",
    }
    stored = read({"expires_in": 10}, before=json.dumps(before).encode())
    assert {**before, "token": "new", "expiresIn": 10.0, "expiresAt": 1010000} == stored


@pytest.mark.parametrize("given", ["", None, 5, "x" * 20_000, "\ud800"])
def test_a_refresh_token_that_is_none_replaces_none(given: Any) -> None:
    """What cannot be used is not put in the place of one that can."""
    before = json.dumps({"refreshToken": "kept"}).encode()
    assert "kept" == read({"refresh_token": given}, before=before)["refreshToken"]


def test_a_rotated_token_replaces_the_old_one() -> None:
    """Also where there was none."""
    before = json.dumps({"refreshToken": "old"}).encode()
    assert "next" == read({"refresh_token": "next"}, before=before)["refreshToken"]
    assert "next" == read({"refresh_token": "next"})["refreshToken"]


@pytest.mark.parametrize(
    ("said", "scopes"),
    [
        ("a b", ["a", "b"]),
        ("a,b", ["a", "b"]),
        (["a", 5], ["a"]),
        (None, ["asked"]),
        ("", ["asked"]),
    ],
)
def test_scopes(said: Any, scopes: list[str]) -> None:
    """Between blanks, between commas, as a list; what was asked for where nothing is said."""
    assert scopes == read({"scope": said}, scopes=("asked",))["scope"]


@pytest.mark.parametrize("token", [None, "", 5, {}, "x" * 20_000, "\ud800"])
def test_an_answer_without_a_token_is_none(token: Any) -> None:
    """Nothing is stored of it."""
    assert read_answer({"access_token": token}, asked_at=0.0, answered_at=0.0) is None


def test_slack_gives_the_tokens_of_a_person_inside() -> None:
    """Where there is no bot, the token of the answer is that of the person."""
    answer = {"ok": True, "authed_user": {"access_token": "theirs", "refresh_token": "next"}}
    found = read_answer(answer, asked_at=0.0, answered_at=0.0)
    assert found is not None
    assert ("theirs", "next") == (token_of(found.stored), refresh_token_of(found.stored))


def test_a_run_sees_all_but_the_refresh_token() -> None:
    """And what must show nowhere are both tokens."""
    found = read_answer(
        {"access_token": "one", "refresh_token": "two"}, asked_at=0.0, answered_at=0.0
    )
    assert found is not None
    seen = json.loads(without_refresh_token(found.stored))
    assert ["token", "tokenType", "scope", "expiresIn", "expiresAt", "user"] == list(seen)
    assert [b'"one"', b'"two"'] == secrets_of(found.stored)
    assert fingerprint("one") != fingerprint("two")


def test_who_has_signed_in() -> None:
    """By the names that the provider has for it; what is no text is left out."""
    stored = json.dumps({"token": "t"}).encode()
    said = {"mail": "me@example.org", "login": 5, "other": "x"}
    assert {"email": "me@example.org"} == json.loads(with_user(stored, PROVIDER, said))["user"]
    assert json.loads(with_user(stored, PROVIDER, {}))["user"] is None
    assert stored == with_user(stored, PROVIDER, ["me"])


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"error": "invalid_grant"}, "invalid_grant"),
        ({"error": {"message": "no"}}, "unknown_error"),
        ({"error": "<b>no</b> way"}, "unknown_error"),
        ({"ok": False, "error": "token_revoked"}, "token_revoked"),
        ({"ok": False}, "unknown_error"),
        ({"access_token": "t"}, ""),
        ([], ""),
    ],
)
def test_the_word_of_a_refusal(answer: Any, error: str) -> None:
    """A plain word, or one of ours; an answer without one is none."""
    assert error == error_of(answer)


def test_whose_fault_a_refusal_is() -> None:
    """A person signs in again, or the operator looks at the client; else nobody does anything."""
    words = ("invalid_grant", "invalid_client", "temporarily_unavailable")
    assert [(True, False), (False, True), (False, False)] == [
        (is_over(word), is_about_client(word)) for word in words
    ]


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/token",
        "https://example.org:8443/token?x=1",
        "http://localhost:8000/token",
        "http://127.0.0.1/token",
        "http://[::1]:80/token",
    ],
)
def test_endpoints_that_are_asked(url: str) -> None:
    """By TLS, or on this machine."""
    check_endpoint(url, "token_url")


@pytest.mark.parametrize(
    "url",
    [
        *("", "x", "http://example.org/token", "ftp://example.org", "https://"),
        *("https://me:secret@example.org/", "https://example.org/#part", "https://exa mple.org"),
        *("http://localhost.example.org/", "http://127.0.0.1.example.org", "https://example.org:0"),
        *(
            "https://example.org:99999/",
            "https://[::1",
            "https://exämple.org/",
            "file:///etc/passwd",
        ),
        *("http://0.0.0.0/", "https://example.org/" + "x" * 2000, "https://example.org/\n"),
    ],
)
def test_endpoints_that_are_not(url: str) -> None:
    """Each is refused in one line that names it."""
    with pytest.raises(InvalidInput, match=r"^token_url: .* begins with https://"):
        check_endpoint(url, "token_url")


def test_a_provider_describes_itself() -> None:
    """By the names of RFC 8414; Basic where nothing else is announced, PKCE unless it is not."""
    found = discovered("example", ISSUER, DOCUMENT)
    assert ("client_secret_basic", True) == (found.client_auth, found.has_pkce)
    more = {
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["plain"],
        "revocation_endpoint": "https://example.org/revoke",
    }
    found = discovered("example", ISSUER, DOCUMENT | more)
    assert ("client_secret_post", False) == (found.client_auth, found.has_pkce)
    assert "https://example.org/revoke" == found.revoke_url


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://other.example"},
        {"token_endpoint": "http://example.org/token"},
        {"token_endpoint": None},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"userinfo_endpoint": "http://example.org/me"},
    ],
)
def test_a_description_that_is_not_followed(change: dict[str, Any]) -> None:
    """Of somebody else, or that leads to where no secret may be sent."""
    with pytest.raises(InvalidInput):
        discovered("example", ISSUER, DOCUMENT | change)


@pytest.mark.parametrize("document", [None, [], "text", 5])
def test_what_is_no_description(document: object) -> None:
    """Whatever a server gives there."""
    with pytest.raises(InvalidInput, match="describes itself in no form"):
        discovered("example", ISSUER, document)


def test_where_a_description_lies() -> None:
    """Between host and path by RFC 8414, behind both by OpenID Connect."""
    assert (
        "https://example.org/.well-known/oauth-authorization-server/tenant",
        "https://example.org/tenant/.well-known/openid-configuration",
    ) == metadata_urls(ISSUER)
    with pytest.raises(InvalidInput, match="has a query"):
        metadata_urls(f"{ISSUER}?x=1")


def test_a_charm_is_of_the_integration_that_its_scopes_are_of() -> None:
    """As the data of its provider says it; of none where that says nothing."""
    google, github = (shipped_providers()[name] for name in ("google", "github"))
    mail = "https://www.googleapis.com/auth/gmail.readonly"
    days = "https://www.googleapis.com/auth/calendar.readonly"
    assert ("gmail", "gcal") == (
        integration_of(google, ["openid", mail]),
        integration_of(google, [days]),
    )
    assert ("", "") == (integration_of(google, ["openid"]), integration_of(github, [mail]))


def test_what_to_do_about_a_refusal() -> None:
    """As the data of its provider says it, with the address that a client needs."""
    google = shipped_providers()["google"]
    assert ": add https://here/back, letter by letter," in advice_of(
        google, "redirect_uri_mismatch", "https://here/back"
    )
    assert "each seven days" in advice_of(google, "invalid_grant")
    assert ("", "") == (advice_of(google, "temporarily"), advice_of(None, "invalid_grant"))
    assert google.advice.keys() <= {one for one in google.advice if error_of({"error": one}) == one}


def test_scopes_are_asked_for_once() -> None:
    """Those of the charm, then what the provider always needs."""
    google = shipped_providers()["google"]
    assert ("mail", "email", "openid", "profile") == asked_scopes(google, ("mail", "email"))


def test_shipped_providers_can_be_asked() -> None:
    """Each has addresses that are safe, and nothing that the service does not know."""
    path = PACKAGE_FOLDER / "integrations" / "providers.toml"
    assert list(tomllib.loads(path.read_text())) == list(shipped_providers())
    assert {"google", "microsoft", "github", "slack", "discord"} == set(shipped_providers())
    for provider in shipped_providers().values():
        check_provider(provider)
        assert provider.authorize_url.startswith("https://")
        assert provider.token_url.startswith("https://")
