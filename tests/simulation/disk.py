"""A simulated disk: what is committed survives the process; statements and commits fail on demand.

The connection is SQLite's own, in memory, with faults in front of it. A fault is armed by the world
and strikes where its turn comes; what it did is left in `struck`.
"""

from __future__ import annotations

import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Any

from bg_charm_service.storage.sqlite.database import Database
from tests.simulation.timeline import Killed


class Fault(StrEnum):
    """What can go wrong once."""

    BUSY = "busy"  #: a transaction does not begin
    STATEMENT = "statement"  #: a statement in a transaction fails, the transaction stays open
    ROLLED_BACK = "rolled back"  #: a statement fails, and SQLite has undone the transaction
    READ = "read"  #: a statement outside of any transaction fails
    COMMIT = "commit"  #: a commit fails, and nothing was committed
    #: a commit fails once it is written: the next process finds it made, unless another came after
    COMMIT_FOUND = "commit found after a crash"
    COMMIT_LIES = "commit lies"  #: a commit reports an error, and all was committed
    KILL_STATEMENT = "kill at a statement"
    KILL_BEFORE = "kill before a commit"
    KILL_AFTER = "kill after a commit"


_AT_COMMIT = {
    Fault.COMMIT,
    Fault.COMMIT_FOUND,
    Fault.COMMIT_LIES,
    Fault.KILL_BEFORE,
    Fault.KILL_AFTER,
}

_BUSY = (sqlite3.SQLITE_BUSY, "database is locked")
_FAILED = (sqlite3.SQLITE_IOERR, "disk I/O error")
_NOT_SYNCED = (sqlite3.SQLITE_IOERR_FSYNC, "disk I/O error")

#: A statement with its parameters, and whether these are many.
_Statement = tuple[str, Any, bool]

#: Functions that open transactions for others: a commit point has the name of their caller.
_CARRIERS = {"CommandContext.change"}
_DATABASE = {
    "bg_charm_service.storage.sql.transactions",
    "bg_charm_service.storage.sqlite.database",
    "bg_charm_service.storage.sqlite.commits",
}


@dataclass(slots=True)
class Armed:
    """A fault that waits: it strikes the place `after` so many like it, and only at `point`."""

    fault: Fault
    after: int = 0
    point: str | None = None


