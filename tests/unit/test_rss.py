"""The feed reader that ships with the service, against a real server on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock
from urllib.parse import parse_qs

import pytest

from bg_charm_service import ProviderDown, SignInNeeded, Stop, Wait, read_feed
from bg_charm_service.domain.errors import StateError
from bg_charm_service.sdk import http_client
from bg_charm_service.workers.runtime.charm_binding import changes, load_class
from tests.fakes.feeds import DATES, SITE, day, item, ok, rss, serve_odd_feeds, three
from tests.fakes.http_server import FakeServer, Seen, answer
from tests.providers import NO_HOST, refused_url

SOURCE = Path(__file__).parents[2] / "charms" / "rss.py"

Rss: type[Any] = load_class(SOURCE.read_text(), SOURCE.name)

#: What a charm keeps between two runs.
KEPT = [
    "url",
    "limit",
    "title",
    "items",
    "moved_from",
    "etag",
    "last_modified",
    "body_hash",
    "read_url",
    "hub",
    "hub_topic",
    "hub_secret",
    "hub_asked_at",
    "hub_asked_for",
]


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test wait for what is tried again, or for who does not answer."""
    monkeypatch.setattr(http_client, "_PAUSES_SECONDS", (0.0, 0.0))
    monkeypatch.setitem(Rss.bg_updater.__globals__, "TIMEOUT_SECONDS", 0.3)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """Run a server of feeds for one test."""
    with FakeServer() as server:
        serve_odd_feeds(server)
        yield server


def poll(charm: Any, times: int = 1) -> Any:
    """Run the handler that the service polls; gives the charm as it is stored and read again."""
    for _ in range(times):
        asyncio.run(charm.bg_updater({}))
        charm = again(charm)
    return charm


def again(charm: Any) -> Any:
    """Give a charm as the next run gets it."""
    return Rss(**{name: getattr(charm, name) for name in KEPT})


def read(server: FakeServer, name: str, times: int = 1, **fields: Any) -> Any:
    """Poll one of the odd feeds."""
    return poll(Rss(url=f"{server.url}/{name}", **fields), times)


def ids(charm: Any) -> list[str]:
    """Give the ids of the items that a charm keeps."""
    return [one.id for one in charm.items]


def titles(charm: Any) -> list[str]:
    """Give the titles of the items that a charm keeps."""
    return [one.title for one in charm.items]


# What is kept.


def test_reads_rss(server: FakeServer) -> None:
    """Title and items of an RSS 2.0 feed are kept, newest first."""
    server.on("/feed", ok(three(1, 3, 2)))

    charm = read(server, "feed")

    assert "T" == charm.title
    assert ["3", "2", "1"] == ids(charm)
    assert "2025-01-03T10:00:00+00:00" == charm.items[0].published.isoformat()


def test_reads_atom(server: FakeServer) -> None:
    """Title, link, summary and date of an Atom entry are kept."""
    body = """<?xml version="1.0" encoding="utf-8"?>
        <feed xmlns="http://www.w3.org/2005/Atom"><title>Journal</title><id>urn:f</id>
        <updated>2025-02-01T00:00:00Z</updated>
        <entry><id>urn:1</id><title>Café</title><link href="/one"/>
        <updated>2025-02-01T12:00:00+02:00</updated><summary>Short</summary></entry></feed>"""
    server.on("/feed", ok(body))

    charm = read(server, "feed")

    (entry,) = charm.items
    assert ("Journal", "urn:1") == (charm.title, entry.id)
    assert ("Café", "Short") == (entry.title, entry.summary)
    assert f"{server.url}/one" == entry.link
    assert "2025-02-01T10:00:00+00:00" == entry.published.isoformat()


def test_reads_json_feed(server: FakeServer) -> None:
    """A JSON Feed is kept as others are; what is no item is left out."""
    charm = read(server, "jsonfeed")

    first, second = sorted(charm.items, key=lambda one: one.id)
    assert ("1", "one", f"{server.url}/1") == (first.id, first.title, first.link)
    assert ("teaser", "a **text**") == (first.summary, first.content)
    assert "2025-11-01T09:00:00+00:00" == first.published.isoformat()
    (file,) = first.files
    assert (f"{server.url}/1.mp3", "audio/mpeg", 7) == (file.url, file.type, file.size_bytes)
    assert ("2", "plain <b>", "http://other.example/") == (second.id, second.summary, second.link)


