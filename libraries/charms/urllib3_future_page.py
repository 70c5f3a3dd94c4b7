"""urllib3-future: a page, by its own name.

Packages of its own: beside urllib3 it cannot be had. A pool that is not closed has
a thread, which costs a worker.
"""

# /// script
# dependencies = ["urllib3-future"]
# ///
import urllib3_future

from bg_charm_service import Charm


class Urllib3FuturePage(Charm):
    """Reads a number."""

    url: str = ""
    number: int = 0

    def bg_updater(self, event: dict) -> None:
        pool = urllib3_future.PoolManager()
        self.number = pool.request("GET", f"{self.url}/json").json()["number"]
