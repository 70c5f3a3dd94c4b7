"""A page of HTML in the place of a feed: told from one, and the feeds that it links to. Pure."""

from __future__ import annotations

import re
from contextlib import suppress
from html.parser import HTMLParser
from typing import Final
from urllib.parse import urljoin

from bg_charm_service.sdk.feeds.links import web_link

#: Links to feeds stand in the head; so much of a page is looked through, in bytes.
_MOST_BYTES: Final = 512 * 1024

#: More are not told.
_MOST_FEEDS: Final = 5

_FEED_TYPES: Final = {
    "application/rss+xml",
    "application/atom+xml",
    "application/rdf+xml",
    "application/feed+json",
}

#: What may stand before the first tag: blanks, comments, a declaration of XML.
_BEFORE: Final = re.compile(rb"(?:\s+|<!--.*?-->|<\?.*?\?>|\xef\xbb\xbf)*", re.DOTALL)
_HTML: Final = re.compile(
    rb"<(?:!doctype\s+html|html|head|body|meta|title|script|div|p|h1)\b", re.I
)


def is_web_page(body: bytes) -> bool:
    """Whether a document is HTML: by its first tag, since its type is often wrong."""
    start = body[: 16 * 1024]
    before = _BEFORE.match(start)
    return bool(_HTML.match(start, before.end() if before else 0))


def linked_feeds(body: bytes, url: str) -> tuple[str, ...]:
    """Give the addresses of the feeds that a page says belong to it, the first few."""
    reader = _Reader(url)
    # What Python before 3.13 does not expect of a page ends the looking: no link is there any more.
    with suppress(AssertionError):
        reader.feed(body[:_MOST_BYTES].decode("utf-8", "replace"))
        reader.close()
    return tuple(dict.fromkeys(reader.feeds))[:_MOST_FEEDS]


class _Reader(HTMLParser):
    """Collects `<link rel="alternate">` of feeds."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._base = url
        self.feeds: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: (value or "").strip() for name, value in attrs}
        if tag == "base" and said.get("href"):
            self._base = _joined(self._base, said["href"])
        if tag != "link" or "alternate" not in said.get("rel", "").lower().split():
            return
        if said.get("type", "").partition(";")[0].strip().lower() in _FEED_TYPES:
            link = web_link(said.get("href", ""), self._base)
            if link:
                self.feeds.append(link)


def _joined(base: str, href: str) -> str:
    try:
        return urljoin(base, href)
    except ValueError:
        return base