def test_keeps_the_newest_without_duplicates(server: FakeServer) -> None:
    """Items are kept up to the limit, each once, also when the feed repeats them."""
    server.on("/feed", ok(three(2, 1)), ok(three(4, 4, 3, 2)))

    assert ["4", "3", "2"] == ids(read(server, "feed", 2, limit=3))


def test_keeps_items_that_left_the_feed(server: FakeServer) -> None:
    """An item that the feed no longer lists stays until newer ones push it out."""
    server.on("/feed", ok(three(1)), ok(three(2)))

    assert ["2", "1"] == ids(read(server, "feed", 2))


def test_items_without_dates_keep_the_order_of_the_feed(server: FakeServer) -> None:
    """A longer feed without dates settles: polled again, nothing moves or is written."""
    bodies = [rss(*(item(str(n), str(n)) for n in range(9)), title=name) for name in "ab"]
    server.on("/feed", *map(ok, bodies))
    charm = read(server, "feed", limit=4)
    asyncio.run(charm.bg_updater({}))

    assert ["0", "1", "2", "3"] == ids(charm)
    assert {"title", "body_hash"} == changes(charm).writes.keys()


def test_what_is_ahead_stands_last_and_may_go(server: FakeServer) -> None:
    """An item of the far future is never above what is current; gone, it never was."""
    charm = read(server, "future")
    assert ["g1", "ahead"] == ids(charm)

    assert ["g2", "g1"] == ids(poll(charm))


def test_what_was_ahead_comes_out(server: FakeServer) -> None:
    """Once its time has come an item stands where it belongs, though the feed has not changed."""
    now = datetime.now(UTC)
    dates = {"later": now + timedelta(days=9), "soon": now + timedelta(days=2), "old": now}
    items = (item(name, name, None, date.isoformat()) for name, date in dates.items())
    server.on("/feed", ok(rss(*items)))
    charm = read(server, "feed")
    assert ["old", "soon", "later"] == ids(charm)

    with mock.patch.dict(Rss.bg_updater.__globals__, datetime=Clock(now + timedelta(days=3))):
        charm = poll(charm)

    assert ["soon", "old", "later"] == ids(charm)


class Clock:
    """A `datetime` whose now is another."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self, zone: object) -> datetime:
        """The time that a test has set."""
        return self._at


def test_what_has_not_changed_is_not_written(server: FakeServer) -> None:
    """The second request carries ETag and date of the first; an unchanged feed writes nothing."""
    date = "Wed, 01 Jan 2025 00:00:00 GMT"

    def answered(seen: Seen) -> Any:
        if seen.headers.get("if-none-match") == '"v1"':
            return answer(304, ETag='"v1"')
        return ok(three(1), ETag='"v1"', Last_Modified=date)

    server.on("/feed", answered)
    charm = read(server, "feed")
    asyncio.run(charm.bg_updater({}))

    first, second = server.asked("/feed")
    assert "if-none-match" not in first.headers
    assert ('"v1"', date) == (
        second.headers["if-none-match"],
        second.headers["if-modified-since"],
    )
    assert {} == changes(charm).writes
    assert ["1"] == ids(charm)


def test_the_same_bytes_are_not_read_again(server: FakeServer) -> None:
    """A server without ETags that sends the same again costs no reading, and writes nothing."""
    charm = read(server, "home")
    with mock.patch.dict(
        Rss.bg_updater.__globals__, read_feed=mock.Mock(side_effect=AssertionError)
    ):
        asyncio.run(charm.bg_updater({}))

    assert {} == changes(charm).writes


def test_lower_limit_works_on_an_unchanged_feed(server: FakeServer) -> None:
    """A limit that was lowered takes effect although the feed has not changed."""
    charm = read(server, "home")
    charm.limit = 1

    assert ["2"] == ids(poll(charm))


def test_another_url_starts_over(server: FakeServer) -> None:
    """After a change of url the old feed's items and validators are forgotten."""
    server.on("/feed", ok(three(1), ETag='"v1"'))
    charm = read(server, "feed")
    charm.url = f"{server.url}/home"

    assert ["2", "1"] == ids(poll(charm))
    assert "if-none-match" not in server.asked("/home")[0].headers


