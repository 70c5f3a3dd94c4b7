"""The task as RQ's documentation has it; `REDIS` says where the server is."""

from __future__ import annotations

import os

from redis import Redis
from rq import Queue

#: Queued in one go.
BATCH = 1000


def count_on(counter: int) -> int:
    """Count."""
    return counter + 1


def fill(total: int) -> None:
    """Queue so many tasks."""
    queue = Queue(connection=Redis.from_url(f"{os.environ['REDIS']}/0"))
    for first in range(0, total, BATCH):
        queue.enqueue_many(
            [
                Queue.prepare_data("benchmarks.peers.rq_tasks.count_on", (number,))
                for number in range(first, min(first + BATCH, total))
            ]
        )
