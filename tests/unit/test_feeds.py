"""What authors read feeds with: whatever a document is, and whatever entries say of themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from bg_charm_service import CutFeed, FeedEntry, FeedText, NotAFeed, read_feed, told_apart
from bg_charm_service.sdk.feeds.dates import feed_date
from tests.fakes.feeds import atom, day, entry, item, json_feed, rss
from tests.fakes.http_server import json_answer

URL = "http://site.example/feed"

DATES = some.sampled_from([None, *(datetime(2025, 1, n, tzinfo=UTC) for n in (1, 2))])

ENTRIES = some.builds(
    FeedEntry,
    guid=some.sampled_from(["", "a", "b"]),
    title=some.sampled_from(["", "x", "y"]),
    written_link=some.sampled_from(["", "/1", "/2"]),
    summary=some.builds(FeedText, some.sampled_from(["", "one", "two"])),
    published=DATES,
    updated=DATES,
)

FEEDS = some.lists(ENTRIES, max_size=6)


@dataclass(frozen=True)
class Kept:
    """What a charm keeps of an entry."""

    id: str
    guid: str
    title: str
    link: str
    written_link: str
    published: datetime | None


def polled(kept: dict[str, Kept], entries: list[FeedEntry]) -> dict[str, Kept]:
    """Give what is kept after a poll."""
    found = told_apart(entries, kept.values())
    new = {
        name: Kept(name, one.guid, one.title, one.link, one.written_link, one.date)
        for name, one in found.items()
    }
    return {**kept, **new}


def said(one: FeedEntry) -> tuple[object, ...]:
    """Of which entries of one feed there is but one: docs/decisions/0076."""
    if one.guid:
        return one.guid, one.written_link
    if one.written_link or one.title:
        return "", one.written_link, one.title, one.date
    return "", one.summary.written, one.date


@given(FEEDS)
def test_each_entry_of_a_feed_is_there_once(entries: list[FeedEntry]) -> None:
    """None is lost, none is there twice, and of two versions it is the one changed last."""
    found = told_apart(entries)
    assert {said(one) for one in entries} == {said(one) for one in found.values()}
    assert len({said(one) for one in entries}) == len(found)
    for one in found.values():
        versions = [other for other in entries if said(other) == said(one)]
        changed = [other.updated or other.published for other in versions]
        newest = max((date for date in changed if date is not None), default=None)
        assert newest == (one.updated or one.published)


@given(FEEDS)
def test_an_entry_has_the_same_id_whatever_stands_beside_it(entries: list[FeedEntry]) -> None:
    """Without anything that is known, ids do not depend on the order."""
    names = {said(one): name for name, one in told_apart(entries).items()}
    assert names == {said(one): name for name, one in told_apart(entries[::-1]).items()}


@given(some.lists(FEEDS, min_size=1, max_size=4))
def test_what_is_known_is_known_again(feeds: list[list[FeedEntry]]) -> None:
    """However a feed has changed: polled again, nothing is added, and each is who it was."""
    kept: dict[str, Kept] = {}
    for entries in feeds:
        kept = polled(kept, entries)
        assert kept == polled(kept, entries)
        assert len({said(one) for one in entries}) == len(told_apart(entries, kept.values()))


DOCUMENTS = [
    rss(item("1", "one", "/1", day(1), "&lt;p&gt;text"), item(None, "two", None, "now", "text")),
    atom(
        entry("urn:1", '<title type="html">a</title><content type="xhtml"><div>b</div></content>')
    ),
    json_answer(json_feed({"id": "1", "content_html": "<p>text", "url": "/1"})).body.decode(),
    '<!doctype html><html><head><link rel="alternate" type="application/rss+xml" href="f">',
]

NOISE = some.sampled_from(
    [
        "<",
        ">",
        "&",
        "&#xD800;",
        "&#55357;",
        "<![CDATA[",
        "]]>",
        "\0",
        "\ud800",
        "<!--",
        "{",
        '"',
        "<!DOCTYPE x [",
        "<?xml version='1.0' encoding='utf-7'?>",
        "http://[",
        "é",
        "</rss>",
        "[" * 500,
    ]
)


@settings(deadline=None)
@example(DOCUMENTS[3], [(0.34375, "<![CDATA["), (0.34375, "<")], 0.5)
@given(
    some.sampled_from(DOCUMENTS),
    some.lists(some.tuples(some.floats(0, 1), NOISE), max_size=4),
    some.floats(0, 1),
)
def test_any_document_is_read_or_refused(
    document: str, noise: list[tuple[float, str]], cut: float
) -> None:
    """Whatever was done to it: entries that can be stored, or an error of the two kinds."""
    for place, text in noise:
        at = int(place * len(document))
        document = document[:at] + text + document[at:]
    document = document[: max(1, int((1 - cut * cut) * len(document)))]
    try:
        feed = read_feed(document.encode("utf-8", "surrogatepass"), url=URL)
    except (NotAFeed, CutFeed):
        return
    for one in told_apart(feed.entries).values():
        texts = (one.guid, one.title, one.link, one.summary.text(100), one.content.text(100))
        assert "\0" not in "".join(texts).encode().decode()


@pytest.mark.parametrize("document", DOCUMENTS[:3])
def test_a_cut_document_is_never_half_a_feed(document: str) -> None:
    """Cut anywhere behind its first entry: read whole, or refused."""
    whole = document.encode()
    entries = len(read_feed(whole, url=URL).entries)
    for at in range(len(whole) // 3, len(whole)):
        try:
            assert entries == len(read_feed(whole[:at], url=URL).entries)
        except CutFeed:
            continue


@given(some.text(max_size=40) | some.from_regex(r"\A[A-Za-z]{3}, \d+ [A-Z][a-z]{2} \d+ .{0,20}\Z"))
def test_any_text_is_a_date_or_none(text: str) -> None:
    """Nothing that stands in the place of a date breaks the reading."""
    found = feed_date(text)
    assert found is None or found.tzinfo is UTC
