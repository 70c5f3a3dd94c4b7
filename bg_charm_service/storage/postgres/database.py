"""The one session of the process on PostgreSQL, and its transactions.

The transaction of the session is the one of the storage contract, as in the built-in engine. What
is written outside of one has one of its own, with a number and with the guards asked, so that
nothing can be written by a node that may write no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import RawCursor, errors

from bg_charm_service.domain.errors import StorageError
from bg_charm_service.storage.postgres.commits import NumberedCommits
from bg_charm_service.storage.postgres.dialect import Many, Statement, translate
from bg_charm_service.storage.postgres.dumps import PG_DUMP, dump_database
from bg_charm_service.storage.postgres.migrations import stored_schema_version
from bg_charm_service.storage.postgres.schema import STEPS
from bg_charm_service.storage.postgres.session import Session
from bg_charm_service.storage.records import DiskUsage
from bg_charm_service.storage.sql.transactions import StorageErrors, Transactions


@dataclass(slots=True)
class Cursor:
    """What a statement did; `lastrowid` is the key that the database gave to a row."""

    rowcount: int
    lastrowid: int | None = None
    first: Any = None

    def fetchone(self) -> Any:
        """Give the first row."""
        return self.first


class Database(Transactions):
    """A session in autocommit mode, with transactions that nest by joining the outer one.

    `node` is the number by which this process counts its commits; its schema is up to date.
    """

    driver_error = psycopg.Error

    def __init__(self, session: Session, *, node: int = 0, pg_dump: str = PG_DUMP) -> None:
        self.session = session
        self._pg_dump = pg_dump
        self._numbered = NumberedCommits(session, node)
        super().__init__(self._numbered, StorageErrors(_is_of_the_database, _is_for_room))

    @property
    def disk_usage(self) -> DiskUsage:
        """What the database takes on its server; the log is of all databases there."""
        row = self.row("SELECT pg_database_size(current_database())")
        return DiskUsage(int(row[0]), 0)

    @property
    def schema_version(self) -> int:
        """The version of the schema as it is stored; raises StorageError."""
        with self._failures:
            return stored_schema_version(self.session)

    @property
    def newest_schema(self) -> int:
        """The version that the steps of this program lead to."""
        return len(STEPS)

    def execute(self, sql: str, parameters: Iterable[Any] | Mapping[str, Any] = ()) -> Cursor:
        """Run one statement; outside a transaction it has one of its own.

        This and the next three raise StorageError when the database itself fails.
        """
        statement = translate(sql)
        if not self._depth and statement.is_write:
            with self.transaction():
                return self.execute(sql, parameters)
        self._check_transaction()
        with self._failures:
            done = self.session.run(statement.with_key, _in_order(statement, parameters))
            first = done.fetchone() if done.description else None
            self._note(statement, done)
        if statement.with_key is statement.text or first is None:
            return Cursor(done.rowcount, None, first)
        return Cursor(done.rowcount, int(first[0]))

    def executemany(self, sql: str, rows: Iterable[Any]) -> Cursor:
        """Run one statement for each row."""
        if not self._depth:
            with self.transaction():
                return self.executemany(sql, rows)
        self._check_transaction()
        asked = [tuple(row) for row in rows]
        if not asked:
            return Cursor(0)
        statement = translate(sql)
        many = statement.many
        with self._failures:
            if many is not None and len(asked) > 1 and _are_apart(many, asked):
                done = self.session.run(many.text, _in_arrays(many, asked))
            else:
                done = self.session.run_many(statement.text, asked)
            self._note(statement, done)
        return Cursor(done.rowcount)

    def row(self, sql: str, parameters: Iterable[Any] | Mapping[str, Any] = ()) -> Any:
        """Give the first row of a query, or None."""
        statement = translate(sql)
        if not self._depth and statement.is_write:
            with self.transaction():
                return self.row(sql, parameters)
        with self._failures:
            done = self.session.run(statement.text, _in_order(statement, parameters))
            self._note(statement, done)
            return done.fetchone() if done.description else None

    def rows(self, sql: str, parameters: Iterable[Any] | Mapping[str, Any] = ()) -> list[Any]:
        """Give all rows of a query."""
        statement = translate(sql)
        with self._failures:
            done = self.session.run(statement.text, _in_order(statement, parameters))
            return done.fetchall()

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
        """None to give back: the server uses again what is free, and sees to it by itself."""
        return 0

    def give_back(self, pages: int) -> None:
        """Do nothing, outside of a transaction only: the server sees to it by itself."""
        if self._depth:
            raise RuntimeError("pages are given back outside of a transaction")

    def copy_to(self, target: Path, should_stop: Callable[[], bool]) -> None:
        """Write all that is committed into a new file, from a thread; raises BackupError."""
        dump_database(self.session.connection.info, target, should_stop, program=self._pg_dump)

    def close(self) -> None:
        """End the session; closing twice is fine."""
        with suppress(psycopg.Error):
            self._undo()
        self.session.close()

    def _note(self, statement: Statement, done: RawCursor[Any]) -> None:
        if statement.is_write and done.rowcount > 0:
            self._numbered.has_changes = True

    def _run(self, statement: str) -> object:
        self._check_transaction_is_there()
        with self._failures:
            return self.session.run(statement)

    @property
    def _can_go_on(self) -> bool:
        return self.session.can_go_back

    def _check_transaction_is_there(self) -> None:
        if self._depth and not self.session.can_go_back:
            raise StorageError("The database ended the transaction after an earlier error.")

    def _check_transaction(self) -> None:
        # After an error the server refuses everything up to the end of the transaction, or to a
        # savepoint. A COMMIT then would undo all of it, and report no error.
        if self._depth and not self.session.is_open:
            raise StorageError("The database undid the transaction after an earlier error.")

    def _is_committed(self) -> None:
        """Nothing is kept of it here."""

    def _undo(self) -> None:
        """Roll back what is open, also what an earlier failure could not roll back."""
        if self.session.can_go_back:
            self.session.run("ROLLBACK")


def _in_order(statement: Statement, parameters: Iterable[Any] | Mapping[str, Any]) -> Sequence[Any]:
    if isinstance(parameters, Mapping):
        return [parameters[name] for name in statement.names]
    return parameters if isinstance(parameters, list | tuple) else tuple(parameters)


def _are_apart(many: Many, rows: Sequence[tuple[Any, ...]]) -> bool:
    """Whether no row is named twice: at once it would be changed once."""
    return not many.keys or len({tuple(row[at] for at in many.keys) for row in rows}) == len(rows)


#: An array is of one type: numbers come in more than one, and so do texts.
_TYPES: Mapping[str, Callable[[Any], Any]] = {
    "bigint": int,
    "double precision": float,
    "text": str,
    "bytea": bytes,
}


def _in_arrays(many: Many, rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    found = []
    for kind, column in zip(many.types, zip(*rows, strict=True), strict=True):
        as_kind = _TYPES[kind]
        found.append([None if value is None else as_kind(value) for value in column])
    return found


def _is_of_the_database(error: BaseException) -> bool:
    """Whether server, disk or network are to blame, not a value or a statement of ours."""
    ours = (
        *(psycopg.IntegrityError, psycopg.ProgrammingError, psycopg.DataError),
        psycopg.NotSupportedError,
    )
    return isinstance(error, psycopg.Error) and not isinstance(error, ours)


def _is_for_room(error: BaseException) -> bool:
    return isinstance(error, errors.DiskFull)