class Disk:
    """What outlives a process."""

    def __init__(
        self,
        database: type[Database] = Database,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._database = database
        #: Told of each commit and each fault.
        self.note = note
        self.image: bytes | None = None
        self.armed: list[Armed] = []
        self.struck: Counter[str] = Counter()
        #: How often each commit point was passed, by its name.
        self.points: Counter[str] = Counter()
        #: Whether something was committed since the last check.
        self.is_dirty = False
        #: Whether the process that has it open was killed by it: what that believes counts no more.
        self.has_killed = False
        self.connection: FaultyConnection | None = None
        #: The transaction that failed once it was written, and that nothing has overwritten yet.
        self.written: list[_Statement] | None = None
        #: Called when a transaction failed once it was written.
        self.on_written: Callable[[], None] = lambda: None
        #: Called with what a process had open, when that is over and before it is closed.
        self.on_cut: Callable[[FaultyConnection], None] = lambda connection: None
        #: Changes SQL on its way, where a bug is planted in it.
        self.rewrite: Callable[[str], str] | None = None

    def open(self, _: Path) -> Database:
        """Open the database, as a new process does."""
        disk = self
        self.has_killed = False

        class Connection(FaultyConnection):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                self.disk = disk
                if disk.image is not None:
                    self.deserialize(disk.image)

        database = self._database.open(":memory:", Connection)
        assert isinstance(database.connection, FaultyConnection)
        self.connection = database.connection
        return database

    def undo(self) -> FaultyConnection | None:
        """Undo what was not committed, as the next process does that opens the file.

        A transaction that is whole in the log is made then, whatever its own process was told.
        """
        connection, written, self.written = self.connection, self.written, None
        if connection is not None and connection.in_transaction:
            connection.rollback()
        if connection is not None and written is not None:
            connection.make_again(written)
            self.is_dirty = True
            self.struck["found made after a crash"] += 1
        return connection

    def cut(self) -> None:
        """Let the process that has it open be gone."""
        connection, self.connection = self.undo(), None
        if connection is not None:
            self.on_cut(connection)
            # One that was loaded from an image keeps its log beside it, which the image lacks.
            connection.bare("PRAGMA wal_checkpoint(TRUNCATE)")
            self.image = connection.serialize()
            sqlite3.Connection.close(connection)
        self.armed.clear()

    def fill(self) -> None:
        """Leave no room for another page."""
        self._limit_pages("(SELECT page_count FROM pragma_page_count)")

    def empty(self) -> None:
        """Make room."""
        self._limit_pages("1073741823")

    def strike(self, place: set[Fault], point: str | None = None) -> Fault | None:
        """The armed fault whose turn it is at this place, used up by that."""
        for armed in self.armed:
            if armed.fault in place and armed.point in (None, point):
                armed.after -= 1
                if armed.after < 0:
                    self.armed.remove(armed)
                    named = f": {point}" if armed.point is not None else ""
                    self.struck[f"{armed.fault}{named}"] += 1
                    self.note(f"disk: {armed.fault}{named}")
                    return armed.fault
        return None

    def _limit_pages(self, count: str) -> None:
        if self.connection is not None:
            (pages,) = self.connection.bare(f"SELECT {count}").fetchone()
            self.connection.bare(f"PRAGMA main.max_page_count = {pages}")


class FaultyConnection(sqlite3.Connection):
    """A connection that fails where the disk has a fault armed."""

    disk: Disk
    #: The statements of the transaction that is open, where its commit may be found after a crash.
    statements: list[_Statement] | None = None
    changes_before = 0

    def bare(self, sql: str, parameters: Iterable[Any] = ()) -> sqlite3.Cursor:
        """Run a statement for the simulation itself, without faults."""
        return super().execute(sql, parameters)  # type: ignore[arg-type]

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        disk: Disk | None = getattr(self, "disk", None)
        if disk is None or disk.connection is not self:
            return self.bare(sql, parameters)
        if sql == "COMMIT":
            return self._commit(disk)
        if disk.rewrite is not None:
            sql = disk.rewrite(sql)
        if disk.armed:
            self._suffer(disk, sql)
        if sql == "BEGIN IMMEDIATE":
            is_armed = any(armed.fault is Fault.COMMIT_FOUND for armed in disk.armed)
            self.statements = [] if is_armed else None
            self.changes_before = self.total_changes
        before = self.total_changes
        cursor = self.bare(sql, parameters)
        self._note(disk, (sql, parameters, False), before)
        return cursor

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
        if self.disk.rewrite is not None:
            sql = self.disk.rewrite(sql)
        if self.disk.armed:
            self._suffer(self.disk, sql)
        rows, before = list(parameters), self.total_changes
        cursor: sqlite3.Cursor = super().executemany(sql, rows)
        self._note(self.disk, (sql, rows, True), before)
        return cursor

    def make_again(self, statements: list[_Statement]) -> None:
        """Make a transaction of statements that were made before."""
        self.bare("BEGIN IMMEDIATE")
        for sql, parameters, are_many in statements:
            if are_many:
                super().executemany(sql, parameters)
            else:
                self.bare(sql, parameters).fetchall()
        self.bare("COMMIT")

    def close(self) -> None:
        """Close in good order; what is committed stays on the disk, and nothing else."""
        if self.disk.connection is self:
            self.disk.written = None
            self.disk.cut()
        else:
            super().close()

    def _note(self, disk: Disk, statement: _Statement, changes_before: int) -> None:
        sql, *_ = statement
        if not self.in_transaction:
            if self.total_changes != changes_before:
                # It committed by itself, over whatever lay there.
                disk.written = None
        elif self.statements is not None and sql != "BEGIN IMMEDIATE":
            self.statements.append(statement)

    def _suffer(self, disk: Disk, sql: str) -> None:
        if sql == "ROLLBACK" or sql.startswith(("ROLLBACK TO", "RELEASE", "SAVEPOINT")):
            return
        if sql == "BEGIN IMMEDIATE":
            if disk.strike({Fault.BUSY}):
                raise _error(*_BUSY)
            return
        inside = {Fault.STATEMENT, Fault.ROLLED_BACK, Fault.KILL_STATEMENT}
        fault = disk.strike(inside if self.in_transaction else {Fault.READ})
        if fault is Fault.KILL_STATEMENT:
            raise Killed("at a statement")
        if fault is Fault.ROLLED_BACK:
            self.bare("ROLLBACK")
        if fault is not None:
            raise _error(*_FAILED)

    def _commit(self, disk: Disk) -> sqlite3.Cursor:
        point = commit_point()
        fault = disk.strike(_AT_COMMIT, point) if disk.armed else None
        if fault is Fault.KILL_BEFORE:
            raise Killed(f"before the commit of {point}")
        if fault is Fault.COMMIT:
            raise _error(*_FAILED)
        has_changed = self.total_changes != self.changes_before
        if fault is Fault.COMMIT_FOUND:
            if has_changed and self.statements is not None:
                disk.written = self.statements
                disk.on_written()
            self.bare("ROLLBACK")
            raise _error(*_NOT_SYNCED)
        cursor = self.bare("COMMIT")
        if has_changed:
            disk.written = None
        disk.points[point] += 1
        disk.note(f"{point} commits {self.total_changes - self.changes_before} changes")
        disk.is_dirty = True
        if fault is Fault.KILL_AFTER:
            disk.has_killed = True
            raise Killed(f"after the commit of {point}")
        if fault is Fault.COMMIT_LIES:
            raise _error(*_FAILED)
        return cursor


def commit_point() -> str:
    """Name the commit that is under way: by the function of the service that opened it."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        name = frame.f_code.co_qualname
        if (
            module.startswith("bg_charm_service.")
            and module not in _DATABASE
            and name not in _CARRIERS
        ):
            return name
        frame = frame.f_back
    return "the database"


def _error(code: int, text: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error
