"""asyncpg: a database at a port that is closed to it."""

import asyncpg

from bg_charm_service import Charm


class AsyncpgPort(Charm):
    """Connects to PostgreSQL."""

    async def bg_updater(self, event: dict) -> None:
        await asyncpg.connect(host="127.0.0.1", port=5432, user="some", database="some")
