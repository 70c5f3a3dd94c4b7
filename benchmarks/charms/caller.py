"""Waits for an answer over the network, as most charms do."""

import asyncio

from bg_charm_service import Charm


class Caller(Charm):
    """Asks a server of the benchmark's own, which answers after a second."""

    port: int
    answers: int = 0

    async def bg_updater(self, event: dict[str, object]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        await reader.readexactly(2)
        writer.close()
        self.answers += 1
