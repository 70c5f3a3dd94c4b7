"""The engine on PostgreSQL, over a session that somebody else has opened and watches over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from bg_charm_service.domain.errors import DataDirectoryError
from bg_charm_service.storage.contract import Storage
from bg_charm_service.storage.postgres.checks import schema
from bg_charm_service.storage.postgres.database import Database
from bg_charm_service.storage.postgres.dumps import PG_DUMP
from bg_charm_service.storage.postgres.migrations import migrate
from bg_charm_service.storage.postgres.session import Session
from bg_charm_service.storage.records import KEEP_DONE
from bg_charm_service.storage.sql.checks.examination import Doctor
from bg_charm_service.storage.sql.job_queue import JobQueue
from bg_charm_service.storage.sql.store import open_store

#: Every statement has its index, and small tables grow: a plan that reads a whole table, since
#: nothing is known of it yet, or not any more, would stay too slow for long.
_PLANS = "SET enable_seqscan = off; SET jit = off"

#: What is committed is on disk, whatever the server would do otherwise.
_DURABLE = """SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') = 'off'"""


@dataclass(frozen=True, slots=True)
class PostgresEngine:
    """The engine of a database on a server, which is used by one session at a time.

    `node` is the number by which this process counts its commits, and `pg_dump` the program that
    makes copies. Tests bring a session with faults.
    """

    connection: psycopg.Connection[Any]
    node: int = 0
    pg_dump: str = PG_DUMP
    session: type[Session] = Session
    queue: type[JobQueue] = JobQueue

    def open(self, path: Path | None = None, *, keep_done: int = KEEP_DONE) -> Storage:
        """Bring the schema up to date, and take up what is there; there is no `path` to open.

        Ends the session where that fails. Raises SchemaTooNew for what a later version made,
        DataDirectoryError where the database cannot be used.
        """
        session = self.session(self.connection)
        try:
            session.run_script(_PLANS)
            session.run(_DURABLE)
            migrate(session)
            database = Database(session, node=self.node, pg_dump=self.pg_dump)
            queue = self.queue(database, keep_done=keep_done)
            return Storage(database, open_store(database), queue, Doctor(database, queue, [schema]))
        except BaseException as error:
            session.close()
            if isinstance(error, psycopg.Error):
                reason = " ".join(str(error).split()).rstrip(".")
                raise DataDirectoryError(f"The database cannot be opened: {reason}.") from error
            raise
