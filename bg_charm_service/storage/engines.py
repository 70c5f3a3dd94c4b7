"""The storage engines there are: the only module that knows them.

Opens what a service lives on, and does what the command line does to the files of a service that
is stopped. Called by the service's bootstrap, its maintenance, and the command line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bg_charm_service.domain.errors import DatabaseUnusable
from bg_charm_service.storage.contract import Engine, Storage
from bg_charm_service.storage.node_contract import Candidate, Lease
from bg_charm_service.storage.records import KEEP_DONE
from bg_charm_service.storage.sql.store import open_store
from bg_charm_service.storage.sqlite import integrity
from bg_charm_service.storage.sqlite.checks.examination import Doctor
from bg_charm_service.storage.sqlite.checks.file_checks import file_troubles
from bg_charm_service.storage.sqlite.checks.stopped import examine_stopped, locks_of_stopped
from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.storage.sqlite.integrity import facts_of
from bg_charm_service.storage.sqlite.job_queue import JobQueue
from bg_charm_service.storage.sqlite.restore import restore_backup

if TYPE_CHECKING:
    from bg_charm_service.storage.postgres.engine import PostgresEngine

__all__ = [
    "FILE_CHECKER",
    "SQLiteEngine",
    "candidate",
    "engine_of",
    "examine_stopped",
    "facts_of",
    "file_troubles",
    "locks_of_stopped",
    "postgres_engine",
    "restore_backup",
]

#: The module whose `main`, given the path of a file that nobody has open, reads all of it and
#: prints what is damaged in it as JSON. It imports little, for a process of its own.
FILE_CHECKER = integrity.__name__


def candidate(url: str, password: str | None, node: str, lease_seconds: float) -> Candidate:
    """Make a node of a PostgreSQL database that wants its lease; nobody is asked yet.

    Raises DatabaseUnusable without the libraries that it takes, InvalidInput for an address that
    is none.
    """
    try:
        # Only then: they are installed where somebody wants them.
        from bg_charm_service.storage.postgres import lease, server
    except ImportError:
        raise DatabaseUnusable(
            "--database takes the extra postgres, which is not installed: "
            "`pip install 'bg-charm-service[postgres]'`"
        ) from None
    address = server.DatabaseAddress(url, password)
    # What is wrong with it is told before anything is waited for.
    address.parts()
    return lease.Candidate(address, node, lease_seconds)


def engine_of(lease: Lease) -> Engine:
    """Give the engine of the database whose lease this is; all of it goes through its session."""
    # Only then: its libraries are installed where somebody wants them.
    from bg_charm_service.storage.postgres.engine import PostgresEngine
    from bg_charm_service.storage.postgres.lease import Lease as SessionLease

    assert isinstance(lease, SessionLease)
    return _FencedEngine(PostgresEngine(lease.connection, node=lease.holder.epoch), lease)


@dataclass(frozen=True, slots=True)
class _FencedEngine:
    """An engine that commits nothing for a node that lost its lease."""

    engine: Engine
    lease: Lease

    def open(self, path: Path, *, keep_done: int = KEEP_DONE) -> Storage:
        """Open what is there."""
        storage = self.engine.open(path, keep_done=keep_done)
        storage.database.guards.append(self.lease.fence)
        return storage


@dataclass(frozen=True, slots=True)
class SQLiteEngine:
    """The engine of a single machine: one SQLite file, and one process that has it open.

    Tests bring a database with faults, or a queue with a bug in it.
    """

    open_database: Callable[[Path], Database] = Database.open
    queue: type[JobQueue] = JobQueue

    def open(self, path: Path, *, keep_done: int = KEEP_DONE) -> Storage:
        """Open the file, or make it, and bring its schema up to date."""
        database = self.open_database(path)
        try:
            queue = self.queue(database, keep_done=keep_done)
            return Storage(database, open_store(database), queue, Doctor(database, queue))
        except BaseException:
            database.close()
            raise


def postgres_engine(url: str, *, node: int = 0) -> PostgresEngine:
    """Give the engine on PostgreSQL, over a session of its own; opened once.

    `node` is the number by which this process counts its commits. Raises DataDirectoryError where
    no session can be had.
    """
    # Nobody pays for its driver, or has to install it, who does not use it.
    from bg_charm_service.storage.postgres.engine import PostgresEngine
    from bg_charm_service.storage.postgres.session import connect

    return PostgresEngine(connect(url), node)
