"""The one SQLite connection of the process, and its transactions.

One connection in one process, in exclusive locking mode: SQLite below 3.51.3 can corrupt a
write-ahead log that several connections write. Everything of the storage layer goes through here.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import tenacity

from bg_charm_service.domain.errors import (
    BackupError,
    CannotExamine,
    DataDirectoryError,
    StorageError,
)
from bg_charm_service.storage.records import DiskUsage
from bg_charm_service.storage.sql.transactions import StorageErrors, Transactions
from bg_charm_service.storage.sqlite.commits import NumberedCommits
from bg_charm_service.storage.sqlite.copying import copy_database
from bg_charm_service.storage.sqlite.integrity import problems_of
from bg_charm_service.storage.sqlite.log_file import LogMark, check_log, log_bytes, see_to_disk
from bg_charm_service.storage.sqlite.migrations import STEPS, check_version, migrate
from bg_charm_service.storage.sqlite.open_files import OpenFiles
from bg_charm_service.storage.sqlite.schema_version import stored_schema_version
from bg_charm_service.storage.whole_files import PARTIAL, discard, publish

#: The write-ahead log is folded into the file at this many pages of 4 kB.
_CHECKPOINT_PAGES = 2000

#: Free pages are given back when asked for, a few at a time.
_INCREMENTAL = 2

#: The path of a database that has no file.
IN_MEMORY = ":memory:"

#: After a checkpoint the log file is cut to this size, in bytes.
_WAL_LIMIT_BYTES = 16 * 1024 * 1024


class Database(Transactions):
    """A connection in autocommit mode, with transactions that nest by joining the outer one."""

    driver_error = sqlite3.Error

    def __init__(self, connection: sqlite3.Connection, path: Path | None = None) -> None:
        self.connection = connection
        self._files = OpenFiles(path) if path is not None else None
        self._mark = LogMark(connection, self._files.descriptor) if self._files else None
        self._numbered = NumberedCommits(connection)
        super().__init__(self._numbered, StorageErrors(_is_of_the_database, _is_for_room))
        if self._files is not None:
            self.guards.append(self._files.check)

    @classmethod
    def open(
        cls, path: Path | str, factory: type[sqlite3.Connection] = sqlite3.Connection
    ) -> Database:
        """Open or create the file and bring its schema up to date, after a copy of it was made.

        Raises SchemaTooNew for a newer schema, DataDirectoryError for a file that is no database,
        BackupError when no copy can be made; the file is then what it was.
        """
        try:
            check_version(stored_schema_version(Path(path)))
        except OSError as error:
            raise _cannot_open(path, error) from None
        return cls._opened(path, factory, _bring_up_to_date)

    @classmethod
    def examine(
        cls, path: Path | str, factory: type[sqlite3.Connection] = sqlite3.Connection
    ) -> Database:
        """Open the file with the schema that it has; raises DataDirectoryError."""
        return cls._opened(path, factory, lambda connection, path: None)

    @classmethod
    def _opened(
        cls,
        path: Path | str,
        factory: type[sqlite3.Connection],
        prepare: Callable[[sqlite3.Connection, Path], None],
    ) -> Database:
        """Open a file, and its log, once `prepare` was called with it."""
        file = Path(path) if path != IN_MEMORY else None
        try:
            left_by_others = 0
            if file is not None:
                check_log(file)
                left_by_others = log_bytes(file)
            connection = _connect(str(path), factory)
            try:
                prepare(connection, Path(path))
                connection.execute("PRAGMA journal_mode = WAL")
                # The log is opened, and made where there is none, by the first look into the file.
                connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
                if file is not None and left_by_others:
                    # Locked by now: nobody else writes it meanwhile.
                    see_to_disk(file)
                return cls(connection, file)
            except BaseException:
                connection.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise _cannot_open(path, error) from None

    @property
    def disk_usage(self) -> DiskUsage:
        """What file and write-ahead log take now; nothing of a database in memory."""
        return self._files.usage() if self._files is not None else DiskUsage(0, 0)

    @property
    def schema_version(self) -> int:
        """The version of the schema as it is stored; raises StorageError."""
        (version,) = self.row("PRAGMA user_version")
        return int(version)

    @property
    def newest_schema(self) -> int:
        """The version that the steps of this program lead to."""
        return len(STEPS)

    def execute(self, sql: str, parameters: Iterable[Any] | dict[str, Any] = ()) -> sqlite3.Cursor:
        """Run one statement; outside a transaction it commits by itself.

        This and the next three raise StorageError when the database itself fails.
        """
        self._check_transaction()
        with self._failures, self._undone():
            return self.connection.execute(sql, parameters)  # type: ignore[arg-type]

    def executemany(self, sql: str, rows: Iterable[Any]) -> sqlite3.Cursor:
        """Run one statement for each row."""
        self._check_transaction()
        with self._failures, self._undone():
            return self.connection.executemany(sql, rows)

    def row(self, sql: str, parameters: Iterable[Any] = ()) -> Any:
        """Give the first row of a query, or None."""
        with self._failures:
            return self.connection.execute(sql, parameters).fetchone()  # type: ignore[arg-type]

    def rows(self, sql: str, parameters: Iterable[Any] = ()) -> list[Any]:
        """Give all rows of a query."""
        with self._failures:
            return self.connection.execute(sql, parameters).fetchall()  # type: ignore[arg-type]

    def probe(self, *, write: bool) -> None:
        """Show that the database answers, by a read or by a write; raises StorageError."""
        self.ask_guards()
        if not write:
            self.row("SELECT value FROM totals LIMIT 1")
            return
        with self.transaction():
            self.execute("INSERT OR REPLACE INTO totals VALUES ('probes', 1)")

    @property
    def free_pages(self) -> int:
        """Pages of the file that hold nothing."""
        (free,) = self.row("PRAGMA freelist_count")
        return int(free)

    def give_back(self, pages: int) -> None:
        """Return up to so many free pages, one at least, to the file system.

        Outside of a transaction only; raises StorageError.
        """
        if self._depth:
            raise RuntimeError("pages are given back outside of a transaction")
        with self._failures:
            # Each step of this statement frees one page, and `execute` takes a single step.
            self.connection.executescript(f"PRAGMA incremental_vacuum({max(1, pages)})")

    def copy_to(self, target: Path, should_stop: Callable[[], bool]) -> None:
        """Write all that is committed into a new file, from a thread; raises BackupError."""
        copy_database(self.connection, target, should_stop)

    def close(self) -> None:
        """Fold the log into the file and close; closing twice is fine."""
        with suppress(sqlite3.Error):
            self._undo()
        with suppress(StorageError, sqlite3.ProgrammingError):
            if self._files is not None and self._mark is not None:
                self._files.check()
                self._mark.make_up()
        self.connection.close()
        if self._files is not None:
            self._files.close()

    @contextmanager
    def _undone(self) -> Iterator[None]:
        """See to it that a statement that commits by itself, and fails, is undone for good."""
        try:
            yield
        except sqlite3.Error as error:
            if not self._depth and _is_of_the_database(error):
                self._numbered.undo_for_good(error)
            raise

    def _check_transaction(self) -> None:
        # SQLite undoes the whole transaction by itself when the disk is full. What is written
        # after that would be committed statement by statement.
        if self._depth and not self.connection.in_transaction:
            raise StorageError("The database undid the transaction after an earlier error.")

    def _run(self, statement: str) -> object:
        return self.execute(statement)

    @property
    def _can_go_on(self) -> bool:
        return self.connection.in_transaction

    def _is_committed(self) -> None:
        if self._mark is not None:
            self._mark.keep()

    def _undo(self) -> None:
        """Roll back what is open, also what an earlier failure could not roll back."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")


