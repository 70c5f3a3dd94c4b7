"""The importer of Discord messages, against a server that speaks as Discord does."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from bg_charm_service import Charm, ProviderDown, SignInNeeded, Wait
from bg_charm_service.sdk import http_client
from bg_charm_service.workers.runtime.class_loader import load_class
from tests.fakes.discord import CHANNEL, TOKEN, FakeDiscord, fake_discord

SOURCE = Path(__file__).parents[2] / "charms" / "discord_importer.py"

Importer: type[Any] = load_class(SOURCE.read_text(), SOURCE.name)

discord = pytest.fixture(fake_discord)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test wait for what is tried again."""
    monkeypatch.setattr(http_client, "_PAUSES_SECONDS", (0.0, 0.0))


@pytest.fixture
def charm(discord: FakeDiscord) -> Any:
    """A charm that imports the channel."""
    return Importer(token=TOKEN, channel=CHANNEL, base=discord.base)


def poll(charm: Any) -> float | None:
    """Run the handler that the service polls; gives the pause after which it goes on."""
    with mock.patch.object(Charm, "again") as again:
        asyncio.run(charm.bg_updater({}))
    return again.call_args.kwargs["after"] if again.called else None


def kept(charm: Any) -> dict[int, str]:
    """The texts of what is kept, by their ids, in the order of the collection."""
    return {one.id: one.text for page in charm.messages.pages(1000) for one in page.values()}


def there(discord: FakeDiscord) -> dict[int, str]:
    """What the channel has, the newest first."""
    return {one: discord.messages[one]["content"] for one in sorted(discord.messages, reverse=True)}


def test_messages_are_kept_the_newest_first(discord: FakeDiscord, charm: Any) -> None:
    """All of them, over several pages; what is older than is to be kept is not asked for."""
    discord.write("too old", ago=timedelta(days=91))
    (old,) = discord.messages
    discord.write(*(f"text {number}" for number in range(350)), ago=timedelta(days=1))
    poll(charm)
    assert {one: text for one, text in there(discord).items() if one != old} == kept(charm)
    assert list(kept(charm)) == sorted(kept(charm), reverse=True)
    assert "350 messages" == charm.progress
    first, *others = discord.asked()
    assert {"limit": "100"} == first
    assert 3 == len(others)
    assert [one["after"] for one in others] == sorted(one["after"] for one in others)


def test_a_poll_with_nothing_new_is_one_request(discord: FakeDiscord, charm: Any) -> None:
    """New ones, edits and deletions among the newest hundred come with the same one."""
    ids = discord.write(*(f"text {number}" for number in range(150)))
    poll(charm)
    before = len(discord.asked())
    poll(charm)
    discord.write("new")
    discord.edit(ids[140], "edited")
    del discord.messages[ids[149]]
    poll(charm)
    assert there(discord) == kept(charm)
    assert 2 == len(discord.asked()) - before
    edited = charm.messages.first(100)
    assert 1 == sum(charm.messages[key].edited is not None for key in edited)


def test_what_happens_to_older_ones_is_not_seen(discord: FakeDiscord, charm: Any) -> None:
    """Behind the newest hundred nothing is looked at again; in a short channel all is."""
    ids = discord.write(*(f"text {number}" for number in range(150)))
    poll(charm)
    discord.edit(ids[3], "edited")
    del discord.messages[ids[4]]
    poll(charm)
    assert "text 3" == kept(charm)[ids[3]]
    assert ids[4] in kept(charm)
    for one in ids[5:]:
        del discord.messages[one]
    poll(charm)
    assert ids[4] not in kept(charm)


def test_all_that_was_written_meanwhile_comes(discord: FakeDiscord, charm: Any) -> None:
    """More than a page since the last poll: the oldest of it first, without a gap."""
    discord.write("first")
    poll(charm)
    discord.write(*(f"text {number}" for number in range(100)))
    poll(charm)
    assert there(discord) == kept(charm)
    discord.write(*(f"more {number}" for number in range(250)))
    poll(charm)
    assert there(discord) == kept(charm)


