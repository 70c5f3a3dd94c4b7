"""A reader of RSS and Atom feeds.

bg-charm-service charm add charms/rss.py --space news --set url='"https://…"' --register
"""

import io
from datetime import UTC, datetime
from time import struct_time
from typing import Any

import feedparser
import httpx2
from pydantic import BaseModel, Field

from bg_charm_service import Charm

#: A feed larger than this, in bytes after decompression, is refused.
MAX_FEED_BYTES = 10_000_000

#: For connecting, and for each pause of the server.
TIMEOUT_SECONDS = 10.0


class Item(BaseModel):
    """One entry of a feed; `id` is the feed's own name for it, or its link."""

    id: str
    title: str = ""
    link: str = ""
    summary: str = ""
    published: datetime | None = None


class Rss(Charm):
    """Keeps the newest items of one feed, RSS 2.0 or Atom, newest first."""

    url: str = Field(pattern=r"^https?://")
    limit: int = Field(default=50, ge=1, le=1000)
    title: str = ""
    items: list[Item] = Field(default_factory=list)
    etag: str = ""
    last_modified: str = ""
    read_url: str = ""  # the feed that the fields above are about

    async def bg_updater(self, event: dict[str, Any]) -> None:
        is_same_feed = self.read_url == self.url
        response, body = await self._fetch(ask_for_changes=is_same_feed)
        known = self.items if is_same_feed else []
        if response.status_code == httpx2.codes.NOT_MODIFIED and is_same_feed:
            self.items = known[: self.limit]
            return
        if not response.is_success:
            raise RuntimeError(_answer(response))
        feed = _parsed(self.url, response, body)
        self.items = newest([_item(entry) for entry in feed.entries], known, self.limit)
        self.title = feed.feed.get("title", "")
        self.etag = response.headers.get("etag", "")
        self.last_modified = response.headers.get("last-modified", "")
        self.read_url = self.url

    async def _fetch(self, *, ask_for_changes: bool) -> tuple[httpx2.Response, bytes]:
        headers = {
            "Accept": "application/atom+xml, application/rss+xml, application/xml, */*;q=0.1"
        }
        if ask_for_changes and self.etag:
            headers["If-None-Match"] = self.etag
        if ask_for_changes and self.last_modified:
            headers["If-Modified-Since"] = self.last_modified
        async with (
            httpx2.AsyncClient(follow_redirects=True, timeout=TIMEOUT_SECONDS) as client,
            client.stream("GET", self.url, headers=headers) as response,
        ):
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_FEED_BYTES:
                    raise RuntimeError(f"{self.url} is larger than {MAX_FEED_BYTES} bytes")
            return response, bytes(body)


def newest(entries: list[Item], known: list[Item], limit: int) -> list[Item]:
    """Put the feed's entries before the known items, drop duplicates, and keep the newest.

    An item without a date stays beside the one before it: feeds list the newest first.
    """
    merged: dict[str, Item] = {}
    for item in [*entries, *known]:
        merged.setdefault(item.id, item)
    date = datetime.max.replace(tzinfo=UTC)
    dated: list[tuple[datetime, Item]] = []
    for item in merged.values():
        date = item.published or date
        dated.append((date, item))
    dated.sort(key=lambda pair: pair[0], reverse=True)
    return [item for _, item in dated[:limit]]


def _parsed(url: str, response: httpx2.Response, body: bytes) -> Any:
    # As a file object: feedparser takes plain bytes for the name of a file first.
    feed = feedparser.parse(
        io.BytesIO(body),
        response_headers={
            "content-type": response.headers.get("content-type", ""),
            "content-location": str(response.url),
        },
    )
    if not feed.version:
        reason = feed.get("bozo_exception", "no feed element in it")
        raise ValueError(f"{url} is not an RSS or Atom feed: {reason}")
    return feed


def _item(entry: Any) -> Item:
    title, link, summary = (entry.get(name, "") for name in ("title", "link", "summary"))
    # Asked through dict: feedparser's own get passes the one date off as the other.
    date = dict.get(entry, "published_parsed") or dict.get(entry, "updated_parsed")
    return Item(
        id=entry.get("id") or link or title or summary,
        title=title,
        link=link,
        summary=summary,
        published=_date(date),
    )


def _date(parsed: struct_time | None) -> datetime | None:
    if parsed is None:
        return None
    year, month, day, hour, minute, second = parsed[:6]
    try:
        # A leap second has no place in a datetime.
        return datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
    except ValueError:
        return None


def _answer(response: httpx2.Response) -> str:
    text = f"{response.url} answered {response.status_code} {response.reason_phrase}".rstrip()
    retry_after = response.headers.get("retry-after")
    return f"{text} (Retry-After: {retry_after})" if retry_after else text
