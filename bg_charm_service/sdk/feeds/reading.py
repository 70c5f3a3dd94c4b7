"""Reads a feed, whichever kind it is: what authors of charms that follow feeds call.

    feed = read_feed(response.content, url=str(response.url), content_type=…)

Everybody gets the same things wrong once: dates, which entries are the same, what is a link, what
is a feed at all. feedparser is loaded when there is XML.
"""

from __future__ import annotations

from bg_charm_service.sdk.feeds.json_feed import is_json, read_json_feed
from bg_charm_service.sdk.feeds.model import Feed, NotAFeed
from bg_charm_service.sdk.feeds.web_page import is_web_page, linked_feeds


def read_feed(body: bytes, *, url: str, content_type: str = "") -> Feed:
    """Read a document as RSS, Atom or JSON Feed; `url` is where it was found in the end.

    Raises NotAFeed for what is none, with the feeds that a page of HTML links to, and CutFeed for
    one that ends in the middle.
    """
    if not body.strip(b"\0 \t\r\n\xef\xbb\xbf"):
        raise NotAFeed("it is empty")
    if is_json(body):
        return read_json_feed(body, url)
    if is_web_page(body):
        feeds = linked_feeds(body, url)
        named = f"; it links to these: {', '.join(feeds)}" if feeds else ""
        raise NotAFeed(f"it is a web page, and no feed{named}", feeds)
    from bg_charm_service.sdk.feeds.xml_feed import read_xml_feed

    return read_xml_feed(body, content_type, url)
