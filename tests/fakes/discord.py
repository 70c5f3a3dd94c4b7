"""A chat that speaks as Discord does: messages of a channel, webhooks, and limits of a rate.

As its documents have it (https://discord.com/developers/docs): ids that hold the time, pages with
the newest message first, also behind an id, `X-RateLimit-…`, and 429 with `Retry-After`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tests.fakes.http_server import Answer, FakeServer, Seen, answer, json_answer

TOKEN: Final = "the-token-of-the-bot"
CHANNEL: Final = "4242"
WEBHOOK: Final = "/api/webhooks/77/the-key-of-the-webhook"

_EPOCH_MS: Final = 1_420_070_400_000
_REFUSALS: Final = {
    401: {"message": "401: Unauthorized", "code": 0},
    403: {"message": "Missing Access", "code": 50001},
    404: {"message": "Unknown Channel", "code": 10003},
}


@dataclass
class FakeDiscord:
    """A channel and a webhook; what stands in `refusals` and `limits` is answered instead."""

    server: FakeServer
    messages: dict[int, dict[str, Any]] = field(default_factory=dict)
    #: Statuses of the next answers.
    refusals: list[int] = field(default_factory=list)
    #: Seconds to wait, of the next answers, which are 429.
    limits: list[float] = field(default_factory=list)
    #: So many requests are left, and how soon there are more.
    left: int = 50
    reset_after: float = 0.5
    posted: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server.on(f"/api/v10/channels/{CHANNEL}/messages", self._list)
        self.server.on(WEBHOOK, self._post)

    @property
    def base(self) -> str:
        """The address of the API."""
        return f"{self.server.url}/api/v10"

    @property
    def webhook(self) -> str:
        """The address of a webhook."""
        return f"{self.server.url}{WEBHOOK}"

    def write(self, *texts: str, ago: timedelta = timedelta(0), **more: Any) -> list[int]:
        """Have somebody write messages, a second after each other; gives their ids."""
        ids = []
        for text in texts:
            newest = max(self.messages, default=0)
            moment = datetime.now(UTC) - ago
            message_id = max(int(moment.timestamp() * 1000) - _EPOCH_MS << 22, newest + 1)
            self.messages[message_id] = message(message_id, text, moment, **more)
            ids.append(message_id)
        return ids

    def edit(self, message_id: int, text: str) -> None:
        """Have a message edited."""
        edited = {"content": text, "edited_timestamp": datetime.now(UTC).isoformat()}
        self.messages[message_id] |= edited

    def asked(self) -> list[dict[str, str]]:
        """The queries of all requests for messages."""
        path = f"/api/v10/channels/{CHANNEL}/messages"
        return [
            {name: one[0] for name, one in seen.query.items()} for seen in self.server.asked(path)
        ]

    def _list(self, seen: Seen) -> Answer:
        if seen.headers.get("authorization") != f"Bot {TOKEN}":
            return json_answer(_REFUSALS[401], 401)
        if refusal := self._refusal():
            return refusal
        limit = int(seen.query.get("limit", ["50"])[0])
        ids = sorted(self.messages)
        if "after" in seen.query:
            after = int(seen.query["after"][0])
            chosen = [one for one in ids if one > after][:limit]
        else:
            chosen = ids[-limit:]
        return self._answer([self.messages[one] for one in reversed(chosen)])

    def _post(self, seen: Seen) -> Answer:
        if refusal := self._refusal():
            return refusal
        body = json.loads(seen.body)
        if not body.get("content") or len(body["content"]) > 2000:
            return json_answer({"content": ["Must be 2000 or fewer in length."]}, 400)
        key = seen.headers.get("idempotency-key", "")
        self.posted.append({**body, "key": key, "wait": seen.query.get("wait")})
        if seen.query.get("wait") != ["true"]:
            return answer(204)
        return self._answer(message(9000 + len(self.posted), body["content"], datetime.now(UTC)))

    def _refusal(self) -> Answer | None:
        if self.limits:
            seconds = self.limits.pop(0)
            told = {
                "message": "You are being rate limited.",
                "retry_after": seconds,
                "global": True,
            }
            headers = {"X_RateLimit_Global": "true", "X_RateLimit_Scope": "global"}
            return json_answer(told, 429, **headers, Retry_After=str(seconds))
        if self.refusals:
            status = self.refusals.pop(0)
            return json_answer(_REFUSALS.get(status, {"message": "failed", "code": 0}), status)
        return None

    def _answer(self, value: Any) -> Answer:
        self.left = max(0, self.left - 1)
        return json_answer(
            value,
            X_RateLimit_Limit="50",
            X_RateLimit_Remaining=str(self.left),
            X_RateLimit_Reset_After=str(self.reset_after),
            X_RateLimit_Bucket="abcd",
        )


def message(message_id: int, text: str, moment: datetime, **more: Any) -> dict[str, Any]:
    """A message, with the members that Discord gives."""
    return {
        "id": str(message_id),
        "channel_id": CHANNEL,
        "type": 0,
        "content": text,
        "author": {"id": "5", "username": "ada", "global_name": "Ada", "discriminator": "0"},
        "timestamp": moment.isoformat(),
        "edited_timestamp": None,
        "attachments": [],
        "embeds": [],
        "mentions": [],
        "pinned": False,
        **more,
    }


def fake_discord() -> Iterator[FakeDiscord]:
    """Run one, for a fixture."""
    with FakeServer() as server:
        yield FakeDiscord(server)
