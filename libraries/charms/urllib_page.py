"""Python: a page by `urllib`."""

import urllib.request

from bg_charm_service import Charm


class UrllibPage(Charm):
    """Reads a page."""

    url: str = ""
    size: int = 0

    def bg_updater(self, event: dict) -> None:
        with urllib.request.urlopen(f"{self.url}/page", timeout=10) as answer:
            self.size = len(answer.read())