def _is_of_the_database(error: BaseException) -> bool:
    """Whether disk or file are to blame, not a value or a statement of ours."""
    ours = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError)
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, ours)


def _is_for_room(error: BaseException) -> bool:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) == sqlite3.SQLITE_FULL


def _cannot_open(path: Path | str, error: sqlite3.Error | OSError) -> DataDirectoryError:
    reason = error.strerror if isinstance(error, OSError) else error
    return DataDirectoryError(f"The database {path} cannot be opened: {reason}.")


def _bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    """Apply the missing steps; a database that has some already is copied first, and kept."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if 0 < version < len(STEPS):
        copy = path.with_name(f"{path.name}.before-{len(STEPS)}")
        partial = copy.with_name(f".{copy.name}{PARTIAL}")
        discard(partial)
        copy_database(connection, partial, pause_seconds=0.0)
        try:
            problems = problems_of(partial)
        except CannotExamine as error:
            discard(partial)
            raise BackupError(f"{path} was not brought up to date. {error}") from None
        if problems:
            discard(partial)
            raise BackupError(f"{path} is damaged, and was not brought up to date: {problems[0]}.")
        publish(partial, copy)
    migrate(connection)


@tenacity.retry(
    retry=tenacity.retry_if_exception_message(match="database is locked"),
    wait=tenacity.wait_exponential(multiplier=0.05, max=0.5),
    stop=tenacity.stop_after_delay(5),
    reraise=True,
)
def _connect(path: str, factory: type[sqlite3.Connection]) -> sqlite3.Connection:
    """Open a connection; a lock left for a moment (a closing owner, a backup) is waited for."""
    if path != IN_MEMORY:
        # SQLite gives its other files the mode of this one.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    # One thread uses it, but for the steps of a backup, which a second one makes.
    connection = sqlite3.connect(
        path,
        isolation_level=None,
        cached_statements=512,
        check_same_thread=False,
        factory=factory,
    )
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        if connection.execute("PRAGMA auto_vacuum").fetchone() != (_INCREMENTAL,):
            # Set in any case, it would be written anew each time.
            connection.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        # On or off by how the library was built; the same everywhere: docs/decisions/0073.
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA cache_size = -64000")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
    except BaseException:
        connection.close()
        raise
    return connection
