"""selectolax: CSS over a page."""

from selectolax.lexbor import LexborHTMLParser

from bg_charm_service import Charm


class SelectolaxCss(Charm):
    """Reads a price."""

    price: str = ""

    def bg_updater(self, event: dict) -> None:
        self.price = LexborHTMLParser("<b class=price>7</b>").css_first("b.price").text()
