"""playwright: a page in a browser."""

from playwright.sync_api import sync_playwright

from bg_charm_service import Charm


class PlaywrightPage(Charm):
    """Starts a browser."""

    def bg_updater(self, event: dict) -> None:
        with sync_playwright() as browsers:
            browsers.chromium.launch()
