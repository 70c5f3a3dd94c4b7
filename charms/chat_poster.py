"""Posts to a chat by a webhook what lies in its outbox: Discord, Slack, Mattermost, and the like.

bg-charm-service charm add --from chat_poster
bg-charm-service charm send chat/chat_poster '{"text": "Hello"}' --stream post

Other charms write into its outbox by a writable link: `out: Cell[Items[Post]]`. What is posted
goes out once, unless its answer does not come onto the service's disk, since that dies, or the
connection breaks: then that one message goes out once more, with the same Idempotency-Key, by which
a receiver that knows it drops the second. Discord and Slack do not know it.
"""

from datetime import UTC, datetime
from typing import Any

import httpx2
from pydantic import BaseModel, Field

from bg_charm_service import Charm, Items, Secret, SignInNeeded

#: Discord takes so many characters, and Slack about twice as many.
LONGEST = 2000

#: So many of the messages that were sent are kept, and of those that were refused.
KEPT = 1000

#: Between two messages, in seconds, where the receiver does not say it: Slack takes one a second.
PAUSE_SECONDS = 1.0

#: The longest key of an item, in characters.
LONGEST_KEY = 120

#: Of what a receiver says about a message that it refuses.
LONGEST_REASON = 300


class Post(BaseModel):
    """A message that is to be posted."""

    text: str = Field(title="Text")


class Sent(BaseModel):
    """A message that was posted; `id` is the receiver's, where it gives one."""

    sent: datetime = Field(title="Sent")
    text: str = Field(title="Text")
    id: str = Field(default="", title="Id")
    idempotency_key: str = ""


class Refused(BaseModel):
    """A message that the receiver does not take, and why."""

    text: str = Field(title="Text")
    why: str = Field(title="Why")


class Trying(BaseModel):
    """The message that is posted next, by its key in the outbox: stored before it is posted."""

    key: str
    idempotency_key: str


class ChatPoster(Charm):
    """Posts what lies in its outbox, one message a run, in the order of the keys."""

    integration = "chat"
    every = "30s"

    webhook: Secret[str] = Field(
        pattern=r"^https?://",
        title="Address of the webhook",
        description="one such as https://discord.com/api/webhooks/… or https://hooks.slack.com/…",
    )
    outbox: Items[Post]
    sent: Items[Sent]
    refused: Items[Refused]
    trying: Trying | None = None

    def post(self, event: dict[str, Any]) -> None:
        """Put a message into the outbox: `{"text": "Hello"}`."""
        text = str(event["text"])
        if not text.strip():
            raise ValueError("text: there is nothing to post")
        self.outbox[f"{stamp()} {self.context.run_id}"] = Post(text=text)
        self.again(after=0)

    async def bg_updater(self, event: dict[str, Any]) -> None:
        pause = 0.0
        post = self.outbox.get(self.trying.key) if self.trying is not None else None
        if self.trying is not None and post is not None:
            pause = await self._post(self.trying, post)
            self.outbox.remove([self.trying.key])
        # What comes next, and by which key it is known, is on disk before it goes out.
        following = self.outbox.first(1)
        self.trying = None
        if following:
            name = f"{self.context.charm_id}-{self.context.run_id}"
            self.trying = Trying(key=following[0], idempotency_key=name)
            self.again(after=pause)

    async def _post(self, trying: Trying, post: Post) -> float:
        """Post a message; gives in how many seconds the next one may follow."""
        async with self.http() as http:
            response = await http.request(
                "POST",
                self.webhook,
                params={"wait": "true"} if self._is_discord else None,
                json=self._body(post.text),
                headers={"Idempotency-Key": trying.idempotency_key},
                returns={401, 403, 404, 410},
            )
        if response.status_code in (401, 403, 404, 410):
            status = response.status_code
            raise SignInNeeded(
                f"the webhook is not there any more ({status}): make another one, and set it"
            )
        if response.is_error:
            why = f"{response.status_code} {response.text}"[:LONGEST_REASON]
            self.refused[f"{stamp()} {trying.key}"[:LONGEST_KEY]] = Refused(text=post.text, why=why)
            trim(self.refused)
            return PAUSE_SECONDS
        self.sent[f"{stamp()} {trying.key}"[:LONGEST_KEY]] = Sent(
            sent=datetime.now(UTC),
            text=post.text,
            id=id_in(response),
            idempotency_key=trying.idempotency_key,
        )
        trim(self.sent)
        return pause_of(response)

    @property
    def _is_discord(self) -> bool:
        return "/api/webhooks/" in httpx2.URL(self.webhook).path

    def _body(self, text: str) -> dict[str, Any]:
        text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
        if self._is_discord:
            # Nobody is called by what others wrote.
            return {"content": text, "allowed_mentions": {"parse": []}}
        return {"text": text}


def stamp() -> str:
    """Give a key that is behind all earlier ones."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}"


def trim(items: Items[Any]) -> None:
    """Keep the newest ones, by their keys."""
    if (more := len(items) - KEPT) > 0:
        items.remove(items.first(more))


def id_in(response: httpx2.Response) -> str:
    """Give the id of the message that was made, where the receiver tells it."""
    try:
        found = response.json()
    except ValueError:
        return ""
    return str(found.get("id", "")) if isinstance(found, dict) else ""


def pause_of(response: httpx2.Response) -> float:
    """Give after how many seconds the next request may follow."""
    headers = response.headers
    if "x-ratelimit-remaining" not in headers:
        return PAUSE_SECONDS
    if headers["x-ratelimit-remaining"] != "0":
        return 0.0
    try:
        return max(0.0, float(headers.get("x-ratelimit-reset-after", "")))
    except ValueError:
        return PAUSE_SECONDS
