"""The messages of one Discord channel, as a bot sees them: the newest days, then each new one.

bg-charm-service charm add --from discord_importer

A bot that asks sees new messages, and what became of the newest hundred: edited, or deleted. What
is edited or deleted later than that, it does not see: Discord tells that only to bots that stay
connected.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
from pydantic import BaseModel, Field

from bg_charm_service import Charm, HttpClient, Items, ProviderDown, Secret, SignInNeeded, Wait

#: As many as Discord gives at once.
PAGE = 100

#: So much room is left in a run when another page is asked for, in bytes and in seconds.
ROOM_FOR_PAGE = 1_000_000
SECONDS_FOR_PAGE = 12.0

#: So many messages are let go in a run.
PORTION_GONE = 2000

#: Ids hold the millisecond, since the first one of 2015, above 22 bits.
EPOCH_MS = 1_420_070_400_000
ID_LIMIT = 2**64

#: Messages of these types are what people wrote: plain ones, and answers.
WRITTEN = {0, 19}

#: The pause after a fault in the middle, in seconds, where Discord names none.
DEFAULT_PAUSE_SECONDS = 30.0

PORTAL = "https://discord.com/developers/applications"
NO_TEXT = f"they have no text: switch on Message Content Intent of the bot at {PORTAL}"


class Message(BaseModel):
    """One message; `files` are addresses without their signature, which is another each time."""

    id: int
    sent: datetime = Field(title="Sent")
    author: str = Field(title="From")
    text: str = Field(title="Text")
    edited: datetime | None = None
    author_id: int = 0
    is_bot: bool = False
    files: list[str] = Field(default_factory=list)
    embeds: int = 0
    reply_to: int | None = None
    type: int = 0


class DiscordImporter(Charm):
    """Keeps the messages of a channel, the newest first."""

    integration = "discord"
    every = "1m"

    token: Secret[str] = Field(
        title="Token of the bot",
        description="from the page Bot of your application, discord.com/developers/applications",
    )
    channel: str = Field(
        pattern=r"^[0-9]{1,20}$",
        title="Id of the channel",
        description="a number: Developer Mode in Discord's settings, then Copy Channel ID",
    )
    days: int = Field(default=90, ge=1, le=3650, title="Days to keep")
    base: str = "https://discord.com/api/v10"
    messages: Items[Message]  # the newest first
    progress: str = ""

    point: int = 0  # the newest message that is here; all up to it are
    read_from: str = ""
    tidied: str = ""  # the day on which old messages were let go

    async def bg_updater(self, event: dict[str, Any]) -> None:
        now = datetime.now(UTC)
        self._oldest = id_at(now - timedelta(days=self.days))
        asked = f"{self.base} {self.channel}"
        if self.read_from != asked:
            self.messages.remove(self.messages.first(PORTION_GONE))
            if self.messages:
                self.again(after=0)
                return
            self.point, self.read_from = 0, asked
        self.point = max(self.point, self._oldest)
        async with self.http(headers={"Authorization": f"Bot {self.token}"}) as http:
            pause = await self._follow(http)
        if pause is None and self.tidied != f"{now:%Y-%m-%d} {self.days}":
            pause = self._tidy(f"{now:%Y-%m-%d} {self.days}")
        if pause is not None:
            self.again(after=pause)

    async def _follow(self, http: HttpClient) -> float | None:
        """Take in what is new; gives after which pause to go on, None where all is here."""
        newest, left = await self._page(http)
        while len(newest) == PAGE and int(newest[-1]["id"]) > self.point + 1:
            # There is more in between: the oldest of that comes first.
            has_room = self.context.has_room(ROOM_FOR_PAGE, 2 * PAGE, seconds=SECONDS_FOR_PAGE)
            if left.count == 0 or not has_room:
                return self._paused(left.pause if left.count == 0 else 0.0)
            try:
                page, left = await self._page(http, after=self.point)
            except Wait as wait:
                # What was read is kept.
                seconds = wait.until if isinstance(wait.until, float | int) else 0.0
                return self._paused(seconds if seconds > 0 else DEFAULT_PAUSE_SECONDS)
            except ProviderDown:
                return self._paused(DEFAULT_PAUSE_SECONDS)
            self._keep(page)
            if not page or int(page[0]["id"]) >= int(newest[-1]["id"]):
                break
            self.point = int(page[0]["id"])
        self._compare(newest)
        self.progress = self._told(newest)
        return None

    async def _page(self, http: HttpClient, **which: int) -> tuple[list[dict[str, Any]], "Left"]:
        """Ask for messages behind an id, or for the newest; gives them with the newest first."""
        url = f"{self.base}/channels/{self.channel}/messages"
        response = await http.request(
            "GET", url, params={"limit": PAGE, **which}, returns={401, 403, 404}
        )
        self._check(response)
        # Sorted by ourselves: that the newest comes first, also behind an id, holds today.
        page = sorted(response.json(), key=lambda one: int(one["id"]), reverse=True)
        return page, Left.of(response)

    def _check(self, response: httpx2.Response) -> None:
        """Raise what a refusal means, with what to do."""
        if response.status_code == httpx2.codes.UNAUTHORIZED:
            raise SignInNeeded("Discord refused the token of the bot: reset it there", url=PORTAL)
        if response.status_code == httpx2.codes.FORBIDDEN:
            raise RuntimeError(
                f"the bot may not read the channel {self.channel}: invite it to the server, and "
                "give it View Channel and Read Message History there"
            )
        if response.status_code == httpx2.codes.NOT_FOUND:
            raise LookupError(
                f"Discord has no channel {self.channel}: copy the id of the channel, not of its "
                "server"
            )
        response.raise_for_status()

    def _compare(self, newest: list[dict[str, Any]]) -> None:
        """Take in the newest messages: what is new or edited, and what is there no more."""
        there = {key_of(int(one["id"])) for one in newest}
        last = max(there, default="") if len(newest) == PAGE else "~"
        here = self.messages.first(2 * PAGE)
        self.messages.remove([key for key in here if key <= last and key not in there])
        self._keep(newest)
        if newest:
            self.point = max(self.point, int(newest[0]["id"]))

    def _keep(self, found: list[dict[str, Any]]) -> None:
        for one in found:
            message = message_of(one)
            key = key_of(message.id)
            if message.id > self._oldest and self.messages.get(key) != message:
                self.messages[key] = message

    def _tidy(self, day: str) -> float | None:
        """Let go what is older than is to be kept, once a day."""
        keys = self.messages.first(len(self.messages))
        gone = [key for key in keys if key > key_of(self._oldest)][:PORTION_GONE]
        self.messages.remove(gone)
        if len(gone) == PORTION_GONE:
            return 0.0
        self.tidied = day
        return None

    def _paused(self, seconds: float) -> float:
        self.progress = f"{len(self.messages):,} messages, and it goes on"
        return seconds

    def _told(self, newest: list[dict[str, Any]]) -> str:
        count = len(self.messages)
        text = f"{count:,} message{'' if count == 1 else 's'}"
        by_people = [
            message_of(one)
            for one in newest
            if one.get("type") in WRITTEN and not one["author"].get("bot")
        ]
        has_text = any(one.text or one.files or one.embeds for one in by_people)
        return text if has_text or not by_people else f"{text}; {NO_TEXT}"


class Left(BaseModel):
    """What is left of a rate: so many requests, and new ones after a pause, in seconds."""

    count: int | None = None
    pause: float = 0.0

    @classmethod
    def of(cls, response: httpx2.Response) -> "Left":
        """Read it from an answer; nothing is known where it does not say so."""
        headers = response.headers
        try:
            count = int(headers["x-ratelimit-remaining"])
            return cls(count=count, pause=max(0.0, float(headers["x-ratelimit-reset-after"])))
        except (KeyError, ValueError):
            return cls()


def id_at(moment: datetime) -> int:
    """Give the id that lies before all messages from a moment on."""
    return max(0, int(moment.timestamp() * 1000) - EPOCH_MS) << 22


def key_of(message_id: int) -> str:
    """Give the key of a message: the newest one comes first."""
    return f"{ID_LIMIT - message_id:020}"


def message_of(found: dict[str, Any]) -> Message:
    """Read a message, as Discord gives it."""
    author = found["author"]
    reference = found.get("message_reference") or {}
    return Message(
        id=int(found["id"]),
        sent=found["timestamp"],
        author=author.get("global_name") or author.get("username") or "",
        text=found.get("content") or "",
        edited=found.get("edited_timestamp"),
        author_id=int(author["id"]),
        is_bot=bool(author.get("bot")),
        files=[one["url"].partition("?")[0] for one in found.get("attachments") or ()],
        embeds=len(found.get("embeds") or ()),
        reply_to=int(reference["message_id"]) if reference.get("message_id") else None,
        type=found.get("type", 0),
    )
