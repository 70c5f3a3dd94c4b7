"""requests: a session that tries again."""

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from bg_charm_service import Charm


class RequestsRetries(Charm):
    """Reads a number."""

    url: str = ""
    number: int = 0

    def bg_updater(self, event: dict) -> None:
        with requests.Session() as session:
            session.mount("http://", HTTPAdapter(max_retries=Retry(2, backoff_factor=0.01)))
            self.number = session.get(f"{self.url}/json", timeout=10).json()["number"]