def test_nothing_is_asked_where_no_request_is_left(discord: FakeDiscord, charm: Any) -> None:
    """What was read is kept, and the next run comes when there are more."""
    discord.write(*(f"text {number}" for number in range(400)))
    discord.left, discord.reset_after = 3, 7.5
    assert 7.5 == poll(charm)
    assert 3 == len(discord.asked())
    assert 200 == len(kept(charm))
    discord.left = 50
    poll(charm)
    assert there(discord) == kept(charm)


@pytest.mark.parametrize(("fault", "pause"), [("limit", 12.5), ("down", 30.0)])
def test_what_was_read_before_a_fault_is_kept(
    discord: FakeDiscord, charm: Any, fault: str, pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on where it was, as soon as Discord says; a fault at the start ends the run."""
    discord.write(*(f"text {number}" for number in range(300)))
    told = []

    def page(self: FakeDiscord) -> Any:
        told.append(1)
        if len(told) == 3:
            (self.limits.append(12.5) if fault == "limit" else self.refusals.extend([500] * 3))
        return refusal(self)

    refusal = FakeDiscord._refusal
    monkeypatch.setattr(FakeDiscord, "_refusal", page)
    assert pause == poll(charm)
    assert 100 == len(kept(charm))
    poll(charm)
    assert there(discord) == kept(charm)


def test_faults_of_the_start(discord: FakeDiscord, charm: Any) -> None:
    """Each is a sentence that says what to do."""
    discord.limits = [12.5]
    with pytest.raises(Wait) as waited:
        poll(charm)
    assert 12.5 == waited.value.until
    discord.refusals = [502] * 3
    with pytest.raises(ProviderDown):
        poll(charm)
    discord.refusals = [403]
    with pytest.raises(RuntimeError, match="may not read the channel 4242: invite it"):
        poll(charm)
    discord.refusals = [404]
    with pytest.raises(LookupError, match="has no channel 4242: copy the id of the channel"):
        poll(charm)
    charm.token = "another"
    with pytest.raises(SignInNeeded, match="refused the token") as needed:
        poll(charm)
    assert needed.value.url.startswith("https://discord.com/developers/")


def test_a_bot_that_sees_no_texts_says_so(discord: FakeDiscord, charm: Any) -> None:
    """Without the intent messages come empty; those of bots say nothing about it."""
    discord.write("", "")
    poll(charm)
    assert "2 messages; they have no text: switch on Message Content Intent" in charm.progress
    discord.write("text")
    poll(charm)
    assert "3 messages" == charm.progress


def test_what_a_message_is_made_of(discord: FakeDiscord, charm: Any) -> None:
    """Of a webhook's too; the signature of a file, another each time, makes no other message."""
    files = [{"url": "https://cdn.example/a.png?ex=1", "filename": "a.png"}]
    author = {"id": "6", "username": "hook", "bot": True}
    reply = {"message_id": "77", "channel_id": CHANNEL}
    discord.write("text", attachments=files, author=author, message_reference=reply, type=19)
    poll(charm)
    (key,) = charm.messages.first(2)
    message = charm.messages[key]
    assert ("hook", True, 77, ["https://cdn.example/a.png"]) == (
        message.author,
        message.is_bot,
        message.reply_to,
        message.files,
    )


def test_another_channel_begins_anew(discord: FakeDiscord, charm: Any) -> None:
    """What was kept of the one before is let go."""
    discord.write("text")
    poll(charm)
    other = discord.server.url + "/api/v9"
    discord.server.on(f"/api/v9/channels/{CHANNEL}/messages", discord._list)
    discord.messages.clear()
    discord.write("other")
    charm.base = other
    poll(charm)
    assert there(discord) == kept(charm)


def test_old_messages_are_let_go(discord: FakeDiscord, charm: Any) -> None:
    """Once a day, and where fewer days are to be kept."""
    discord.write("old", ago=timedelta(days=30))
    discord.write("new")
    poll(charm)
    assert 2 == len(kept(charm))
    charm.days = 7
    poll(charm)
    assert ["new"] == list(kept(charm).values())
