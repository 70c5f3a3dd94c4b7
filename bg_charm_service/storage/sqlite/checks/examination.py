"""The doctor of the built-in engine: the checks of its file, then those of stored data."""

from __future__ import annotations

from bg_charm_service.storage.sql.checks import examination
from bg_charm_service.storage.sqlite.checks import schema_checks
from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.storage.sqlite.job_queue import JobQueue


class Doctor(examination.Doctor):
    """The checks of one database file."""

    def __init__(self, database: Database, queue: JobQueue) -> None:
        super().__init__(database, queue, (schema_checks.schema, schema_checks.log_size))
