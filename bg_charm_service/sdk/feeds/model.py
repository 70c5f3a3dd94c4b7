"""What a feed holds, the same for RSS, Atom and JSON Feed. Made by `reading`, read by charms."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from html import unescape
from typing import Final

from bg_charm_service.sdk.mail_text import html_text

#: Of HTML so many times the wanted text is read: the rest would be cut anyway.
_HTML_PER_TEXT: Final = 10

_BLANKS: Final = re.compile(r"\s+")


class NotAFeed(ValueError):
    """What was read is no feed. `feeds` are the addresses of those that it links to, if any."""

    def __init__(self, why: str, feeds: tuple[str, ...] = ()) -> None:
        super().__init__(why)
        self.feeds = feeds


class CutFeed(ValueError):
    """A feed that ends in the middle: what came is not all of it."""


@dataclass(frozen=True, slots=True)
class Enclosure:
    """A file that belongs to an entry: the sound of a podcast; type and size as the feed says."""

    url: str
    type: str = ""
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class FeedText:
    """A text as it stands in a feed; made plain when it is wanted, since that takes time."""

    written: str = ""
    is_html: bool = False
    base_url: str = ""

    def __bool__(self) -> bool:
        return bool(self.written.strip())

    def plain(self) -> str:
        """One line without marks, as titles are."""
        return plain_line(self.written) if self.is_html else one_line(self.written)

    def text(self, limit: int) -> str:
        """The text, HTML as Markdown; at most `limit` characters, with a mark where it is cut."""
        if limit <= 0 or not self:
            return ""
        if self.is_html:
            told = html_text(self.written[: limit * _HTML_PER_TEXT], base_url=self.base_url).strip()
        else:
            told = self.written[: limit * _HTML_PER_TEXT].replace("\0", "").strip()
        return told if len(told) <= limit else f"{told[: limit - 1].rstrip()}…"


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """One entry. What the feed does not say is empty or None; `link` is an address, or empty."""

    guid: str = ""
    title: str = ""
    link: str = ""
    #: The link as it is written, maybe relative to wherever the feed is: what tells entries apart.
    written_link: str = ""
    summary: FeedText = field(default_factory=FeedText)
    content: FeedText = field(default_factory=FeedText)
    published: datetime | None = None
    updated: datetime | None = None
    enclosures: tuple[Enclosure, ...] = ()

    @property
    def date(self) -> datetime | None:
        """When it came out, or else when it was changed last."""
        return self.published or self.updated


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed: its title, and its entries in the order that they stand there."""

    title: str
    entries: tuple[FeedEntry, ...]


def one_line(text: str) -> str:
    """Give a text with single blanks, and no zeros."""
    return _BLANKS.sub(" ", text.replace("\0", "")).strip()


def plain_line(html: str) -> str:
    """Give HTML as one line without any marks."""
    import nh3

    bare = nh3.clean(html, tags=set(), clean_content_tags={"script", "style"})
    return one_line(unescape(bare))