def test_a_charm_of_an_earlier_version_knows_its_items(server: FakeServer) -> None:
    """Items that were stored before there were guids are known again, by guid or by link."""
    server.on("/feed", ok(rss(item("g2", "2", None, day(2)), item(None, "1", f"{SITE}/1", day(1)))))
    stored = [
        {"id": "g2", "title": "2", "published": "2025-01-02T10:00:00Z"},
        {"id": f"{SITE}/1", "title": "1", "link": f"{SITE}/1", "published": "2025-01-01T10:00:00Z"},
    ]
    url = f"{server.url}/feed"

    charm = poll(Rss(url=url, read_url=url, items=stored))

    assert ["g2", f"{SITE}/1"] == ids(charm)


def test_texts_are_cut_so_that_fat_feeds_go_on(server: FakeServer) -> None:
    """Of items of hundreds of kB, others at each poll, the newest are kept with their texts cut."""
    charm = read(server, "fat_items", 3, limit=40)

    assert 40 == len(charm.items)
    assert {"g3", "g2"} == {one.id[:2] for one in charm.items}
    assert 1000 == len(charm.items[0].summary)
    assert charm.items[0].content.startswith("wort wort")
    assert charm.items[0].content.endswith("…")
    assert sum(len(one.content) for one in charm.items) <= 1_000_000


@pytest.mark.parametrize(("room_bytes", "kept"), [(150_000, 20), (70_000, 20), (66_500, 2)])
def test_what_is_kept_fits_into_the_charms_state(
    server: FakeServer, room_bytes: int, kept: int
) -> None:
    """With less room texts are cut more, and at last the oldest items are left out."""
    charm = Rss(url=f"{server.url}/fat_items")
    with (
        mock.patch.object(Rss, "context", SimpleNamespace(room=room_bytes)),
        mock.patch.object(
            Rss, "http", lambda self, **options: http_client.HttpClient(lambda: 30.0, **options)
        ),
    ):
        asyncio.run(charm.bg_updater({}))

    assert kept == pytest.approx(len(charm.items), abs=3)
    assert sum(len(one.model_dump_json()) for one in charm.items) < room_bytes - 64 * 1024


# Which entries are the same.


def test_one_guid_and_three_links_are_three(server: FakeServer) -> None:
    """A guid that several items have does not make them one, and they are known again."""
    charm = read(server, "dupguids")
    assert ["t3", "t2", "t1"] == titles(charm)
    before = dict(zip(titles(charm), ids(charm), strict=True))
    assert 3 == len(set(before.values()))

    charm = poll(charm)

    assert ["t4", "t3", "t2", "t1"] == titles(charm)
    after = dict(zip(titles(charm), ids(charm), strict=True))
    assert before == {title: after[title] for title in before}


def test_a_page_that_moves_is_the_same_item(server: FakeServer) -> None:
    """A guid of its own stays one item, whatever its link is."""
    charm = read(server, "moved_page", 2)

    assert [f"{SITE}/new/1"] == [one.link for one in charm.items]


@pytest.mark.parametrize(
    ("name", "polls", "expected"),
    [
        ("noguid_samelink", 2, ["Deploy 4", "Deploy 3", "Deploy 2", "Deploy 1"]),
        ("sametitle_nolink", 2, ["Back to normal", "Back to normal"]),
        ("only_texts", 2, ["", "", ""]),
        ("noguid_edited", 2, ["First"]),
        ("edited", 3, ["title 3"]),
        ("atom_versions", 2, ["new"]),
        ("one_id_two_links", 2, ["5", "6"]),
        ("mirror", 3, ["one", "two"]),
    ],
)
def test_each_entry_is_kept_once(
    server: FakeServer, name: str, polls: int, expected: list[str]
) -> None:
    """What is the same is one item, and what is not is several, poll after poll."""
    assert expected == titles(read(server, name, polls))


