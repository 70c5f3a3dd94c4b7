"""feedparser: a feed over HTTP."""

import feedparser

from bg_charm_service import Charm


class FeedparserFeed(Charm):
    """Reads the newest title."""

    url: str = ""
    title: str = ""

    def bg_updater(self, event: dict) -> None:
        self.title = feedparser.parse(f"{self.url}/feed").entries[0].title
