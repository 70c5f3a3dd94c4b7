"""redis: a server that is not there.

The port is open to it: this is no refusal of a wall.
"""

from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from bg_charm_service import Charm


class RedisNobody(Charm):
    """Counts on a server."""

    nobody: str = ""
    count: int = 0

    def bg_updater(self, event: dict) -> None:
        port = urlsplit(self.nobody).port
        with redis.Redis("127.0.0.1", port, retry=Retry(NoBackoff(), 0)) as client:
            self.count = client.incr("runs")
