"""RQ on Redis: a pool of two workers, with a fork for each job, which is its default, or without.

Its jobs and results are in one database; how many are over is what its registry says.
"""

from __future__ import annotations

from benchmarks.peers.programs import installed
from benchmarks.peers.redis_peer import RedisPeer


class RqForking(RedisPeer):
    """A contender."""

    name = "RQ, Redis, a fork for each job"
    note = "rq worker-pool -n 2; Redis waits for disk"
    tasks = "benchmarks.peers.rq_tasks"
    results_in = 0
    options: tuple[str, ...] = ()

    def command(self) -> tuple[str, ...]:
        """Give what runs the workers."""
        where = ("--url", f"{self._url}/0")
        return (installed("rq"), "worker-pool", "-n", "2", "-q", *where, *self.options)

    def count(self) -> int:
        """Count the jobs that are registered as finished."""
        return int(self._results.zcard("rq:finished:default"))


class RqInProcess(RqForking):
    """A contender."""

    name = "RQ, Redis, no fork"
    note = "rq worker-pool -n 2 -w rq.SimpleWorker; Redis waits for disk"
    options = ("-w", "rq.SimpleWorker")
