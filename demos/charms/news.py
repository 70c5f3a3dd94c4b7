"""Succeeds for ever, whatever it finds; it says how often that should be something new."""

import httpx2

from bg_charm_service import Charm


class News(Charm):
    """Keeps the newest headline."""

    expects = {"headline": "5s"}
    url: str
    headline: str = ""

    async def bg_updater(self, event: dict) -> None:
        """Read it, and swallow every error, as some charms do."""
        try:
            async with httpx2.AsyncClient(timeout=5) as client:
                answer = await client.get(f"{self.url}/news")
            self.headline = answer.json()["headline"]
        except Exception as error:
            print("no news:", error)
