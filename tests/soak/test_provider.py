"""The provider of the kill loop: what it tells the audit of the tokens that it gave out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import httpx2
import pytest

from tests.fakes.oauth_server import CLIENT_ID, CLIENT_SECRET, OAuthServer
from tests.soak.audit import RefreshToken
from tests.soak.provider import SoakProvider


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    """A provider that nobody has signed in at."""
    with OAuthServer() as running:
        yield running


def renew(server: OAuthServer, refresh_token: str) -> httpx2.Response:
    """Exchange a refresh token, as the service does."""
    form = {
        "grant_type": "refresh_token",
        "refresh_token": refresh_token,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
    }
    return httpx2.post(f"{server.issuer}/token", data=form)


def known_as(refresh_token: str) -> str:
    """Give the hash of a token."""
    return hashlib.sha256(refresh_token.encode()).hexdigest()


def test_a_renewed_token_was_stored_unless_the_life_was_killed(server: OAuthServer) -> None:
    """What came in a life that ended badly may be lost, and nothing that came in another."""
    provider = SoakProvider(0, server)
    provider.begin_life()
    first = server.issue()["refresh_token"]
    second = renew(server, first).json()["refresh_token"]
    provider.begin_life()
    third = renew(server, second).json()["refresh_token"]
    provider.excuse_life()
    provider.begin_life()

    told = provider.refresh_tokens()

    assert {
        known_as(first): RefreshToken(2, is_good=False, may_have_lost_next=False),
        known_as(second): RefreshToken(1, is_good=False, may_have_lost_next=True),
        known_as(third): RefreshToken(0, is_good=True, may_have_lost_next=False),
    } == told


def test_an_answer_that_was_lost_is_told(server: OAuthServer) -> None:
    """The token in it may be lost, whatever became of the service."""
    provider = SoakProvider(0, server)
    provider.begin_life()
    first = server.issue()["refresh_token"]
    provider.lose_answer()
    with pytest.raises(httpx2.RemoteProtocolError):
        renew(server, first)

    assert provider.refresh_tokens()[known_as(first)].may_have_lost_next


def test_a_token_that_is_used_twice_ends_its_own_sign_in(server: OAuthServer) -> None:
    """And no other one."""
    provider = SoakProvider(0, server)
    provider.begin_life()
    first, other = (server.issue()["refresh_token"] for _ in range(2))
    second = renew(server, first).json()["refresh_token"]

    refused = renew(server, first)

    assert (400, "invalid_grant") == (refused.status_code, refused.json()["error"])
    told = provider.refresh_tokens()
    assert not told[known_as(second)].is_good
    assert told[known_as(other)].is_good


def test_tokens_that_come_after_their_end_are_counted(server: OAuthServer) -> None:
    """Each time; one that is good is not."""
    provider = SoakProvider(0, server)
    server.expires_in = 3600
    good = server.issue()["access_token"]
    server.expires_in = 0
    ended = server.issue()["access_token"]

    for token in (good, ended, ended):
        httpx2.get(provider.resource, headers={"Authorization": f"Bearer {token}"})

    assert 2 == provider.late_tokens
