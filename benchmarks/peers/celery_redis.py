"""Celery on Redis: one worker with two processes, as its guide to optimizing has it."""

from __future__ import annotations

from benchmarks.peers.programs import installed
from benchmarks.peers.redis_peer import RedisPeer


class CeleryRedis(RedisPeer):
    """A contender."""

    name = "Celery, Redis"
    note = "one worker, -c 2, acks late, prefetch 64, results stored; Redis waits for disk"
    tasks = "benchmarks.peers.celery_tasks"

    def command(self) -> tuple[str, ...]:
        """Give what runs the workers."""
        worker = (installed("celery"), f"--app={self.tasks}", "worker", "--concurrency=2")
        return (*worker, "--loglevel=WARNING", "--without-gossip", "--without-mingle")
