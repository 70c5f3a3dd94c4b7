"""aiohttp: four hundred requests at once."""

import asyncio

import aiohttp

from bg_charm_service import Charm


class AiohttpFlood(Charm):
    """Opens more connections than it may."""

    url: str = ""
    statuses: list[int] = []

    async def bg_updater(self, event: dict) -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def status() -> int:
                async with session.get(f"{self.url}/json") as answer:
                    return answer.status

            self.statuses = await asyncio.gather(*(status() for _ in range(400)))