def test_links_of_a_mirror_lead_to_where_it_is(server: FakeServer) -> None:
    """A relative link is so to the address that the feed was found at in the end."""
    charm = read(server, "mirror", 2)

    assert [f"{server.url}/m2/posts/1", ""] == [one.link for one in charm.items]


# What stands in an entry.


def test_dates(server: FakeServer) -> None:
    """Each way to write a date is the right instant, and what is no date is none."""
    charm = read(server, "dates", limit=100)
    found = {int(one.id[1:]): one.published for one in charm.items}

    said = {
        date: moment.isoformat() if (moment := found[number]) else None
        for number, date in enumerate(DATES)
    }
    assert DATES == said


@pytest.mark.parametrize("name", ["atom_urn", "links_to_nowhere"])
def test_what_leads_nowhere_is_no_link(server: FakeServer, name: str) -> None:
    """An id that is no address, and an address that no browser opens, are no links."""
    assert {""} == {one.link for one in read(server, name).items}


def test_a_guid_may_be_the_link(server: FakeServer) -> None:
    """Without a link the guid is it, where it is an address."""
    assert [f"{SITE}/a", ""] == [one.link for one in read(server, "guid_as_link").items]


def test_the_first_address_is_the_page(server: FakeServer) -> None:
    """A sound file that is written as a second address does not take the page's place."""
    assert [f"{SITE}/1"] == [one.link for one in read(server, "sound_as_second_link").items]


def test_lines_of_a_plain_text_stay(server: FakeServer) -> None:
    """A text that is called HTML and has no mark of it keeps its lines."""
    assert ["one line\nand another"] == [one.summary for one in read(server, "video").items]


def test_inline_xml_is_read(server: FakeServer) -> None:
    """The text of content that is XML, or XHTML, is kept."""
    charm = read(server, "atom_xml_content")

    assert ["hello you", "an _own_ text"] == [one.summary for one in charm.items]


def test_titles_are_plain_text(server: FakeServer) -> None:
    """Of a title as HTML or XHTML the text is kept; one that is text is kept as it is."""
    assert ["A &amp; B", "A & B", "A & B"] == titles(read(server, "title_types"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("podcast", ("http://cdn.example/1.mp3", "audio/mpeg", 1)),
        ("media", ("http://cdn.example/1.mp4", "video/mp4", 17)),
    ],
)
def test_enclosures_are_kept(server: FakeServer, name: str, expected: tuple[Any, ...]) -> None:
    """An episode leads to its sound, with type and size as the feed says."""
    (entry,) = read(server, name).items
    (file,) = entry.files
    assert expected == (file.url, file.type, file.size_bytes)


def test_teaser_and_text_are_kept(server: FakeServer) -> None:
    """Both are kept, whichever comes first, HTML as Markdown with links that lead somewhere."""
    (entry,) = read(server, "teaser_and_text").items
    assert "teaser" == entry.summary
    assert f"full **text** with [more]({server.url}/more)" == entry.content

    (entry,) = read(server, "text_before_teaser").items
    assert ("teaser", "the full text") == (entry.summary, entry.content)


# Where the feed is.


