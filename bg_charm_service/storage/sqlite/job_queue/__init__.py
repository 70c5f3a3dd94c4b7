"""The durable job queue: what is asked of charms, until it is done or given up on.

persist-queue's table and class, with what they lack. Used through the storage contract.
"""

from bg_charm_service.storage.sqlite.job_queue.job_queue import JobQueue

__all__ = ["JobQueue"]
