"""The charms for chats in a running service, which dies when it hurts most."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.discord import CHANNEL, TOKEN, WEBHOOK, FakeDiscord, fake_discord
from tests.fakes.http_server import Answer, Seen
from tests.process.program import wait_until
from tests.process.running import ROOT, RunningCharm, Service

CHARMS = {
    name: (ROOT / "charms" / f"{name}.py").read_text()
    for name in ("chat_poster", "discord_importer")
}

discord = pytest.fixture(fake_discord)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service without charms."""
    with Service(tmp_path / "data") as running:
        yield running


def values(charm: RunningCharm, field: str) -> list[dict[str, Any]]:
    """What a collection holds, in its order."""
    found = charm.service.request("GET", f"{charm.path}/items/{field}?limit=1000")
    return [item["value"] for item in found["items"]]


class Killing:
    """Answers for a server, and kills the service before an answer of a number goes out."""

    def __init__(self, service: Service, answers: Any, at: int) -> None:
        self._service, self._answers, self._left = service, answers, at

    def __call__(self, seen: Seen) -> Answer:
        found: Answer = self._answers(seen)
        self._left -= 1
        if not self._left:
            self._service.signal(signal.SIGKILL)
        return found


def test_a_post_is_known_by_its_key_after_a_kill(discord: FakeDiscord, service: Service) -> None:
    """All are posted in their order; the one under way goes out again with the key that it had."""
    discord.server.on(WEBHOOK, Killing(service, discord._post, at=2))
    charm = service.add(CHARMS["chat_poster"], values={"webhook": discord.webhook})
    texts = [f"message {number}" for number in range(4)]
    items = {str(number): {"text": text} for number, text in enumerate(texts)}
    service.request("PUT", f"{charm.path}/items/outbox", {"items": items})
    charm.register()
    service.wait()
    service.start()
    wait_until(lambda: len(values(charm, "sent")) == 4)
    assert texts == [one["text"] for one in values(charm, "sent")]
    keys = [one["key"] for one in discord.posted]
    assert list(dict.fromkeys(keys)) == [one["idempotency_key"] for one in values(charm, "sent")]
    assert [1, 2, 1, 1] == [keys.count(key) for key in dict.fromkeys(keys)]
    shown = json.dumps([charm.show(), charm.runs()])
    assert "the-key-of-the-webhook" not in shown
    assert "/api/webhooks/" not in shown


def test_messages_are_there_once_after_a_kill(discord: FakeDiscord, service: Service) -> None:
    """In the middle of a first sync; what is stored is what the channel has."""
    discord.write(*(f"text {number}" for number in range(450)))
    path = f"/api/v10/channels/{CHANNEL}/messages"
    discord.server.on(path, Killing(service, discord._list, at=3))
    charm = service.add(
        CHARMS["discord_importer"],
        values={"token": TOKEN, "channel": CHANNEL, "base": discord.base},
        register=True,
    )
    service.wait()
    service.start()
    wait_until(lambda: "450 messages" == charm.get("progress"))
    there = [discord.messages[one]["content"] for one in sorted(discord.messages, reverse=True)]
    assert there == [one["text"] for one in values(charm, "messages")]
    assert TOKEN not in json.dumps(charm.runs())
