"""RSS and Atom of all versions, by feedparser, and what it makes less of than stands there.

It is given no address to resolve against: what tells entries apart has to stay the same when a
feed moves. Links are made absolute here, HTML is made safe where it is made text.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urljoin
from xml.etree import ElementTree
from xml.sax import SAXException

import feedparser

from bg_charm_service.sdk.feeds.dates import feed_date
from bg_charm_service.sdk.feeds.links import file_link, web_link
from bg_charm_service.sdk.feeds.model import (
    CutFeed,
    Enclosure,
    Feed,
    FeedEntry,
    FeedText,
    NotAFeed,
    one_line,
    plain_line,
    short,
    size_bytes,
    storable,
)

#: With what a whole document ends; comments may follow.
_END: Final = re.compile(rb"</(?:\w+:)?(?:rss|feed|rdf|channel)\s*>", re.IGNORECASE)

#: Numbers of halves of characters (surrogates), which XML has not, and some programs write.
_HALVES: Final = re.compile(rb"(?:&#(?:[xX]0*[dD][89a-fA-F][0-9a-fA-F]{2}|5[5-7]\d{3});)+")

_FIRST_TAG: Final = re.compile(rb"<([A-Za-z][\w:.-]{0,50})")

#: What is called HTML, as RSS calls every text, and has none of these, is a plain text.
_MARKS: Final = re.compile(r"</?[A-Za-z][^>]*>|<!--|&(?:#\d+|#[xX][0-9a-fA-F]+|\w+);")

_HTML_TYPES: Final = {"text/html", "application/xhtml+xml"}
_ATOM: Final = "{http://www.w3.org/2005/Atom}"

#: Of the names of an entry's dates, those of when it came out, and those of when it was changed.
_CAME_OUT: Final = ("published", "created")
_CHANGED: Final = ("updated", "modified")

_MOST_ENCLOSURES: Final = 20
_LONGEST_TYPE: Final = 200


def read_xml_feed(body: bytes, content_type: str, url: str) -> Feed:
    """Read a feed; raises NotAFeed for other XML, CutFeed for one that ends in the middle."""
    found = _parsed(body, content_type)
    fault = found.get("bozo_exception")
    is_broken = isinstance(fault, SAXException)
    if not found.get("version"):
        raise NotAFeed(
            f"it is no RSS, Atom or JSON Feed{_reason(body, fault if is_broken else '')}"
        )
    if is_broken and not _END.search(_as_ascii(body)):
        # Many feeds are not well-formed and whole; what a connection has cut is neither.
        raise CutFeed("its XML ends in the middle")
    texts = _inline_xml(body, found.entries)
    entries = tuple(
        _entry(entry, url, texts.get(place, "")) for place, entry in enumerate(found.entries)
    )
    hub, topic = (_feed_link(found.feed, rel, url) for rel in ("hub", "self"))
    return Feed(_title(found.feed), entries, hub, topic)


def _feed_link(feed: Any, rel: str, url: str) -> str:
    """The first address that a feed names for something about itself."""
    links = [one for one in dict.get(feed, "links", ()) if one.get("rel") == rel]
    return next((web_link(storable(one.get("href") or ""), url) for one in links), "")


def _parsed(body: bytes, content_type: str) -> Any:
    try:
        try:
            return _parse(body, content_type)
        except UnicodeEncodeError:
            return _parse(_HALVES.sub(_joined, body), content_type)
    except Exception as error:
        # It is a program about documents of strangers, and some of these are too much for it.
        raise NotAFeed(f"it cannot be read as a feed: {one_line(str(error))[:200]}") from error


def _parse(body: bytes, content_type: str) -> Any:
    return feedparser.parse(
        # As a file object: feedparser takes plain bytes for the name of a file first.
        io.BytesIO(body),
        response_headers={"content-type": content_type},
        sanitize_html=False,
        resolve_relative_uris=False,
    )


def _joined(halves: re.Match[bytes]) -> bytes:
    """Write a character by its number whose halves were written by theirs."""
    numbers = (
        int(number[1:], 16) if number[:1] in b"xX" else int(number)
        for number in re.findall(rb"&#(\w+);", halves[0])
    )
    text = storable("".join(map(chr, numbers)))
    return "".join(f"&#{ord(one)};" for one in text).encode()


def _reason(body: bytes, fault: object) -> str:
    """Why a document is no feed: the element that it begins with, or what is wrong with its XML."""
    first = _FIRST_TAG.search(body[:4096])
    if first is not None and not fault:
        return f": it begins with <{first[1].decode('ascii')}>"
    return f": {one_line(str(fault))}" if fault else ""


def _as_ascii(body: bytes) -> bytes:
    """The end of a document, also of one in UTF-16 or UTF-32, whose tags have zeros between."""
    return body[-4096:].replace(b"\0", b"")


def _entry(entry: Any, url: str, inline_text: str) -> FeedEntry:
    contents = [one for one in entry.get("content", ()) if _is_text(one)]
    content, summary = _texts(entry, contents, url)
    if inline_text and not content:
        content = FeedText(inline_text)
    written_link = storable(_written_link(entry))
    return FeedEntry(
        guid=short(storable(dict.get(entry, "id") or "").strip()),
        title=_title(entry),
        link=web_link(written_link, url),
        written_link=short(written_link),
        summary=summary,
        content=content,
        published=_date(entry, _CAME_OUT),
        updated=_date(entry, _CHANGED),
        enclosures=_enclosures(entry, url),
    )


def _texts(entry: Any, contents: list[Any], url: str) -> tuple[FeedText, FeedText]:
    """The whole text and the teaser. A single one is the teaser, as in most feeds of RSS."""
    found = [_text(one, url) for one in contents]
    # feedparser copies the content where there is no summary; only a real one has a detail.
    if detail := dict.get(entry, "summary_detail"):
        found.append(_text(detail, url))
    found = [one for one in found if one]
    if not found:
        return FeedText(), FeedText()
    if len(found) == 1:
        return (found[0], FeedText()) if contents else (FeedText(), found[0])
    # An Atom summary behind the content is taken for another content.
    longest = found[0] if dict.get(entry, "summary_detail") else max(found, key=_length)
    others = [one for one in found if one is not longest]
    return longest, others[-1]


def _length(text: FeedText) -> int:
    return len(text.written)


def _text(detail: Any, url: str) -> FeedText:
    base = urljoin(url, detail.get("base") or "")
    written = storable(detail.get("value") or "")
    is_html = detail.get("type") in _HTML_TYPES and _MARKS.search(written) is not None
    return FeedText(written, is_html, base)


def _is_text(content: Mapping[str, Any]) -> bool:
    """Whether content is one to read: it may be a picture too."""
    kind = content.get("type") or "text/plain"
    return kind.startswith("text/") or kind.endswith(("/xml", "+xml"))


def _title(context: Any) -> str:
    title = storable(context.get("title") or "")
    kind = (context.get("title_detail") or {}).get("type")
    return plain_line(title) if kind in _HTML_TYPES else one_line(title)


def _written_link(entry: Any) -> str:
    """The address of the entry's page, as it is written; empty without one."""
    alternates = [one for one in dict.get(entry, "links", ()) if one.get("rel") == "alternate"]
    pages = [one for one in alternates if one.get("type") in _HTML_TYPES]
    # The first: some write a file that belongs to it behind, without saying that it is one.
    for one in (*pages, *alternates):
        if href := (one.get("href") or "").strip():
            return str(href)
    for one in entry.get("content", ()):
        # Atom may leave the text outside (RFC 4287, 4.1.3.2).
        if src := one.get("src"):
            return str(src)
    # feedparser calls any id of Atom a link. One of RSS is, unless it says otherwise.
    guid = (dict.get(entry, "id") or "").strip()
    is_link = dict.get(entry, "guidislink") and guid.lower().startswith(("http://", "https://"))
    return guid if is_link else ""


