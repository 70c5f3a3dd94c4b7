"""selenium: a page in a browser.

Without a `port` it is refused earlier: it looks for one to listen on.
"""

from selenium import webdriver

from bg_charm_service import Charm


class SeleniumPage(Charm):
    """Starts a browser."""

    def bg_updater(self, event: dict) -> None:
        webdriver.Chrome(service=webdriver.ChromeService("/bin/true", port=9515))
