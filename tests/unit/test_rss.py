"""The feed reader that ships with the service, against a real server on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from bg_charm_service.domain.errors import StateError
from bg_charm_service.workers.runtime.charm_binding import changes, load_class

SOURCE = Path(__file__).parents[2] / "charms" / "rss.py"

Rss: type[Any] = load_class(SOURCE.read_text(), SOURCE.name)


class FeedServer:
    """Answers every request with what the test has put into it, and keeps the requests."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = b""
        self.requests: list[dict[str, str]] = []
        feed_server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                feed_server.requests.append({k.lower(): v for k, v in self.headers.items()})
                status, body = feed_server.status, feed_server.body
                if self.path == "/moved":
                    status = 302
                elif "ETag" in feed_server.headers and (
                    self.headers.get("If-None-Match") == feed_server.headers["ETag"]
                ):
                    status, body = 304, b""
                self.send_response(status)
                for name, value in feed_server.headers.items():
                    self.send_header(name, value)
                if self.path == "/moved":
                    self.send_header("Location", "/feed")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/feed"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[FeedServer]:
    """Run a feed server for one test."""
    server = FeedServer()
    yield server
    server.stop()


def rss(*items: str, title: str = "News") -> bytes:
    """Write an RSS 2.0 feed."""
    text = f'<rss version="2.0"><channel><title>{title}</title>{"".join(items)}</channel></rss>'
    return text.encode()


def item(name: str, day: int | None = None, title: str = "") -> str:
    """Write one of its items."""
    date = "" if day is None else f"<pubDate>{day:02d} Jan 2025 10:00:00 GMT</pubDate>"
    return (
        f"<item><guid isPermaLink='false'>{name}</guid><title>{title or name}</title>{date}</item>"
    )


def poll(charm: Any) -> None:
    """Run the handler that the service polls."""
    asyncio.run(charm.bg_updater({}))


def ids(charm: Any) -> list[str]:
    """Give the ids of the items that a charm keeps."""
    return [one.id for one in charm.items]


def test_reads_rss(server: FeedServer) -> None:
    """Title and items of an RSS 2.0 feed are kept, newest first."""
    server.body = rss(item("old", 1), item("new", 3), item("middle", 2))
    charm = Rss(url=server.url)

    poll(charm)

    assert charm.title == "News"
    assert ids(charm) == ["new", "middle", "old"]
    assert charm.items[0].published.isoformat() == "2025-01-03T10:00:00+00:00"


def test_reads_atom(server: FeedServer) -> None:
    """Title, link, summary and date of an Atom entry are kept."""
    server.body = b"""<?xml version="1.0" encoding="utf-8"?>
        <feed xmlns="http://www.w3.org/2005/Atom"><title>Journal</title><id>urn:f</id>
        <updated>2025-02-01T00:00:00Z</updated>
        <entry><id>urn:1</id><title>Caf\xc3\xa9</title><link href="/one"/>
        <updated>2025-02-01T12:00:00+02:00</updated><summary>Short</summary></entry></feed>"""
    charm = Rss(url=server.url)

    poll(charm)

    (entry,) = charm.items
    assert (charm.title, entry.id, entry.title, entry.summary) == (
        "Journal",
        "urn:1",
        "Café",
        "Short",
    )
    assert entry.link == server.url.replace("/feed", "/one")
    assert entry.published.isoformat() == "2025-02-01T10:00:00+00:00"


def test_keeps_the_newest_without_duplicates(server: FeedServer) -> None:
    """Items are kept up to the limit, each once, also when the feed repeats them."""
    charm = Rss(url=server.url, limit=3)
    server.body = rss(item("b", 2), item("a", 1))
    poll(charm)
    server.body = rss(item("d", 4), item("d", 4), item("c", 3), item("b", 2))
    poll(charm)

    assert ids(charm) == ["d", "c", "b"]


def test_keeps_items_that_left_the_feed(server: FeedServer) -> None:
    """An item that the feed no longer lists stays until newer ones push it out."""
    charm = Rss(url=server.url)
    server.body = rss(item("a", 1))
    poll(charm)
    server.body = rss(item("b", 2))
    poll(charm)

    assert ids(charm) == ["b", "a"]


def test_items_without_dates_keep_the_order_of_the_feed(server: FeedServer) -> None:
    """A longer feed without dates settles: polled again, nothing moves or is written."""
    server.body = rss(*(item(str(number)) for number in range(9)))
    charm = Rss(url=server.url, limit=4)
    poll(charm)
    again = Rss(**{name: getattr(charm, name) for name in ("url", "limit", "items", "read_url")})
    poll(again)

    assert ids(again) == ["0", "1", "2", "3"]
    assert "items" not in changes(again).writes


