"""The process that asks a provider: real requests of authlib, to a server that does everything."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from bg_charm_service.domain.oauth import OAuthClient, Provider
from bg_charm_service.sign_in.messages import (
    AnswerKind,
    Authorize,
    Deed,
    Discover,
    Exchange,
    ProviderAnswer,
    Refresh,
    Revoke,
)
from bg_charm_service.sign_in.provider_client import ProviderClient
from bg_charm_service.workers.sandbox import probe
from tests.fakes.http_server import (
    NO_ANSWER,
    Answer,
    FakeServer,
    answer,
    json_answer,
    redirect,
    unpacks_to,
)
from tests.providers import NO_HOST, self_signed
from tests.providers import Provider as Plain
from tests.providers import answer as answer_with

CLIENT = OAuthClient("the-id", "the-secret")

TOKENS = {"access_token": "new-token", "refresh_token": "next-token", "expires_in": 3600}


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    """A server that answers by a script."""
    with FakeServer() as running:
        yield running


def provider(server: FakeServer, **more: Any) -> Provider:
    """A provider on that server."""
    base = {
        "authorize_url": f"{server.url}/authorize?tenant=1",
        "token_url": f"{server.url}/token",
        "revoke_url": f"{server.url}/revoke",
    }
    return Provider(name="fake", **{**base, **more})


def ask(deed: Deed, *, timeout_seconds: float = 30.0) -> ProviderAnswer:
    """Ask by a process of its own, behind the walls of this machine."""
    missing = tuple(wall.name for wall in probe())
    client = ProviderClient(timeout_seconds, has_walls=True, missing_walls=missing)
    return asyncio.run(client.ask(deed))


def refresh(server: FakeServer, *answers: Answer, **more: Any) -> ProviderAnswer:
    """Have a token renewed by a server that answers so."""
    server.seen.clear()
    server.on("/token", *answers)
    return ask(Refresh(provider(server, **more), CLIENT, "old-token"))


def test_where_a_person_is_sent() -> None:
    """State, redirect address, scopes and PKCE stand in the address; nobody is asked for it."""
    at = Provider(
        "fake",
        "https://example.org/authorize?tenant=1",
        "https://example.org/token",
        scope_separator=",",
        extra={"prompt": "consent"},
    )
    found = ask(Authorize(at, CLIENT, "http://localhost:8000/back", ("a", "b"), "state", "v" * 64))

    parts = urlsplit(found.url)
    assert "https://example.org/authorize" == f"{parts.scheme}://{parts.netloc}{parts.path}"
    query = {name: value for name, (value,) in parse_qs(parts.query).items()}
    assert 43 == len(query.pop("code_challenge"))
    assert query == {
        "tenant": "1",
        "response_type": "code",
        "client_id": "the-id",
        "redirect_uri": "http://localhost:8000/back",
        "scope": "a,b",
        "state": "state",
        "code_challenge_method": "S256",
        "prompt": "consent",
    }
    assert "the-secret" not in found.url


def test_a_refresh(server: FakeServer) -> None:
    """The client proves itself in the form; the answer comes back as it was given."""
    found = refresh(server, json_answer(TOKENS))

    assert (AnswerKind.DONE, TOKENS) == (found.kind, json.loads(found.body))
    (asked,) = server.seen
    assert {
        "grant_type": ["refresh_token"],
        "refresh_token": ["old-token"],
        "client_id": ["the-id"],
        "client_secret": ["the-secret"],
    } == parse_qs(asked.body.decode())
    assert "authorization" not in asked.headers


def test_a_client_that_proves_itself_by_a_header(server: FakeServer) -> None:
    """By Basic, and not in the form."""
    refresh(server, json_answer(TOKENS), client_auth="client_secret_basic")

    (asked,) = server.seen
    assert asked.headers["authorization"].startswith("Basic ")
    assert b"the-secret" not in asked.body


@pytest.mark.parametrize("expires_in", ["3600.5", "soon", [], 10**400, None, -1])
def test_no_form_of_a_number_loses_a_token(server: FakeServer, expires_in: Any) -> None:
    """What authlib cannot read beside the tokens comes back with them."""
    answered = {**TOKENS, "expires_in": expires_in, "expires_at": "2030-01-01"}
    found = refresh(server, json_answer(answered))

    assert AnswerKind.DONE is found.kind
    assert "next-token" == json.loads(found.body)["refresh_token"]


@pytest.mark.parametrize(
    ("answered", "kind", "error"),
    [
        (json_answer({"error": "invalid_grant"}, 400), AnswerKind.REFUSED, "invalid_grant"),
        (json_answer({"error": "invalid_client"}, 401), AnswerKind.REFUSED, "invalid_client"),
        (json_answer({"ok": False, "error": "token_revoked"}), AnswerKind.REFUSED, "token_revoked"),
        (json_answer({"error": "server_error"}, 500), AnswerKind.DOWN, ""),
        (answer(500), AnswerKind.DOWN, ""),
        (answer(200, "<html>", content_type="text/html"), AnswerKind.DOWN, ""),
        (answer(404), AnswerKind.DOWN, ""),
        (redirect("http://127.0.0.1:1/"), AnswerKind.DOWN, ""),
        (json_answer([1]), AnswerKind.DOWN, ""),
        (answer(200, "[" * 100_000), AnswerKind.DOWN, ""),
        (answer(200, "x" * 2_000_000), AnswerKind.DOWN, ""),
        (unpacks_to(50_000_000), AnswerKind.DOWN, ""),
        (NO_ANSWER, AnswerKind.DOWN, ""),
        (json_answer(TOKENS).cut(5), AnswerKind.DOWN, ""),
        (answer(429, retry_after=70), AnswerKind.BUSY, ""),
        (answer(503, retry_after=70), AnswerKind.BUSY, ""),
    ],
)
def test_what_goes_wrong(
    server: FakeServer, answered: Answer, kind: AnswerKind, error: str
) -> None:
    """Each has its kind, and a line that names the host and nothing secret."""
    found = refresh(server, answered)

    assert (kind, error) == (found.kind, found.error)
    assert 1 == len(server.seen)
    assert "127.0.0.1" == found.host
    assert found.why.startswith("127.0.0.1 ")
    assert (70 if kind is AnswerKind.BUSY else None) == found.seconds


def test_a_description_of_a_refusal_is_told_without_secrets(server: FakeServer) -> None:
    """Some providers repeat what they were sent."""
    text = "AADSTS1: the token old-token of the-secret\nis over"
    error = {"error": "invalid_grant", "error_description": text}
    found = refresh(server, json_answer(error, 400))

    said = "AADSTS1: the token [secret] of [secret] is over"
    assert f"127.0.0.1 answered 400: invalid_grant ({said})" == found.why


def test_whoever_is_not_there_was_not_asked() -> None:
    """Nothing can have happened at a provider that was never reached."""
    nobody = Provider("fake", "http://127.0.0.1:1/authorize", "http://127.0.0.1:1/token")
    found = ask(Refresh(nobody, CLIENT, "old-token"))
    assert (AnswerKind.UNASKED, "127.0.0.1") == (found.kind, found.host)
    assert "127.0.0.1 cannot be reached: nobody listens there" == found.why


def test_why_somebody_is_not_reached_is_told(tmp_path: Path) -> None:
    """A name that there is not, and a certificate that nobody knows."""
    nowhere = Provider("fake", f"https://{NO_HOST}/authorize", f"https://{NO_HOST}/token")
    found = ask(Refresh(nowhere, CLIENT, "old-token"))
    assert (AnswerKind.UNASKED, True) == (found.kind, "its name cannot be looked up" in found.why)
    with Plain(answer_with("200 OK"), tls=self_signed(tmp_path)) as unknown:
        safe = Provider("fake", f"{unknown.url}authorize", f"{unknown.url}token")
        found = ask(Refresh(safe, CLIENT, "old-token"))
    assert AnswerKind.UNASKED == found.kind
    assert "its certificate is not to be trusted (self-signed certificate)" in found.why


def test_an_answer_that_never_comes_is_not_waited_for(server: FakeServer) -> None:
    """Nobody knows what the provider has made of the request."""
    server.on("/token", json_answer(TOKENS).stalled())
    found = ask(Refresh(provider(server), CLIENT, "old-token"), timeout_seconds=2.0)
    assert (AnswerKind.DOWN, "127.0.0.1") == (found.kind, found.host)


def test_a_code_is_exchanged_and_the_person_asked_for(server: FakeServer) -> None:
    """With the verifier; that nobody says who it is is no reason against the sign-in."""
    server.on("/token", json_answer(TOKENS))
    server.on("/user", json_answer({"email": "me@example.org"}), answer(403))
    at = provider(server, user_url=f"{server.url}/user")
    deed = Exchange(at, CLIENT, "http://localhost:8000/back", "the-code", "the-verifier")

    server.seen.clear()
    first, second = ask(deed), ask(deed)

    assert ({"email": "me@example.org"}, b"") == (json.loads(first.user), second.user)
    assert [AnswerKind.DONE, AnswerKind.DONE] == [first.kind, second.kind]
    form = parse_qs(server.asked("/token")[0].body.decode())
    assert (["the-code"], ["the-verifier"]) == (form["code"], form["code_verifier"])
    assert "new-token" == server.asked("/user")[0].token


def test_a_token_is_given_back(server: FakeServer) -> None:
    """As RFC 7009 has it."""
    server.on("/revoke", answer(200), answer(400))
    deed = Revoke(provider(server), CLIENT, "old-token")
    assert [AnswerKind.DONE, AnswerKind.REFUSED] == [ask(deed).kind, ask(deed).kind]
    assert ["old-token"] == parse_qs(server.asked("/revoke")[0].body.decode())["token"]


def test_a_description_is_found_at_the_second_address(server: FakeServer) -> None:
    """Or at none."""
    server.on("/first", answer(404)).on("/second", json_answer({"issuer": "it"}))
    urls = (f"{server.url}/first", f"{server.url}/second")
    assert {"issuer": "it"} == json.loads(ask(Discover(urls)).body)
    assert AnswerKind.REFUSED is ask(Discover(urls[:1])).kind


def test_no_secret_is_in_what_a_task_shows() -> None:
    """Neither of a client nor of an answer."""
    shown = repr((CLIENT, ProviderAnswer(AnswerKind.DONE, b'{"access_token": "new-token"}')))
    assert "the-secret" not in shown
    assert "new-token" not in shown
