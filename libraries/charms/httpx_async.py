"""httpx: JSON over HTTP, awaited.

A new client reads all certificates, 50 ms and more: keep one for a run.
"""

import httpx

from bg_charm_service import Charm


class HttpxAsync(Charm):
    """Fetches a number."""

    url: str = ""
    number: int = 0

    async def bg_updater(self, event: dict) -> None:
        async with httpx.AsyncClient(verify=False) as client:
            self.number = (await client.get(f"{self.url}/json")).json()["number"]
