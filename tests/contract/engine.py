"""What the contract's tests need of a storage engine, and the engines there are.

The tests know transactions, a store and a queue; how an engine keeps them is its own business.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Protocol

from bg_charm_service.domain.errors import ChangeInDoubt, StorageError
from bg_charm_service.storage.contract import Database, JobQueue, Storage, Store
from bg_charm_service.storage.engines import SQLiteEngine
from bg_charm_service.storage.sqlite.database import Database as SQLiteDatabase
from tests.contract.listing import FILL_AUDIT, ways_to_list
from tests.contract.postgres_engine import Postgres
from tests.failing_disk import failing, failing_disk, log_syncs_fail


def nothing() -> None:
    """Do nothing."""


class Engine(Protocol):
    """An open storage engine, empty at first, and what can befall it."""

    #: What is told of a change that could not be undone for good: ChangeInDoubt, or StorageError
    #: where that cannot be.
    in_doubt: type[StorageError]

    #: Whether room that is free is given back when asked for, not by a server.
    gives_back: bool

    @property
    def storage(self) -> Storage:
        """What is open; another one after a crash or a restart."""

    @property
    def database(self) -> Database:
        """Its transactions."""

    @property
    def store(self) -> Store:
        """Its store."""

    @property
    def queue(self) -> JobQueue:
        """Its queue."""

    @property
    def directory(self) -> Path:
        """An empty directory for files of a test."""

    def transaction(self) -> AbstractContextManager[None]:
        """Give a transaction over store and queue."""

    def crash(self, during: Callable[[], object] = nothing) -> None:
        """Be killed inside a transaction, after what is done `during` it, and open again."""

    def reopen(self) -> None:
        """Close in good order, and open again."""

    def as_killed(self) -> AbstractContextManager[Storage]:
        """Open beside it what the next process would find, if this one were killed now."""

    def as_without_power(self) -> AbstractContextManager[Storage]:
        """Open beside it what the next process would find, if the machine lost its power now."""

    def open_copy(self, path: Path) -> Storage:
        """Open what a copy made."""

    def stored_bytes(self) -> bytes:
        """Give everything that is on disk, as a thief would find it."""

    def full(self) -> AbstractContextManager[None]:
        """Let nothing more fit inside."""

    def failing(self) -> AbstractContextManager[None]:
        """Fail at whatever is asked inside."""

    def late_errors(self, *, unreadable: int) -> AbstractContextManager[None]:
        """Let commits inside report errors though they are made; then so many reads fail."""

    def unsynced(self, count: int) -> AbstractContextManager[None]:
        """Let so many commits inside fail that are written already, and that a crash may find."""

    def fill_audit(self, count: int) -> None:
        """Add so many entries to the audit log, each at the time of its number, as one change."""

    def refusal(self, statement: str) -> str | None:
        """Prepare a statement of queue or store; give what the engine has against it."""

    def ways_to_list(self) -> list[AbstractContextManager[None]]:
        """Give each way in which lists of charms may be found, to be gone inside."""

    def close(self) -> None:
        """Close for good, and leave nothing behind."""


class _Killed(Exception):
    """Ends the life of a process in a test."""


class _LateConnection(sqlite3.Connection):
    """Reports an error for a commit that it has made, when told so, and is unreadable then."""

    is_late = False
    unreadable = 0

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if self.is_late and self.unreadable and sql.startswith("SELECT"):
            self.unreadable -= 1
            raise sqlite3.OperationalError("disk I/O error")
        cursor = super().execute(sql, parameters)
        if self.is_late and sql == "COMMIT":
            raise sqlite3.OperationalError("disk I/O error")
        return cursor


class SQLite:
    """The engine of a single machine: a SQLite file."""

    in_doubt: type[StorageError] = ChangeInDoubt
    gives_back = True

    def __init__(self) -> None:
        self._root = Path(mkdtemp(prefix="engine-"))
        self._life = 0
        self._looks = 0
        failing_disk().synced = self._keep_synced
        self._open()

    def _open(self) -> None:
        self._home = self._root / str(self._life)
        self._home.mkdir(exist_ok=True)
        opening = partial(SQLiteDatabase.open, factory=_LateConnection)
        self.storage = SQLiteEngine(opening).open(self._home / "test.db")
        self.database, self.store = self.storage.database, self.storage.store
        self.queue = self.storage.queue

    @property
    def directory(self) -> Path:
        found = self._root / "files"
        found.mkdir(exist_ok=True)
        return found

    def transaction(self) -> AbstractContextManager[None]:
        return self.database.transaction()

    def crash(self, during: Callable[[], object] = nothing) -> None:
        self._life += 1
        with suppress(_Killed), self.database.transaction():
            during()
            # A copy of the files is what a killed process leaves; closing would tidy them up.
            shutil.copytree(self._home, self._root / str(self._life))
            shutil.copytree(self._root / f"synced-{self._life - 1}", self._synced)
            raise _Killed
        self.storage.close()
        shutil.rmtree(self._home)
        self._open()

    def reopen(self) -> None:
        self.storage.close()
        self._open()

    @contextmanager
    def as_killed(self) -> Iterator[Storage]:
        with self._beside(self._home) as storage:
            yield storage

    @contextmanager
    def as_without_power(self) -> Iterator[Storage]:
        with self._beside(self._synced) as storage:
            yield storage

    @contextmanager
    def _beside(self, home: Path) -> Iterator[Storage]:
        """Open a copy of the files of a directory."""
        self._looks += 1
        copy = self._root / f"look-{self._looks}"
        shutil.copytree(home, copy)
        storage = SQLiteEngine().open(copy / "test.db")
        try:
            yield storage
        finally:
            storage.close()

    @property
    def _synced(self) -> Path:
        """Where the files of this life lie as they were last synced."""
        return self._root / f"synced-{self._life}"

    def _keep_synced(self, path: Path) -> None:
        if path.parent == self._home:
            self._synced.mkdir(exist_ok=True)
            shutil.copy(path, self._synced)

    def open_copy(self, path: Path) -> Storage:
        return SQLiteEngine().open(path)

    def stored_bytes(self) -> bytes:
        return b"".join(path.read_bytes() for path in sorted(self._home.iterdir()))

    @contextmanager
    def full(self) -> Iterator[None]:
        (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
        self._connection.execute(f"PRAGMA max_page_count = {pages}")
        try:
            yield
        finally:
            self._connection.execute("PRAGMA max_page_count = 1000000")

    @contextmanager
    def failing(self) -> Iterator[None]:
        self._connection.set_progress_handler(lambda: 1, 1)
        try:
            yield
        finally:
            self._connection.set_progress_handler(None, 0)

    @contextmanager
    def late_errors(self, *, unreadable: int) -> Iterator[None]:
        self._connection.is_late, self._connection.unreadable = True, unreadable
        try:
            yield
        finally:
            self._connection.is_late = False

    @contextmanager
    def unsynced(self, count: int) -> Iterator[None]:
        with failing(sync=log_syncs_fail(count)):
            yield

    def fill_audit(self, count: int) -> None:
        assert isinstance(self.database, SQLiteDatabase)
        with self.database.transaction():
            self.database.executemany(FILL_AUDIT, ((float(at + 1),) for at in range(count)))

    def refusal(self, statement: str) -> str | None:
        names = re.findall(r"(?<!\w):([a-z_]+)", statement)
        places = 1 + len(re.findall(r"\?", statement))
        values: Any = dict.fromkeys(names)
        while True:
            try:
                self._connection.execute(f"EXPLAIN {statement}", values or [None] * places)
            except sqlite3.ProgrammingError as error:
                if "Incorrect number of bindings" not in str(error) or not places:
                    return str(error)
                places -= 1
            except sqlite3.Error as error:
                return str(error)
            else:
                return None

    def ways_to_list(self) -> list[AbstractContextManager[None]]:
        return ways_to_list()

    def close(self) -> None:
        self.storage.close()
        failing_disk().synced = lambda path: None
        shutil.rmtree(self._root)

    @property
    def _connection(self) -> _LateConnection:
        assert isinstance(self.database, SQLiteDatabase)
        assert isinstance(self.database.connection, _LateConnection)
        return self.database.connection


#: Every engine that has to keep the contract.
ENGINES: dict[str, Callable[[], Engine]] = {"sqlite": SQLite, "postgres": Postgres}
