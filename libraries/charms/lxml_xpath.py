"""lxml: XPath over a page."""

from lxml import html

from bg_charm_service import Charm


class LxmlXpath(Charm):
    """Reads links."""

    links: list[str] = []

    def bg_updater(self, event: dict) -> None:
        page = html.fromstring("<p><a href='/a'>a</a> <a href='/b'>b</a></p>")
        self.links = [str(link) for link in page.xpath("//a/@href")]
