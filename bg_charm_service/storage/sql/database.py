"""What queue and store need of a relational database, beside what the contract says of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from bg_charm_service.storage import contract
from bg_charm_service.storage.sql.sole_writer import SoleWriter


class Cursor(Protocol):
    """What a statement did."""

    @property
    def rowcount(self) -> int:
        """How many rows were written."""

    @property
    def lastrowid(self) -> int | None:
        """The key of the row that was inserted last, where the table gives keys out."""

    def fetchone(self) -> Any:
        """Give the next row of a statement that gives rows, or None."""


class Database(contract.Database, Protocol):
    """Statements on the one connection, in the transaction that is open.

    Their texts are as SQLite takes them, with `?`, `?1` or `:name` for parameters. All of them
    raise StorageError when the database itself fails.
    """

    @property
    def sole_writer(self) -> SoleWriter:
        """What may be remembered because nobody else writes."""

    def execute(self, sql: str, parameters: Iterable[Any] | dict[str, Any] = ()) -> Cursor:
        """Run one statement; outside a transaction it commits by itself."""

    def executemany(self, sql: str, rows: Iterable[Any]) -> Cursor:
        """Run one statement for each row."""

    def row(self, sql: str, parameters: Iterable[Any] = ()) -> Any:
        """Give the first row of a query, or None."""

    def rows(self, sql: str, parameters: Iterable[Any] = ()) -> list[Any]:
        """Give all rows of a query."""

    def on_rollback(self, callback: Callable[[], None]) -> None:
        """Take back what was remembered, the newest first, if what is open is undone."""
