"""redis: a counter on a server.

Port 6379 has to be allowed: `limits SPACE --network=53,80,443,6379`.
"""

from urllib.parse import urlsplit

import redis

from bg_charm_service import Charm


class RedisCounter(Charm):
    """Counts on a server."""

    redis: str = ""
    count: int = 0

    def bg_updater(self, event: dict) -> None:
        where = urlsplit(self.redis)
        with redis.Redis(where.hostname, where.port, protocol=2) as client:
            self.count = client.incr("runs")
