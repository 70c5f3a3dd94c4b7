"""A reader of feeds: RSS, Atom and JSON Feed, podcasts too.

bg-charm-service charm add --from rss
"""

import hashlib
import logging
import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx2
from pydantic import BaseModel, Field

from bg_charm_service import (
    BodyTooLarge,
    Charm,
    CutFeed,
    Feed,
    FeedEntry,
    NotAFeed,
    ProviderDown,
    Secret,
    SignInNeeded,
    Stop,
    Wait,
    hook,
    read_feed,
    told_apart,
)

#: A feed larger than this, in bytes, on the way or unpacked, is refused.
MAX_FEED_BYTES = 10 * 1024 * 1024

#: For connecting, and for each pause of the server.
TIMEOUT_SECONDS = 10.0

ACCEPT = (
    "application/atom+xml, application/rss+xml, application/feed+json, application/xml, */*;q=0.1"
)

#: The longest texts of an entry, in characters; all of a charm's together may be so many.
MAX_TITLE = 500
MAX_SUMMARY = 1_000
MAX_CONTENT = 20_000
MAX_CONTENTS = 1_000_000

#: A date that is further ahead is none of a thing that has come out; clocks and zones go wrong.
AHEAD = timedelta(days=1)

#: Of the room that the charm's state has so much is left for its other fields.
SPARE_BYTES = 64 * 1024

#: A hub is asked to send for so long, and asked again when less than a day of it is left; no more
#: often than once an hour. In seconds.
LEASE_SECONDS = 10 * 86400
RENEWED_SECONDS = 86400
ASKED_AGAIN_SECONDS = 3600

#: What a hub may do wrong, at no cost for the feed.
HUB_FAULTS = (
    Wait,
    ProviderDown,
    SignInNeeded,
    BodyTooLarge,
    httpx2.HTTPError,
    RuntimeError,
    ValueError,
)

MOVED_FOR_GOOD = {httpx2.codes.MOVED_PERMANENTLY, httpx2.codes.PERMANENT_REDIRECT}


class File(BaseModel):
    """A file that belongs to an entry: the sound of a podcast; type and size as the feed says."""

    url: str
    type: str = ""
    size_bytes: int | None = None


class Item(BaseModel):
    """One entry of a feed. `id` is its own among the items: the feed's name for it, if it has one.

    Title and texts are plain, HTML as Markdown; `published` is when it came out, or was changed.
    `content` is the whole text, where there is more of it than the summary.
    """

    id: str
    guid: str = ""
    title: str = Field(default="", title="Title")
    link: str = Field(default="", title="Link")
    written_link: str = ""  # as it stands in the feed, where that is not the same
    summary: str = ""
    content: str = ""
    published: datetime | None = Field(default=None, title="Published")
    files: list[File] = Field(default_factory=list)
    made_of: str = ""  # a hash of what stands in the feed: its texts are made plain once


