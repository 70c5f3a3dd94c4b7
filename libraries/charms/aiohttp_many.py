"""aiohttp: twenty requests at once.

Names are resolved by threads of Python's own, which end with the run.
"""

import asyncio

import aiohttp

from bg_charm_service import Charm


class AiohttpMany(Charm):
    """Fetches a number twenty times."""

    url: str = ""
    total: int = 0

    async def bg_updater(self, event: dict) -> None:
        async with aiohttp.ClientSession() as session:

            async def fetch() -> int:
                async with session.get(f"{self.url}/json") as answer:
                    return (await answer.json())["number"]

            self.total = sum(await asyncio.gather(*(fetch() for _ in range(20))))