def test_edited_item_replaces_the_old(server: FeedServer) -> None:
    """An item seen again under the same id takes its new text."""
    charm = Rss(url=server.url)
    server.body = rss(item("a", 1, title="Frist"))
    poll(charm)
    server.body = rss(item("a", 1, title="First"))
    poll(charm)

    assert [one.title for one in charm.items] == ["First"]


def test_asks_only_for_changes(server: FeedServer) -> None:
    """The second request carries ETag and date of the first; an unchanged feed writes nothing."""
    server.headers = {"ETag": '"v1"', "Last-Modified": "Wed, 01 Jan 2025 00:00:00 GMT"}
    server.body = rss(item("a", 1))
    first = Rss(url=server.url)
    poll(first)
    names = ("url", "limit", "title", "items", "etag", "last_modified", "read_url")
    second = Rss(**{name: getattr(first, name) for name in names})
    poll(second)

    assert "if-none-match" not in server.requests[0]
    assert server.requests[1]["if-none-match"] == '"v1"'
    assert server.requests[1]["if-modified-since"] == "Wed, 01 Jan 2025 00:00:00 GMT"
    assert {} == changes(second).writes


def test_lower_limit_works_on_an_unchanged_feed(server: FeedServer) -> None:
    """A limit that was lowered takes effect although the feed has not changed."""
    server.headers = {"ETag": '"v1"'}
    server.body = rss(item("a", 1), item("b", 2))
    charm = Rss(url=server.url)
    poll(charm)
    charm.limit = 1
    poll(charm)

    assert ids(charm) == ["b"]


def test_another_url_starts_over(server: FeedServer) -> None:
    """After a change of url the old feed's items and validators are forgotten."""
    server.headers = {"ETag": '"v1"'}
    server.body = rss(item("a", 1))
    charm = Rss(url=server.url)
    poll(charm)
    charm.url = f"{server.url}?other"
    server.body = rss(item("b", 1))
    poll(charm)

    assert "if-none-match" not in server.requests[1]
    assert ids(charm) == ["b"]


def test_follows_redirects(server: FeedServer) -> None:
    """A feed that moved is read at its new place."""
    server.body = rss(item("a", 1))
    charm = Rss(url=server.url.replace("/feed", "/moved"))

    poll(charm)

    assert ids(charm) == ["a"]


@pytest.mark.parametrize("status", [404, 410, 429, 500, 503])
def test_refused_request_is_an_error(server: FeedServer, status: int) -> None:
    """An answer other than success raises, naming url and status, and keeps what was there."""
    server.status = status
    server.headers = {"Retry-After": "120"}
    charm = Rss(url=server.url)

    with pytest.raises(RuntimeError, match=rf"{server.url} answered {status} .*Retry-After: 120"):
        poll(charm)

    assert {} == changes(charm).writes


def test_web_page_is_not_a_feed(server: FeedServer) -> None:
    """A page that is no feed raises an error that says so."""
    server.headers = {"Content-Type": "text/html"}
    server.body = b"<html><body>Please log in</body></html>"

    with pytest.raises(ValueError, match="not an RSS or Atom feed"):
        poll(Rss(url=server.url))


def test_body_is_never_taken_for_a_file_name(server: FeedServer) -> None:
    """A server cannot make the reader open a file by answering with its name."""
    server.body = str(SOURCE).encode()

    with pytest.raises(ValueError, match="not an RSS or Atom feed"):
        poll(Rss(url=server.url))


def test_external_entities_are_not_read(server: FeedServer) -> None:
    """A feed cannot pull in a file of this machine."""
    server.body = f'<!DOCTYPE rss [<!ENTITY x SYSTEM "file://{SOURCE}">]>'.encode() + rss(
        item("a", 1, title="[&x;]")
    )
    charm = Rss(url=server.url)

    poll(charm)

    assert "feedparser" not in charm.items[0].title


def test_endless_feed_is_refused(server: FeedServer) -> None:
    """A body over the limit is an error, not a full memory."""
    server.body = b" " * 10_000_001

    with pytest.raises(RuntimeError, match="larger than 10000000 bytes"):
        poll(Rss(url=server.url))


@pytest.mark.parametrize("url", ["file:///etc/hosts", "example.org/feed", ""])
def test_url_must_be_http(url: str) -> None:
    """Only http and https are addresses of feeds."""
    with pytest.raises(StateError, match=r"^url: "):
        Rss(url=url)
