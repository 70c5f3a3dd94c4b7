"""The charm that posts to a chat, against a webhook that is Discord's, and one that is not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from bg_charm_service import Charm, ProviderDown, SignInNeeded, Wait
from bg_charm_service.domain.errors import StateError
from bg_charm_service.sdk import http_client
from bg_charm_service.workers.runtime.charm_binding import validate_field
from bg_charm_service.workers.runtime.class_loader import load_class
from tests.fakes.discord import FakeDiscord, fake_discord
from tests.fakes.http_server import answer

SOURCE = Path(__file__).parents[2] / "charms" / "chat_poster.py"

Poster: type[Any] = load_class(SOURCE.read_text(), SOURCE.name)

discord = pytest.fixture(fake_discord)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test wait for what is tried again."""
    monkeypatch.setattr(http_client, "_PAUSES_SECONDS", (0.0, 0.0))


@pytest.fixture
def charm(discord: FakeDiscord) -> Any:
    """A charm that posts to the webhook."""
    return Poster(webhook=discord.webhook)


def poll(charm: Any) -> float | None:
    """Run the handler that the service polls; gives the pause after which it goes on."""
    with mock.patch.object(Charm, "again") as again:
        asyncio.run(charm.bg_updater({}))
    return again.call_args.kwargs["after"] if again.called else None


def post(charm: Any, *texts: str) -> None:
    """Put messages into the outbox."""
    for text in texts:
        with mock.patch.object(Charm, "again"):
            charm.post({"text": text})


def values(items: Any) -> list[Any]:
    """What a collection holds, in its order."""
    return [one for page in items.pages(1000) for one in page.values()]


def test_messages_are_posted_in_their_order(discord: FakeDiscord, charm: Any) -> None:
    """One a run; each was on disk as the next one before it goes out, and its id is kept."""
    post(charm, "one", "two @everyone")
    assert 0.0 == poll(charm)
    assert [] == discord.posted
    key = charm.trying.idempotency_key
    assert 0.0 == poll(charm)
    assert [("one", key)] == [(one["content"], one["key"]) for one in discord.posted]
    assert None is poll(charm)
    assert None is poll(charm)
    assert ["one", "two @everyone"] == [one["content"] for one in discord.posted]
    assert {"parse": []} == discord.posted[1]["allowed_mentions"]
    assert [("one", "9001"), ("two @everyone", "9002")] == [
        (one.text, one.id) for one in values(charm.sent)
    ]
    assert (0, None) == (len(charm.outbox), charm.trying)


def test_what_may_have_gone_out_is_known_by_its_key(discord: FakeDiscord, charm: Any) -> None:
    """A post without an answer is made again with the key that it had."""
    post(charm, "one")
    poll(charm)
    discord.refusals = [500]
    with pytest.raises(ProviderDown):
        poll(charm)
    key = charm.trying.idempotency_key
    poll(charm)
    assert [key] == [one["key"] for one in discord.posted]


def test_the_rate_of_the_receiver_is_kept(discord: FakeDiscord, charm: Any) -> None:
    """Where it has no more left, and where it refuses."""
    post(charm, "one", "two", "three")
    poll(charm)
    discord.left, discord.reset_after = 1, 4.5
    assert 4.5 == poll(charm)
    discord.limits = [9.5]
    with pytest.raises(Wait) as waited:
        poll(charm)
    assert 9.5 == waited.value.until


def test_a_message_that_is_refused_holds_up_no_other(
    discord: FakeDiscord, charm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is kept with the reason; one that is too long is cut."""
    monkeypatch.setitem(Poster.bg_updater.__globals__, "LONGEST", 2001)
    post(charm, "x" * 2001, "two")
    poll(charm)
    assert 1.0 == poll(charm)
    poll(charm)
    assert ["two"] == [one["content"] for one in discord.posted]
    (refused,) = values(charm.refused)
    assert "400" in refused.why
    assert "2000 or fewer" in refused.why
    monkeypatch.setitem(Poster.bg_updater.__globals__, "LONGEST", 2000)
    post(charm, "y" * 2001)
    poll(charm)
    poll(charm)
    assert f"{'y' * 1999}…" == discord.posted[-1]["content"]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_webhook_that_is_gone(discord: FakeDiscord, charm: Any, status: int) -> None:
    """The message waits for another one."""
    post(charm, "one")
    poll(charm)
    discord.refusals = [status]
    with pytest.raises(SignInNeeded, match="make another one, and set it"):
        poll(charm)
    assert 1 == len(charm.outbox)


def test_an_address_that_is_none(charm: Any) -> None:
    """It is refused when it is set, without being shown."""
    with pytest.raises(StateError, match="webhook: string_pattern_mismatch") as refused:
        validate_field(Poster, "webhook", b'"the-secret"')
    assert "the-secret" not in str(refused.value)


def test_receivers_that_take_a_text(discord: FakeDiscord, charm: Any) -> None:
    """Slack, Mattermost and others: they give no id, and take one message a second."""
    discord.server.on("/services/T/B/x", answer(200, "ok"))
    charm.webhook = f"{discord.server.url}/services/T/B/x"
    post(charm, "one", "two")
    poll(charm)
    assert 1.0 == poll(charm)
    (seen,) = discord.server.asked("/services/T/B/x")
    assert (b'{"text":"one"}', {}) == (seen.body, seen.query)
    assert [("one", "")] == [(one.text, one.id) for one in values(charm.sent)]


def test_the_newest_are_kept(charm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent does not grow for ever; an empty text is no message."""
    monkeypatch.setitem(Poster.bg_updater.__globals__, "KEPT", 2)
    post(charm, "one", "two", "three")
    for _ in range(4):
        poll(charm)
    assert ["two", "three"] == [one.text for one in values(charm.sent)]
    with pytest.raises(ValueError, match="nothing to post"):
        post(charm, " ")
