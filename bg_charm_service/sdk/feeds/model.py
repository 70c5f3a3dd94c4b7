"""What a feed holds, the same for RSS, Atom and JSON Feed. Made by `reading`, read by charms."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from datetime import datetime
from html import unescape
from typing import Final

from bg_charm_service.sdk.mail.mail_text import html_text

#: Of HTML so many times the wanted text is read: the rest would be cut anyway.
_HTML_PER_TEXT: Final = 10

#: Guids and links as they are written are no longer than this, in characters.
_LONGEST_NAME: Final = 1000

#: A size with more digits is none.
_SIZE_DIGITS: Final = 16

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
            told = self.written[: limit * _HTML_PER_TEXT].strip()
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
    """A feed: its title, and its entries in the order that they stand there.

    `hub` is where one can subscribe to it (WebSub), and `topic` what it is called there; empty
    where it says neither.
    """

    title: str
    entries: tuple[FeedEntry, ...]
    hub: str = ""
    topic: str = ""


def storable(text: str) -> str:
    """Give a text without zeros and halves of characters, which programs leave that cut texts."""
    if text.isascii():
        return text.replace("\0", "")
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\0", "")


def short(name: str) -> str:
    """Give what names an entry: a hash of one that is too long to be kept."""
    if len(name) <= _LONGEST_NAME:
        return name
    return hashlib.sha256(name.encode()).hexdigest()


def size_bytes(text: str) -> int | None:
    """Read a size; many write 0 where they do not know it, or how long something lasts."""
    text = text.strip()
    is_plain = text.isascii() and text.isdigit() and len(text) < _SIZE_DIGITS
    return (int(text) or None) if is_plain else None


def one_line(text: str) -> str:
    """Give a text in one line, with single blanks."""
    return _BLANKS.sub(" ", text).strip()


def plain_line(html: str) -> str:
    """Give HTML as one line without any marks."""
    import nh3

    bare = nh3.clean(html, tags=set(), clean_content_tags={"script", "style"})
    return one_line(unescape(bare))