def test_a_feed_that_moves_for_good_is_followed(
    server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Permanent redirects move the url, and the run says so; the next poll asks there at once."""
    charm = read(server, "moved")

    assert (f"{server.url}/home", f"{server.url}/moved") == (charm.url, charm.moved_from)
    assert f"{server.url}/moved has moved for good to {server.url}/home" in caplog.text
    assert ["2", "1"] == ids(poll(charm))
    assert 1 == len(server.asked("/moved"))


@pytest.mark.parametrize(
    ("name", "stays"),
    [("moved_for_now", "moved_for_now"), ("moved_then_for_now", "moved_for_now")],
)
def test_a_feed_that_is_elsewhere_for_now_stays(server: FakeServer, name: str, stays: str) -> None:
    """A temporary redirect is followed, and moves nothing."""
    charm = read(server, name)

    assert f"{server.url}/{stays}" == charm.url
    assert ["2", "1"] == ids(charm)


def test_a_move_to_what_is_no_feed_moves_nothing(server: FakeServer) -> None:
    """A permanent redirect to a page, as when somebody has to log in, leaves the url."""
    charm = Rss(url=f"{server.url}/moved_to_a_page")
    with pytest.raises(ValueError, match="/moved_to_a_page is not a feed: it is a web page"):
        asyncio.run(charm.bg_updater({}))

    assert {} == changes(charm).writes


@pytest.mark.parametrize("name", ["gone", "moved_to_gone"])
def test_a_feed_that_is_gone_is_read_no_more(server: FakeServer, name: str) -> None:
    """410, at its address or where it has moved for good, ends the polling and says why."""
    with pytest.raises(Stop, match=rf"http://127\S+/{name}.* gone for good \(410\)"):
        read(server, name)


# What goes wrong.


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("missing", RuntimeError, " answered 404 Not Found"),
        ("for_now_at_gone", RuntimeError, " which leads to http://127.*/gone, answered 410"),
        ("busy", Wait, " answered 429"),
        ("maintained", Wait, " answered 503"),
        ("broken", ProviderDown, " answered 500"),
        ("slow", ProviderDown, ": ReadTimeout"),
        ("closing", ProviderDown, ": RemoteProtocolError"),
        ("cut", ProviderDown, ": its XML ends in the middle"),
        ("jsonfeed_cut", ProviderDown, ": its JSON ends in the middle"),
        ("wants_password", SignInNeeded, " wants a name and a password"),
        ("empty", ValueError, " is not a feed: it is empty"),
        ("no_content", ValueError, " is not a feed: it is empty"),
        ("blank", ValueError, " is not a feed: it is empty"),
        (
            "html_page",
            ValueError,
            " is not a feed: it is a web page, and no feed; it links to these: "
            r"http://127\S+/blog/feed.xml, https://other.example/f.json",
        ),
        ("html_without_feeds", ValueError, " is not a feed: it is a web page, and no feed$"),
        ("opml", ValueError, " is not a feed: it is no .* JSON Feed: it begins with <opml>"),
        ("json", ValueError, " is not a feed: it is JSON, and no JSON Feed"),
        (
            "json_without_items",
            ValueError,
            " is not a feed: it is a JSON Feed without the list of its items",
        ),
        ("wrong_json", ValueError, " is not a feed: it is no JSON that can be read: Expecting"),
    ],
)
def test_every_error_names_the_address(
    server: FakeServer, name: str, kind: type[Exception], text: str
) -> None:
    """What goes wrong is said plainly, once, with the feed's address, and changes nothing."""
    charm = Rss(url=f"{server.url}/{name}?key=4711")

    with pytest.raises(kind, match=rf"^http://127\.0\.0\.1:\d+/{name}\?…(?:,|){text}") as raised:
        asyncio.run(charm.bg_updater({}))

    assert {} == changes(charm).writes
    assert "4711" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (refused_url(), "nobody listens at localhost"),
        (f"http://{NO_HOST}/feed", f"there is no host {NO_HOST}, or its name cannot be looked up"),
    ],
    # The port is another one in each process of the tests, and their names have to be the same.
    ids=["refused", "no-host"],
)
def test_who_cannot_be_reached_is_named(url: str, text: str) -> None:
    """A connection that is refused, and a host without a name, have the address."""
    with pytest.raises(ProviderDown, match=rf"^{url.split('?')[0]}.*: {text}"):
        asyncio.run(Rss(url=url).bg_updater({}))


def test_what_was_asked_for_is_waited_for(server: FakeServer) -> None:
    """Retry-After is obeyed, in seconds and as a date, for a day at most."""
    with pytest.raises(Wait) as busy:
        read(server, "busy")
    with pytest.raises(Wait) as maintained:
        read(server, "maintained")

    assert (3600.0, 86400.0) == (busy.value.until, maintained.value.until)