class Rss(Charm):
    """Keeps the newest entries of one feed, RSS, Atom or JSON Feed, newest first."""

    integration = "rss"

    url: str = Field(
        pattern=r"^https?://",
        title="Address of the feed",
        description="one of RSS, Atom or JSON Feed, such as https://example.org/feed.xml",
    )
    limit: int = Field(
        default=50, ge=1, le=1000, title="Entries to keep", description="the newest ones"
    )
    title: str = ""
    items: list[Item] = Field(default_factory=list)
    moved_from: str = ""  # the address that the feed had before it moved for good
    etag: str = ""
    last_modified: str = ""
    body_hash: str = ""
    read_url: str = ""  # the feed that the fields above are about
    hub: str = ""  # where one can subscribe to the feed, and what it is called there
    hub_topic: str = ""
    hub_secret: Secret[str] = ""
    hub_asked_at: float = 0.0  # when the hub was asked last, in seconds since the epoch
    hub_asked_for: str = ""  # a hash of what it was asked for

    @hook(sign="websub", secret="hub_secret", topic="hub_topic", poke=True)  # noqa: S106 - a field
    async def bg_updater(self, event: dict[str, Any]) -> None:
        is_same_feed = self.read_url == self.url
        response = await self._fetch(ask_for_changes=is_same_feed)
        # Where it was found counts too: links may be relative to that.
        found = response.url.copy_with(query=None, fragment=None)
        body_hash = hashlib.sha256(f"{found}\n".encode() + response.content).hexdigest()
        is_unchanged = response.status_code == httpx2.codes.NOT_MODIFIED
        named = (self.hub, self.hub_topic) if is_same_feed else ("", "")
        if is_same_feed and (is_unchanged or body_hash == self.body_hash):
            self.items = sorted_items(self.items, datetime.now(UTC))[: self.limit]
        else:
            feed = self._read(response)
            self._keep(feed, self.items if is_same_feed else [])
            self.title, self.body_hash = cut(feed.title, MAX_TITLE), body_hash
            named = hub_of(feed, response)
        if not is_unchanged:
            self.etag = short_header(response, "etag")
            self.last_modified = short_header(response, "last-modified")
        self._follow_move(response)
        self.read_url = self.url
        await self._subscribe(*named)

    async def _subscribe(self, hub: str, topic: str) -> None:
        """Have the hub of the feed poke this charm, where the service can be reached for that.

        What is asked for is stored by one run, and asked for by the next: the hub asks back at
        once whether it was meant. Whatever comes of it, the feed is polled as before.
        """
        callback = self.hook_url("bg_updater")
        if callback is None:
            return
        if (hub, topic) != (self.hub, self.hub_topic) or (hub and not self.hub_secret):
            self.hub, self.hub_topic = hub, topic
            self.hub_secret = self.hub_secret or secrets.token_urlsafe(32)
            self.hub_asked_for = ""
            if hub:
                self.again(after=0)
            return
        asked_for = hashlib.sha256(repr((hub, topic, callback)).encode()).hexdigest()
        now, lease = time.time(), self.hook_lease("bg_updater") or 0.0
        is_new = asked_for != self.hub_asked_for
        is_due = lease - now < RENEWED_SECONDS and now - self.hub_asked_at > ASKED_AGAIN_SECONDS
        if not hub or not (is_new or is_due):
            return
        self.hub_asked_at, self.hub_asked_for = now, asked_for
        wanted = {
            "hub.mode": "subscribe",
            "hub.topic": topic,
            "hub.callback": callback,
            "hub.secret": self.hub_secret,
            "hub.lease_seconds": str(LEASE_SECONDS),
        }
        try:
            async with self.http(timeout=TIMEOUT_SECONDS) as http:
                answer = await http.post(hub, data=wanted)
            if not answer.is_success:
                raise RuntimeError(f"it answered {answer.status_code}")
        except HUB_FAULTS as error:
            text = "%s does not take the subscription (%s); the feed is polled all the same"
            logging.getLogger("rss").warning(text, address(hub), error)

    async def _fetch(self, *, ask_for_changes: bool) -> httpx2.Response:
        """Ask for the feed; every error names its address."""
        headers = {"Accept": ACCEPT}
        if ask_for_changes and self.etag:
            headers["If-None-Match"] = self.etag
        if ask_for_changes and self.last_modified:
            headers["If-Modified-Since"] = self.last_modified
        where = address(self.url)
        asked = f"GET {where.partition('://')[2].removesuffix('?…')}"
        try:
            async with self.http(timeout=TIMEOUT_SECONDS, most_bytes=MAX_FEED_BYTES) as http:
                response = await http.get(self.url, headers=headers)
        except Wait as wait:
            raise Wait(wait.until, f"{where}{said(wait.why, asked)}") from wait
        except ProviderDown as down:
            raise ProviderDown(f"{where}{said(down.why, asked)}", host=down.host) from down
        except (BodyTooLarge, httpx2.HTTPError, ValueError) as error:
            raise RuntimeError(f"{where}{said(str(error), asked)}") from error
        self._check(response)
        return response

    def _check(self, response: httpx2.Response) -> None:
        """Raise for an answer that is neither a feed nor that it has not changed."""
        status = response.status_code
        where = address(self.url)
        if response.history:
            where = f"{where}, which leads to {address(str(response.url))},"
        if status == httpx2.codes.GONE and is_for_good(response):
            raise Stop(f"{where} says that the feed is gone for good (410)")
        if status == httpx2.codes.UNAUTHORIZED:
            raise SignInNeeded(f"{where} wants a name and a password (401), which `url` may hold")
        has_asked = "if-none-match" in response.request.headers or (
            "if-modified-since" in response.request.headers
        )
        if status == httpx2.codes.NOT_MODIFIED and has_asked:
            return
        if not response.is_success:
            raise RuntimeError(f"{where} answered {status} {response.reason_phrase}".rstrip())

    def _read(self, response: httpx2.Response) -> Feed:
        where = address(self.url)
        content_type = response.headers.get("content-type", "")
        try:
            return read_feed(response.content, url=str(response.url), content_type=content_type)
        except CutFeed as cut:
            raise ProviderDown(f"{where}: {cut}", host=response.url.host) from cut
        except NotAFeed as error:
            raise ValueError(f"{where} is not a feed: {error}") from error

    def _keep(self, feed: Feed, before: list[Item]) -> None:
        """Keep what the feed has now, and what it had before: here, and nowhere else."""
        now = datetime.now(UTC)
        known = {item.id: item for item in before}
        entries = told_apart(feed.entries, before)
        dates = {name: entry.date for name, entry in entries.items()}
        for item in before:
            # What is gone before it came out was a mistake, or a placeholder.
            if item.id not in dates and not is_ahead(item.published, now):
                dates[item.id] = item.published
        longest = min(MAX_CONTENT, MAX_CONTENTS // self.limit)
        kept = []
        for name in newest(dates, now)[: self.limit]:
            entry = entries.get(name)
            kept.append(known[name] if entry is None else item_of(name, entry, longest, known))
        self.items = fitted(kept, self.context.room + size_bytes(before) - SPARE_BYTES)

    def _follow_move(self, response: httpx2.Response) -> None:
        """Take the address to which the feed has moved for good, and say so."""
        moved_to = self.url
        for redirect in response.history:
            if redirect.status_code not in MOVED_FOR_GOOD or redirect.next_request is None:
                break
            moved_to = str(redirect.next_request.url)
        is_less_safe = self.url.startswith("https:") and not moved_to.startswith("https:")
        if moved_to != self.url and not is_less_safe:
            moved = (address(self.url), address(moved_to))
            logging.getLogger("rss").warning("%s has moved for good to %s", *moved)
            self.moved_from, self.url = self.url, moved_to


def hub_of(feed: Feed, response: httpx2.Response) -> tuple[str, str]:
    """Give the hub of a feed and its name there: by its headers, or else by the feed itself."""
    hub = response.links.get("hub", {}).get("url", "")
    topic = response.links.get("self", {}).get("url", "")
    hub = str(response.url.join(hub)) if hub else feed.hub
    topic = str(response.url.join(topic)) if topic else feed.topic
    if not (is_address(hub) and len(hub) + len(topic) <= 2 * MAX_TITLE):
        return "", ""
    return hub, topic or str(response.url)


def is_address(url: str) -> bool:
    """Whether a text is the address of a web server."""
    return url.startswith(("http://", "https://"))


def item_of(name: str, entry: FeedEntry, longest: int, known: dict[str, Item]) -> Item:
    """Make an item of an entry, its texts cut; the known one, where it has not changed."""
    made_of = hashlib.sha256(repr((entry, longest)).encode("utf-8", "replace")).hexdigest()[:16]
    if name in known and known[name].made_of == made_of:
        return known[name]
    content = (entry.content or entry.summary).text(longest)
    has_both = entry.content and entry.summary
    summary = entry.summary.text(MAX_SUMMARY) if has_both else cut(content, MAX_SUMMARY)
    return Item(
        id=name,
        guid=entry.guid,
        title=cut(entry.title, MAX_TITLE),
        link=entry.link,
        written_link=entry.written_link if entry.written_link != entry.link else "",
        summary=summary,
        content=content if content != summary else "",
        published=entry.date,
        files=[
            File(url=one.url, type=one.type, size_bytes=one.size_bytes) for one in entry.enclosures
        ],
        made_of=made_of,
    )


def sorted_items(items: list[Item], now: datetime) -> list[Item]:
    """Sort items as `newest` does: what was ahead may have come out since."""
    by_name = {item.id: item for item in items}
    return [by_name[name] for name in newest({one.id: one.published for one in items}, now)]


def is_ahead(date: datetime | None, now: datetime) -> bool:
    """Whether a date lies further ahead than clocks and zones go wrong."""
    return date is not None and date > now + AHEAD


def newest(dates: dict[str, datetime | None], now: datetime) -> list[str]:
    """Sort names by their dates, the newest first; those of the future last, the soonest first.

    One without a date stays beside the one before it: feeds list the newest first.
    """
    date = now
    current: list[tuple[datetime, str]] = []
    ahead: list[tuple[datetime, str]] = []
    for name, own in dates.items():
        if own is not None and is_ahead(own, now):
            ahead.append((own, name))
            continue
        date = own or date
        current.append((date, name))
    current.sort(key=lambda pair: pair[0], reverse=True)
    return [name for _, name in [*current, *sorted(ahead)]]


def fitted(items: list[Item], room_bytes: int) -> list[Item]:
    """Shorten texts until all items fit into so many bytes; then leave out the oldest."""
    longest = MAX_CONTENT
    while size_bytes(items) > room_bytes and longest:
        longest //= 2
        items = [
            item.model_copy(
                update={
                    "content": cut(item.content, longest),
                    "summary": cut(item.summary, longest),
                }
            )
            for item in items
        ]
    while items and size_bytes(items) > room_bytes:
        items = items[:-1]
    return items


def size_bytes(items: list[Item]) -> int:
    """About what items take as JSON."""
    return sum(len(item.model_dump_json()) for item in items)


def cut(text: str, limit: int) -> str:
    """Cut a text to so many characters, with a mark at its end."""
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…" if limit else ""


def said(why: str, asked: str) -> str:
    """Give what an error says behind the address, without the same address again."""
    rest = why.removeprefix(asked)
    return rest if rest != why and rest[:1] in (":", " ") else f": {why}"


def address(url: str) -> str:
    """Give an address as errors may show it: no password, and nothing of its query."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}{'?…' if parts.query else ''}"


def short_header(response: httpx2.Response, name: str) -> str:
    """Give a header that is to be kept; empty for none, and for one that is too long for that."""
    text: str = response.headers.get(name, "")
    return text if len(text) <= MAX_TITLE else ""


def is_for_good(response: httpx2.Response) -> bool:
    """Whether an answer is that of the feed's own address, or of where it has moved for good."""
    return all(one.status_code in MOVED_FOR_GOOD for one in response.history)
