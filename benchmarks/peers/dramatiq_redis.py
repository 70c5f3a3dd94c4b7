"""dramatiq on Redis: two processes with the eight threads each that are its default."""

from __future__ import annotations

from benchmarks.peers.programs import installed
from benchmarks.peers.redis_peer import RedisPeer


class DramatiqRedis(RedisPeer):
    """A contender."""

    name = "dramatiq, Redis"
    note = "dramatiq -p 2, 8 threads each, results stored; Redis waits for disk"
    tasks = "benchmarks.peers.dramatiq_tasks"

    def command(self) -> tuple[str, ...]:
        """Give what runs the workers."""
        return (installed("dramatiq"), self.tasks, "--processes", "2")
