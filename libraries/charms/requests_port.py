"""requests: a port that is closed to it."""

import requests

from bg_charm_service import Charm


class RequestsPort(Charm):
    """Asks at a port that nobody allowed."""

    def bg_updater(self, event: dict) -> None:
        requests.get("http://127.0.0.1:8299/json", timeout=10)
