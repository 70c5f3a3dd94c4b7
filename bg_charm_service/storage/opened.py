"""An open engine: its transactions, its state and its jobs, which every part is given together."""

from __future__ import annotations

from dataclasses import dataclass

from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.storage.sqlite.job_queue import JobQueue
from bg_charm_service.storage.sqlite.store import Store


@dataclass(frozen=True, slots=True)
class Storage:
    """What is written through one of these is written in one transaction."""

    database: Database
    store: Store
    queue: JobQueue
