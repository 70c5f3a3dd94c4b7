"""The durable job queue in SQL: what is asked of charms, until it is done or given up on."""

from bg_charm_service.storage.sql.job_queue.job_queue import JobQueue

__all__ = ["JobQueue"]
