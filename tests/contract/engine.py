"""What the contract's tests need of a storage engine, and the engines there are.

The tests know a store, a queue and transactions; how an engine keeps them is its own business.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Protocol

from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.storage.sqlite.job_queue import JobQueue
from bg_charm_service.storage.sqlite.store import Store


def nothing() -> None:
    """Do nothing."""


class Engine(Protocol):
    """An open storage engine, empty at first."""

    store: Store
    queue: JobQueue

    def transaction(self) -> AbstractContextManager[None]:
        """Give a transaction over store and queue."""

    def crash(self, during: Callable[[], object] = nothing) -> None:
        """Be killed inside a transaction, after what is done `during` it, and open again."""

    def reopen(self) -> None:
        """Close in good order, and open again."""

    def stored_bytes(self) -> bytes:
        """Give everything that is on disk, as a thief would find it."""

    def close(self) -> None:
        """Close for good, and leave nothing behind."""


class _Killed(Exception):
    """Ends the life of a process in a test."""


class SQLiteEngine:
    """The engine of a single machine: a SQLite file."""

    def __init__(self) -> None:
        self._directory = Path(mkdtemp(prefix="engine-"))
        self._life = 0
        self._open()

    def _open(self) -> None:
        self._home = self._directory / str(self._life)
        self._home.mkdir(exist_ok=True)
        self._database = Database.open(self._home / "test.db")
        self.store = Store.on(self._database)
        self.queue = JobQueue(self._database)

    def transaction(self) -> AbstractContextManager[None]:
        return self._database.transaction()

    def crash(self, during: Callable[[], object] = nothing) -> None:
        self._life += 1
        with suppress(_Killed), self._database.transaction():
            during()
            # A copy of the files is what a killed process leaves; closing would tidy them up.
            shutil.copytree(self._home, self._directory / str(self._life))
            raise _Killed
        self._database.close()
        shutil.rmtree(self._home)
        self._open()

    def reopen(self) -> None:
        self._database.close()
        self._open()

    def stored_bytes(self) -> bytes:
        return b"".join(path.read_bytes() for path in sorted(self._home.iterdir()))

    def close(self) -> None:
        self._database.close()
        shutil.rmtree(self._directory)


#: Every engine that has to keep the contract.
ENGINES: dict[str, Callable[[], Engine]] = {"sqlite": SQLiteEngine}
