"""requests: JSON over HTTP."""

import requests

from bg_charm_service import Charm


class RequestsJson(Charm):
    """Fetches a number."""

    url: str = ""
    number: int = 0

    def bg_updater(self, event: dict) -> None:
        with requests.Session() as session:
            self.number = session.get(f"{self.url}/json", timeout=10).json()["number"]
