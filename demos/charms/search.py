"""Uses up what its provider allows: 429 and Retry-After are obeyed without a line about them."""

import httpx2

from bg_charm_service import Charm


class Search(Charm):
    """Counts what a search finds."""

    url: str
    searches: int = 0

    async def bg_updater(self, event: dict) -> None:
        """Search once."""
        async with httpx2.AsyncClient(timeout=5) as client:
            answer = await client.get(f"{self.url}/search")
        answer.raise_for_status()
        self.searches += 1