def test_name_and_password_of_the_address_sign_in(server: FakeServer) -> None:
    """They are sent to its host, and stand in no error."""
    server.on("/private", answer(401), ok(three(1)), answer(404))
    url = f"{server.url}/private".replace("//", "//me:swordfish@")
    with pytest.raises(SignInNeeded) as refused:
        poll(Rss(url=url))
    charm = poll(Rss(url=url))
    with pytest.raises(RuntimeError) as missing:
        poll(charm)

    assert ["1"] == ids(charm)
    assert {"Basic bWU6c3dvcmRmaXNo"} == {one.headers["authorization"] for one in server.seen}
    assert "swordfish" not in f"{refused.value}{missing.value}"


@pytest.mark.parametrize("name", ["halves", "halves_in_json"])
def test_halves_of_characters_are_joined_or_marked(server: FakeServer, name: str) -> None:
    """What a program has cut in the middle of a character, or wrote in halves, can be stored."""
    (entry,) = read(server, name).items
    assert ("smile 😀 \ufffd", "😀") == (entry.title, entry.summary)
    assert len(entry.id) <= 1000
    assert [None] == [file.size_bytes for file in entry.files] or not entry.files


def test_a_cut_feed_loses_nothing(server: FakeServer) -> None:
    """What was cut is not kept, nor its ETag: the whole is read as soon as it comes."""
    cut = server.answer_to(Seen("GET", "/cut", {}, {}, b""))
    server.on("/feed", ok(three(1), ETag='"p0"'), cut, ok(three(3, 2, 1), ETag='"p1"'))
    charm = read(server, "feed")
    with pytest.raises(ProviderDown):
        poll(again(charm))

    charm = poll(charm)

    assert ["3", "2", "1"] == ids(charm)
    assert ['"p0"', '"p0"'] == [one.headers["if-none-match"] for one in server.asked("/feed")[1:]]


def test_what_is_not_well_formed_but_whole_is_read(server: FakeServer) -> None:
    """An ampersand that nobody escaped costs nothing."""
    assert ["fish & chips", "t1"] == titles(read(server, "not_well_formed"))


def test_body_is_never_taken_for_a_file_name(server: FakeServer) -> None:
    """A server cannot make the reader open a file by answering with its name."""
    server.on("/feed", ok(str(SOURCE)))

    with pytest.raises(ValueError, match="is not a feed: it is no RSS, Atom or JSON Feed"):
        read(server, "feed")


def test_external_entities_are_not_read(server: FakeServer) -> None:
    """A feed cannot pull in a file of this machine."""
    body = f'<!DOCTYPE rss [<!ENTITY x SYSTEM "file://{SOURCE}">]>' + rss(item("a", "[&x;]"))
    server.on("/feed", ok(body.replace('<?xml version="1.0" encoding="utf-8"?>', "")))

    assert "feedparser" not in read(server, "feed").items[0].title


def test_markup_that_acts_is_left_out(server: FakeServer) -> None:
    """Nothing that a browser would run is left in a text."""
    text = "&lt;p onclick='x()'&gt;a&lt;script&gt;x()&lt;/script&gt;&lt;/p&gt;"
    title = "&lt;a href='x' onclick='x()'&gt;t&lt;/a&gt;"
    server.on("/feed", ok(rss(item("1", title, None, day(1), text))))

    (entry,) = read(server, "feed").items
    assert ("t", "a") == (entry.title, entry.summary)


def test_endless_feed_is_refused(server: FakeServer) -> None:
    """A body over the limit is an error, not a full memory."""
    server.on("/feed", replace(ok(" " * (10 * 1024 * 1024 + 1)), is_chunked=True))

    with pytest.raises(RuntimeError, match=r"/feed: its answer is larger than 10M"):
        read(server, "feed")


@pytest.mark.parametrize("url", ["file:///etc/hosts", "example.org/feed", ""])
def test_url_must_be_http(url: str) -> None:
    """Only http and https are addresses of feeds."""
    with pytest.raises(StateError, match=r"^url: "):
        Rss(url=url)


