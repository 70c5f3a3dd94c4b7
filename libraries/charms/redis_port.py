"""redis: a server at a port that is closed to it."""

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from bg_charm_service import Charm


class RedisPort(Charm):
    """Counts on a server."""

    count: int = 0

    def bg_updater(self, event: dict) -> None:
        with redis.Redis("127.0.0.1", 6379, retry=Retry(NoBackoff(), 0)) as client:
            self.count = client.incr("runs")
