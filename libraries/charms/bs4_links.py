"""beautifulsoup4: what stands on a page that requests fetched."""

import bs4
import requests

from bg_charm_service import Charm


class Bs4Links(Charm):
    """Fetches a page and reads its links."""

    url: str = ""
    links: list[str] = []

    def bg_updater(self, event: dict) -> None:
        page = bs4.BeautifulSoup(requests.get(f"{self.url}/page", timeout=10).text, "html.parser")
        self.links = [link["href"] for link in page.find_all("a")]