#: What a run of the charm is told of its hook.
HOOK_URL = "https://hooks.example.org/hook/an-address"


def test_a_hub_is_asked_once_what_is_asked_is_stored(server: FakeServer) -> None:
    """By the run after the one that stores it; then not before its lease ends, or the address."""
    lease = [0.0]
    url = [HOOK_URL]
    links = f'<{server.url}/hub>; rel="hub", <{SITE}/topic>; rel="self"'
    server.on("/hubbed", ok(three(2, 1), Link=links))
    server.on("/hub", answer(202))
    charm = Rss(url=f"{server.url}/hubbed")
    with (
        mock.patch.object(Rss, "hook_url", side_effect=lambda stream: url[0]),
        mock.patch.object(Rss, "hook_lease", side_effect=lambda stream: lease[0] or None),
    ):
        charm = poll(charm)
        assert (f"{server.url}/hub", f"{SITE}/topic") == (charm.hub, charm.hub_topic)
        assert ([], 43) == (server.asked("/hub"), len(charm.hub_secret))
        charm = poll(charm, times=2)
        (asked,) = server.asked("/hub")
        assert {
            "hub.mode": ["subscribe"],
            "hub.topic": [f"{SITE}/topic"],
            "hub.callback": [HOOK_URL],
            "hub.secret": [charm.hub_secret],
            "hub.lease_seconds": ["864000"],
        } == parse_qs(asked.body.decode())
        lease[0] = charm.hub_asked_at + 864000
        charm.hub_asked_at -= 7200
        assert 1 == len(server.asked("/hub"))
        charm = poll(charm)
        assert 1 == len(server.asked("/hub"))
        lease[0] = charm.hub_asked_at + 3600
        charm = poll(charm)
        assert 2 == len(server.asked("/hub"))
        url[0] = "https://hooks.example.org/hook/another-address"
        charm = poll(charm)
        assert 3 == len(server.asked("/hub"))


def test_a_hub_that_fails_costs_nothing(server: FakeServer) -> None:
    """The feed is read as before; and one that no hub is named for any more asks none."""
    server.on("/hubbed", ok(three(2, 1), Link=f'<{server.url}/hub>; rel="hub"'), ok(three(3, 2)))
    server.on("/hub", answer(503))
    charm = Rss(url=f"{server.url}/hubbed")
    with mock.patch.object(Rss, "hook_url", return_value=HOOK_URL):
        charm = poll(charm)
        assert f"{server.url}/hubbed" == charm.hub_topic
        charm = poll(charm)
        assert ("", "") == (charm.hub, charm.hub_topic)
        assert 3 == len(charm.items)
    assert [] == server.asked("/hub")
    charm = poll(Rss(url=f"{server.url}/hubbed"))
    assert ("", "") == (charm.hub, charm.hub_secret)


def test_feeds_name_their_hubs() -> None:
    """Atom and RSS by links, JSON Feed in a list; what is no address is none."""
    hub, topic = "https://hub.example/", "https://site.example/feed"
    links = f'<link rel="hub" href="{hub}"/><link rel="self" href="{topic}"/>'
    atom = f'<feed xmlns="http://www.w3.org/2005/Atom"><title>T</title>{links}</feed>'
    atom_links = links.replace("<link", "<a:link")
    rss_feed = (
        '<rss version="2.0" xmlns:a="http://www.w3.org/2005/Atom"><channel><title>T</title>'
        f"{atom_links}</channel></rss>"
    )
    json_feed = (
        '{"version": "https://jsonfeed.org/version/1.1", "title": "T", "items": [], '
        f'"feed_url": "{topic}", "hubs": [{{"type": "rssCloud", "url": "x"}}, '
        f'{{"type": "WebSub", "url": "{hub}"}}]}}'
    )
    for body in (atom, rss_feed, json_feed):
        feed = read_feed(body.encode(), url="https://site.example/")
        assert (hub, topic) == (feed.hub, feed.topic), body
        bare = read_feed(body.replace(hub, "mailto:x@y").encode(), url="https://site.example/")
        assert "" == bare.hub
