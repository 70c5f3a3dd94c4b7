"""Asks its provider, and knows nothing of outages: what its client raises is understood."""

import httpx2

from bg_charm_service import Charm


class Forecast(Charm):
    """Keeps the temperature of one place."""

    url: str
    place: str
    celsius: int | None = None
    asked: int = 0

    async def bg_updater(self, event: dict) -> None:
        """Ask for it."""
        async with httpx2.AsyncClient(timeout=5) as client:
            answer = await client.get(f"{self.url}/forecast", params={"place": self.place})
        answer.raise_for_status()
        self.celsius = answer.json()["celsius"]
        self.asked += 1
