"""The durable job queue of the engine that is built in: persist-queue's table, and its class."""

from bg_charm_service.storage.sqlite.job_queue.persist_queue import JobQueue

__all__ = ["JobQueue"]
