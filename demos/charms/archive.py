"""Meets maintenance: 503, and a date in Retry-After. Its client is the one that Python has."""

import urllib.request

from bg_charm_service import Charm


class Archive(Charm):
    """Counts the pages that it has read."""

    url: str
    pages: int = 0

    def bg_updater(self, event: dict) -> None:
        """Read one."""
        with urllib.request.urlopen(f"{self.url}/archive", timeout=5) as answer:
            answer.read()
        self.pages += 1
