"""asyncpg: a database that is not there.

The port is open to it: this is no refusal of a wall.
"""

from urllib.parse import urlsplit

import asyncpg

from bg_charm_service import Charm


class AsyncpgNobody(Charm):
    """Connects to PostgreSQL."""

    nobody: str = ""

    async def bg_updater(self, event: dict) -> None:
        port = urlsplit(self.nobody).port
        await asyncpg.connect(host="127.0.0.1", port=port, user="some", database="some")
