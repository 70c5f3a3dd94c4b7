"""curl_cffi: a page as a browser would ask for it."""

from curl_cffi import requests

from bg_charm_service import Charm


class CurlCffiPage(Charm):
    """Fetches a page."""

    url: str = ""
    status: int = 0

    def bg_updater(self, event: dict) -> None:
        self.status = requests.get(f"{self.url}/page", impersonate="chrome").status_code
