"""Feeds as they are found in life, under a name each: valid, or wrong in the usual ways.

    with FakeServer() as server:
        serve_odd_feeds(server)
        server.url + "/dupguids"

Some tell a story over several polls. What is right for each stands in tests/unit/test_rss.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from tests.fakes.http_server import Answer, FakeServer, Script, Seen, answer, json_answer, redirect

SITE: Final = "http://site.example"

#: A date far ahead of any clock that runs these tests.
FAR_AHEAD: Final = "01 Jan 2999 00:00:00 GMT"

#: Dates as they are written, and what they mean; valid ones, and placeholders of programs.
DATES: Final = {
    "Mon, 03 Nov 2025 10:00:00 GMT": "2025-11-03T10:00:00+00:00",
    "Mon,03 Nov 2025 10:00:00 GMT": "2025-11-03T10:00:00+00:00",
    "Monday, 3 November 2025 10:00 +0100": "2025-11-03T09:00:00+00:00",
    "Sat, 31 Dec 2016 23:59:60 GMT": "2016-12-31T23:59:59+00:00",
    "Mon, 03 Nov 2025 10:00:00 (CET) +0100": "2025-11-03T09:00:00+00:00",
    "Mon, 03 Nov 2025 10:00:00 +0100 (a (nested) comment)": "2025-11-03T09:00:00+00:00",
    "Mon, 03 Nov 2025 10:00:00 EST": "2025-11-03T15:00:00+00:00",
    "Mon, 03 Nov 2025 10:00:00 CET": "2025-11-03T09:00:00+00:00",
    "Mon, 03 Nov 2025 10:00:00 GMT+0100": "2025-11-03T09:00:00+00:00",
    "Mon, 03 Nov 2025 10:00:00": "2025-11-03T10:00:00+00:00",
    "03-Nov-25 10:00:00 GMT": "2025-11-03T10:00:00+00:00",
    "Mon Nov  3 10:00:00 2025": "2025-11-03T10:00:00+00:00",
    "2025-11-03T10:00:00Z": "2025-11-03T10:00:00+00:00",
    "2025-11-03t10:00:00.123456789z": "2025-11-03T10:00:00+00:00",
    "2025-11-03T10:00:00+01:00": "2025-11-03T09:00:00+00:00",
    "2025-11-03 10:00:00 -0530": "2025-11-03T15:30:00+00:00",
    "2025-11-03T24:00:00Z": "2025-11-04T00:00:00+00:00",
    "20251103T100000Z": "2025-11-03T10:00:00+00:00",
    "2025-W45-1": "2025-11-03T00:00:00+00:00",
    "2025-307T10:00:00Z": "2025-11-03T10:00:00+00:00",
    "2025-11": "2025-11-01T00:00:00+00:00",
    "2025": "2025-01-01T00:00:00+00:00",
    # None of these is a date.
    "1793613600": None,
    "1793613600000": None,
    "yesterday": None,
    "": None,
    "Mon, 31 Feb 2025 10:00:00 GMT": None,
    "2025-02-31": None,
    "2025-366": None,
    "2025-11-03T25:00:00Z": None,
    # As Hugo, PHP, MySQL and .NET write that there is none.
    "Mon, 01 Jan 0001 00:00:00 +0000": None,
    "Wed, 30 Nov -0001 00:00:00 +0000": None,
    "0000-00-00 00:00:00": None,
    "0001-01-01T00:00:00Z": None,
    "9999-12-31T23:59:59-01:00": None,
}


def item(
    guid: str | None = None,
    title: str | None = None,
    link: str | None = None,
    date: str | None = None,
    text: str | None = None,
    extra: str = "",
) -> str:
    """An item of RSS; what is None is not there."""
    parts = [("title", title), ("link", link), ("pubDate", date), ("description", text)]
    inner = "".join(f"<{tag}>{value}</{tag}>" for tag, value in parts if value is not None)
    if guid is not None:
        inner += f'<guid isPermaLink="false">{guid}</guid>'
    return f"<item>{inner}{extra}</item>"


def rss(*items: str, title: str = "T") -> str:
    """A feed of RSS 2.0."""
    return (
        '<?xml version="1.0" encoding="utf-8"?><rss version="2.0" '
        'xmlns:content="http://purl.org/rss/1.0/modules/content/" '
        'xmlns:media="http://search.yahoo.com/mrss/"><channel>'
        f"<title>{title}</title><link>{SITE}/</link><description>d</description>{''.join(items)}"
        "</channel></rss>"
    )


def entry(name: str, inner: str, updated: str = "2025-11-01T00:00:00Z") -> str:
    """An entry of Atom."""
    return f"<entry><id>{name}</id><updated>{updated}</updated>{inner}</entry>"


def atom(*entries: str) -> str:
    """A feed of Atom."""
    return (
        '<?xml version="1.0" encoding="utf-8"?><feed xmlns="http://www.w3.org/2005/Atom">'
        "<title>T</title><id>urn:x:feed</id><updated>2025-11-01T00:00:00Z</updated>"
        f"{''.join(entries)}</feed>"
    )


def json_feed(*items: object, **more: object) -> dict[str, object]:
    """A JSON Feed."""
    version = "https://jsonfeed.org/version/1.1"
    return {"version": version, "title": "T", "items": list(items), **more}


def day(number: int) -> str:
    """A day of January 2025."""
    return f"{number:02d} Jan 2025 10:00:00 GMT"


def ok(body: str, kind: str = "application/rss+xml", **headers: str) -> Answer:
    """An answer with a feed."""
    return answer(200, body, content_type=kind, **headers)


def three(*names: int) -> str:
    """A feed of some items, each by its number."""
    return rss(*(item(str(n), f"t{n}", f"{SITE}/{n}", day(n)) for n in names))


def cut_feed(seen: Seen) -> Answer:
    """Cut in the middle, without a length, and with an ETag; then it has not changed."""
    if seen.headers.get("if-none-match") == '"p1"':
        return answer(304, ETag='"p1"')
    body = three(3, 2, 1)[:-150]
    whole = ok(body, ETag='"p1"', Connection="close")
    return replace(whole, cut_at=len(body), is_without_length=True)


def _titles() -> Iterable[str]:
    kinds = {
        "text": "A &amp;amp; B",
        "html": "A &amp;amp; &lt;b&gt;B&lt;/b&gt;",
        "xhtml": '<div xmlns="http://www.w3.org/1999/xhtml">A &amp; <b>B</b></div>',
    }
    for kind, text in kinds.items():
        yield entry(f"urn:x:{kind}", f'<title type="{kind}">{text}</title>')


_ATOM: Final = "application/atom+xml"
_ENCLOSURE: Final = '<enclosure url="http://cdn.example/1.mp3" type="audio/mpeg" length="1"/>'
_LOG_IN: Final = (
    '<!-- a page --><!doctype html><html><head><base href="/blog/">'
    '<link rel="stylesheet" href="x.css"><link rel="alternate" hreflang="de" href="/de">'
    '<link rel="alternate" type="application/rss+xml" href="feed.xml">'
    '<link rel="alternate" type="application/feed+json" href="https://other.example/f.json">'
    "</head><body>Log in</body></html>"
)

#: What is answered under each name, one poll after the other; the last one stays.
ODD_FEEDS: Final[dict[str, tuple[Script, ...]]] = {
    "dupguids": (
        ok(rss(*(item("same", f"t{n}", f"{SITE}/{n}", day(n)) for n in (3, 2, 1)))),
        ok(rss(*(item("same", f"t{n}", f"{SITE}/{n}", day(n)) for n in (4, 3)))),
    ),
    "moved_page": tuple(
        ok(rss(item("g1", "one", f"{SITE}/{place}/1", day(1)))) for place in ("old", "new")
    ),
    "noguid_samelink": (
        ok(rss(*(item(None, f"Deploy {n}", f"{SITE}/status", day(n)) for n in (3, 2, 1)))),
        ok(rss(*(item(None, f"Deploy {n}", f"{SITE}/status", day(n)) for n in (4, 3, 2)))),
    ),
    "sametitle_nolink": (ok(rss(*(item(None, "Back to normal", None, day(n)) for n in (2, 1)))),),
    "only_texts": tuple(
        ok(rss(*(item(None, None, None, None, f"text {n}") for n in numbers)))
        for numbers in ((2, 1), (3, 2, 1))
    ),
    "noguid_edited": tuple(
        ok(rss(item(None, title, f"{SITE}/1", day(1)))) for title in ("Frist", "First")
    ),
    "edited": tuple(
        ok(rss(item("g1", f"title {n}", f"{SITE}/1", day(1), f"text {n}"))) for n in (1, 2, 3)
    ),
    "atom_versions": (
        ok(
            atom(
                entry("urn:x:1", "<title>old</title>", "2025-10-01T00:00:00Z"),
                entry("urn:x:1", "<title>new</title>", "2025-11-01T00:00:00Z"),
            ),
            _ATOM,
        ),
    ),
    "one_id_two_links": (
        ok(
            atom(
                *(
                    entry("tag:site", f'<title>{n}</title><link href="{SITE}/event?id={n}"/>')
                    for n in (5, 6)
                )
            ),
            _ATOM,
        ),
    ),
    "future": (
        ok(rss(item("ahead", "ahead", f"{SITE}/f", FAR_AHEAD), item("g1", "1", None, day(1)))),
        ok(rss(item("g2", "2", None, day(2)))),
    ),
    "cut": (cut_feed,),
    "fat_items": tuple(
        ok(
            rss(
                *(
                    item(f"g{n}-{i}", f"t{n}-{i}", f"{SITE}/{n}/{i}", day(n), "wort " * 88_000)
                    for i in range(20)
                )
            )
        )
        for n in (1, 2, 3)
    ),
    "dates": (
        ok(rss(*(item(f"d{n}", date or "none", None, date) for n, date in enumerate(DATES)))),
    ),
    "atom_urn": (ok(atom(entry("urn:uuid:1234", "<title>t</title><content>c</content>")), _ATOM),),
    "atom_xml_content": (
        ok(
            atom(
                entry(
                    "urn:x:1",
                    '<title>t</title><content type="application/xml">'
                    '<m xmlns="urn:m">hello<n>you</n></m></content>',
                ),
                entry(
                    "urn:x:2",
                    '<title>t</title><content type="xhtml"><div '
                    'xmlns="http://www.w3.org/1999/xhtml">an <em>own</em> text</div></content>',
                ),
            ),
            _ATOM,
        ),
    ),
    "title_types": (ok(atom(*_titles()), _ATOM),),
    "podcast": (ok(rss(item("ep1", "ep 1", None, day(1), extra=_ENCLOSURE))),),
    "sound_as_second_link": (
        ok(
            atom(
                entry(
                    "urn:x:1",
                    f'<title>t</title><link href="{SITE}/1"/>'
                    '<link href="http://cdn.example/1.mp3"/>',
                )
            ),
            _ATOM,
        ),
    ),
    "media": (
        ok(
            rss(
                item(
                    "v1",
                    "v",
                    f"{SITE}/v1",
                    day(1),
                    extra='<media:content url="http://cdn.example/1.mp4" type="video/mp4" '
                    'fileSize="17"/>',
                )
            )
        ),
    ),
    "teaser_and_text": (
        ok(
            rss(
                item(
                    *("1", "one", f"{SITE}/1", day(1), "teaser"),
                    "<content:encoded><![CDATA[<p>full <b>text</b> with "
                    '<a href="/more">more</a></p>]]></content:encoded>',
                )
            )
        ),
    ),
    "text_before_teaser": (
        ok(
            atom(
                entry(
                    "urn:x:1",
                    '<title>t</title><content type="html">&lt;p&gt;the full text&lt;/p&gt;'
                    "</content><summary>teaser</summary>",
                )
            ),
            _ATOM,
        ),
    ),
    "video": (
        ok(
            '<feed xmlns="http://www.w3.org/2005/Atom" xmlns:media="http://search.yahoo.com/mrss/">'
            f"<title>T</title><entry><id>yt:video:1</id><title>v</title><link href='{SITE}/1'/>"
            "<media:group><media:title>v</media:title><media:description>one line\nand another"
            "</media:description></media:group></entry></feed>",
            _ATOM,
        ),
    ),
    "halves": (
        ok(rss(item("1", "smile &#55357;&#56832; &#xd83d;", None, day(1), "&#xD83D;&#xDE00;"))),
    ),
    "halves_in_json": (
        json_answer(
            json_feed(
                {
                    "id": "1" * 2000,
                    "title": "smile \ud83d\ude00 \ud83d",
                    "content_text": "\ud83d\ude00\0",
                    "attachments": [{"url": "http://cdn.example/1", "size_in_bytes": float("inf")}],
                }
            )
        ),
    ),
    "links_to_nowhere": (
        ok(
            rss(
                *(
                    item(f"g{n}", "t", link, day(1))
                    for n, link in enumerate(
                        ("javascript:alert(1)", "http://[", "mailto:me@site.example", "data:,x")
                    )
                )
            )
        ),
    ),
    "guid_as_link": (
        ok(
            rss(
                f"<item><title>a</title><guid>{SITE}/a</guid></item>",
                "<item><title>b</title><guid>101</guid></item>",
            )
        ),
    ),
    "moved": (redirect("/moved_again", 301),),
    "moved_again": (redirect("/home", 308),),
    "moved_for_now": (redirect("/home", 302),),
    "moved_then_for_now": (redirect("/moved_for_now", 301),),
    "moved_to_a_page": (redirect("/html_page", 301),),
    "home": (ok(three(2, 1)),),
    "gone": (answer(410),),
    "moved_to_gone": (redirect("/gone", 301),),
    "for_now_at_gone": (redirect("/gone", 302),),
    "mirror": tuple(redirect(f"/m{n}/feed") for n in (1, 2, 3)),
    **{
        f"m{n}/feed": (
            ok(
                rss(
                    item(None, "one", "posts/1", day(2)),
                    "<item><title>two</title><guid>101</guid></item>",
                )
            ),
        )
        for n in (1, 2, 3)
    },
    "empty": (ok(""),),
    "no_content": (answer(204),),
    "blank": (ok(" \n\n"),),
    "html_page": (answer(200, _LOG_IN, content_type="application/rss+xml"),),
    "html_without_feeds": (answer(200, "<html><body>Log in</body></html>"),),
    "opml": (ok('<opml version="2.0"><body/></opml>'),),
    "jsonfeed": (
        json_answer(
            json_feed(
                {
                    "id": "1",
                    "url": "/1",
                    "title": "one",
                    "content_html": "<p>a <b>text</b></p>",
                    "summary": "teaser",
                    "date_published": "2025-11-01T10:00:00+01:00",
                    "attachments": [
                        {"url": "/1.mp3", "mime_type": "audio/mpeg", "size_in_bytes": 7},
                        {"mime_type": "audio/ogg"},
                    ],
                },
                {"id": 2, "content_text": "plain <b>", "external_url": "http://other.example/"},
                "no item",
            )
        ),
    ),
    "jsonfeed_cut": (answer(200, json.dumps(json_feed({"id": "1"}))[:-20]),),
    "json": (json_answer({"error": "no such feed"}),),
    "json_without_items": (json_answer(json_feed() | {"items": "none"}),),
    "wrong_json": (answer(200, "{'id': 1}"),),
    "not_well_formed": (ok(three(2, 1).replace("t2", "fish & chips")),),
    "wants_password": (answer(401),),
    "missing": (answer(404),),
    "busy": (answer(429, retry_after=3600),),
    "maintained": (answer(503, retry_after="Fri, 29 Nov 2999 23:00:00 GMT"),),
    "broken": (answer(500),),
    "slow": (ok(three(1)).stalled(10),),
    "closing": (Answer(is_none=True),),
}


def serve_odd_feeds(server: FakeServer) -> None:
    """Answer under each name as is said above."""
    for name, answers in ODD_FEEDS.items():
        server.on(f"/{name}", *answers)
