"""JSON Feed, versions 1 and 1.1 (https://www.jsonfeed.org/version/1.1/). Pure."""

from __future__ import annotations

import json
from typing import Any, Final

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
    short,
    size_bytes,
    storable,
)

#: What `version` begins with, whichever scheme and host it is written with.
_VERSION: Final = "jsonfeed.org/version/"

#: What is cut in a word or a number of a character is noticed so many characters before the end.
_HALF_A_VALUE: Final = 6


def is_json(body: bytes) -> bool:
    """Whether a document is meant to be JSON: by its first character."""
    return body[:1024].removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def read_json_feed(body: bytes, url: str) -> Feed:
    """Read a feed; raises NotAFeed for other JSON, CutFeed for one that ends in the middle."""
    text = body.decode("utf-8-sig", "replace")
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        if _is_cut(error, text.rstrip()):
            raise CutFeed("its JSON ends in the middle") from None
        raise NotAFeed(f"it is no JSON that can be read: {error}") from None
    except (ValueError, RecursionError) as error:
        raise NotAFeed(f"it is no JSON that can be read: {error}") from None
    if not isinstance(found, dict) or _VERSION not in _text(found, "version"):
        raise NotAFeed("it is JSON, and no JSON Feed: it has no such version")
    items = found.get("items")
    if not isinstance(items, list):
        raise NotAFeed("it is a JSON Feed without the list of its items")
    entries = tuple(_entry(item, url) for item in items if isinstance(item, dict))
    hub = web_link(_hub(found.get("hubs")), url)
    return Feed(
        one_line(_text(found, "title")), entries, hub, web_link(_text(found, "feed_url"), url)
    )


def _hub(hubs: object) -> str:
    """The first hub of WebSub in a list of hubs."""
    found = [one for one in hubs if isinstance(one, dict)] if isinstance(hubs, list) else []
    return next((_text(one, "url") for one in found if _text(one, "type").lower() == "websub"), "")


def _is_cut(error: json.JSONDecodeError, text: str) -> bool:
    """Whether JSON is wrong at its end only, or in a text that does not end."""
    is_at_end = len(text) - error.pos < _HALF_A_VALUE and error.msg != "Extra data"
    return is_at_end or error.msg.startswith("Unterminated string")


def _entry(item: dict[str, Any], url: str) -> FeedEntry:
    written_link = _text(item, "url") or _text(item, "external_url")
    html, text = _text(item, "content_html"), _text(item, "content_text")
    return FeedEntry(
        guid=short(_text(item, "id")),
        title=one_line(_text(item, "title")),
        link=web_link(written_link, url),
        written_link=short(written_link),
        summary=FeedText(_text(item, "summary")),
        content=FeedText(html, is_html=True, base_url=url) if html.strip() else FeedText(text),
        published=feed_date(_text(item, "date_published")),
        updated=feed_date(_text(item, "date_modified")),
        enclosures=_enclosures(item.get("attachments"), url),
    )


def _enclosures(attachments: object, url: str) -> tuple[Enclosure, ...]:
    found = []
    for one in attachments if isinstance(attachments, list) else ():
        if isinstance(one, dict) and (link := file_link(_text(one, "url"), url)):
            size = size_bytes(_text(one, "size_in_bytes").partition(".")[0])
            found.append(Enclosure(link, _text(one, "mime_type"), size))
    return tuple(found)


def _text(found: dict[str, Any], name: str) -> str:
    """A member that is a text; a number too, which some write as an id."""
    value = found.get(name)
    if isinstance(value, str):
        return storable(value).strip()
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else ""
