"""The durable job queue: what is asked of charms, until it is done or given up on.

Adds what stock persist-queue lacks: priority, `run_at`, attempts, unique polls, claims in
batches with fencing, order of sends, dead letters. Used by the supervisor and the commands.
"""

from bg_charm_service.storage.sqlite.job_queue.job_queue import JobQueue
from bg_charm_service.storage.sqlite.job_queue.sql import (
    KEEP_DONE,
    SUSPECT_DELIVERIES,
    Claim,
    NewJob,
)

__all__ = ["KEEP_DONE", "SUSPECT_DELIVERIES", "Claim", "JobQueue", "NewJob"]
