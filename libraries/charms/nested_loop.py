"""nest-asyncio: a loop within a loop.

It changes asyncio for the whole process: each run costs a worker. `await` needs none of it.
"""

import asyncio

import nest_asyncio

from bg_charm_service import Charm


class NestedLoop(Charm):
    """Waits in its own way."""

    slept: bool = False

    async def bg_updater(self, event: dict) -> None:
        nest_asyncio.apply()
        asyncio.get_running_loop().run_until_complete(asyncio.sleep(0.001))
        self.slept = True