def _date(entry: Any, names: tuple[str, ...]) -> datetime | None:
    for name in names:
        # Asked through dict: feedparser's own get passes the one date off as the other.
        written = dict.get(entry, name) or ""
        if found := feed_date(written):
            return found
        parsed = dict.get(entry, f"{name}_parsed")
        if parsed is not None and not written.isascii():
            # Korean, Greek and Hungarian: its own readers of these are right.
            try:
                year, month, day, hour, minute, second = parsed[:6]
                return datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
            except ValueError:
                continue
    return None


def _enclosures(entry: Any, url: str) -> tuple[Enclosure, ...]:
    found: dict[str, Enclosure] = {}
    links = [one for one in dict.get(entry, "links", ()) if one.get("rel") == "enclosure"]
    media = [
        {"href": one.get("url"), "type": one.get("type"), "length": one.get("filesize")}
        for one in entry.get("media_content", ())
    ]
    for one in (*links, *media):
        link = file_link(storable(one.get("href") or ""), url)
        if link and len(found) < _MOST_ENCLOSURES:
            size = size_bytes(one.get("length") or "")
            kind = storable(one.get("type") or "")[:_LONGEST_TYPE]
            found.setdefault(link, Enclosure(link, kind, size))
    return tuple(found.values())


def _inline_xml(body: bytes, entries: list[Any]) -> dict[int, str]:
    """The texts of contents of Atom that are XML of other kinds, by the place of their entry.

    feedparser leaves these empty. A document that declares entities is left alone.
    """
    if not any(map(_has_inline_xml, entries)) or b"<!DOCTYPE" in body.replace(b"\0", b""):
        return {}
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 - nothing in it is declared
    except ElementTree.ParseError:
        return {}
    return dict(_inline_texts(root))


def _has_inline_xml(entry: Any) -> bool:
    return any(
        one.get("type", "").endswith(("/xml", "+xml")) and not one.get("value")
        for one in entry.get("content", ())
    )


def _inline_texts(root: ElementTree.Element) -> Iterator[tuple[int, str]]:
    for place, entry in enumerate(root.iter(f"{_ATOM}entry")):
        content = entry.find(f"{_ATOM}content")
        if content is not None and len(content):
            yield place, one_line(" ".join(content.itertext()))
