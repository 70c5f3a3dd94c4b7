"""The one session of the process on a PostgreSQL server: the only place that talks to psycopg.

Everything goes through the session that it was opened with, and through no other one: whoever
leases slots holds the lease by that session, so that what it commits cannot outlive the lease. It
is never opened again behind anybody's back: an engine whose session has ended is to be opened anew,
since others may have written meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from psycopg import RawCursor, pq
from psycopg.types.numeric import FloatBinaryDumper, Int8BinaryDumper, Int8Dumper
from psycopg.types.string import StrDumperUnknown

from bg_charm_service.domain.errors import DataDirectoryError

#: So long opening a session may take, in seconds.
_CONNECT_SECONDS = 10

#: A statement that was asked so often is kept by the server, so many of them.
_PREPARE_AFTER = 3
_PREPARED_MOST = 400

_Status = pq.TransactionStatus


class _BoolDumper(Int8BinaryDumper):
    """Truth is a number, as in SQLite."""

    def dump(self, obj: Any) -> Any:
        return super().dump(int(obj))


class _TextDumper(StrDumperUnknown):
    """The database has no character of code 0 in texts: it becomes the sign for it."""

    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\0", "\u2400") if "\0" in obj else obj)


def connect(url: str) -> psycopg.Connection[Any]:
    """Open a session on the server and the database of an address.

    Raises DataDirectoryError where that cannot be done.
    """
    try:
        return psycopg.connect(url, autocommit=True, connect_timeout=_CONNECT_SECONDS)
    except psycopg.Error as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise DataDirectoryError(f"The database cannot be opened: {reason}.") from None


class Session:
    """Statements on one connection, which is in autocommit mode."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        connection.prepare_threshold = _PREPARE_AFTER
        connection.prepared_max = _PREPARED_MOST
        adapters = connection.adapters
        # A number in a statement has 64 bits: `smallint + 1` overflows, and each width that comes
        # is another statement to prepare.
        # Those of arrays are sent as texts, which have a type too.
        adapters.register_dumper(int, Int8Dumper)
        adapters.register_dumper(int, Int8BinaryDumper)
        adapters.register_dumper(float, FloatBinaryDumper)
        adapters.register_dumper(bool, _BoolDumper)
        adapters.register_dumper(str, _TextDumper)

    def run(self, text: str, parameters: Sequence[Any] = ()) -> RawCursor[Any]:
        """Run one statement, with `$1` for a parameter."""
        cursor = RawCursor(self.connection)
        cursor.execute(text, parameters, binary=True)
        return cursor

    def run_many(self, text: str, rows: Iterable[Sequence[Any]]) -> RawCursor[Any]:
        """Run one statement for each row, all of them on one way to the server and back."""
        cursor = RawCursor(self.connection)
        cursor.executemany(text, rows)
        return cursor

    def run_script(self, script: str) -> None:
        """Run several statements without parameters."""
        self.connection.execute(script)

    @property
    def is_open(self) -> bool:
        """Whether a transaction is open in which statements can be run."""
        return self.connection.info.transaction_status == _Status.INTRANS

    @property
    def can_go_back(self) -> bool:
        """Whether a transaction is open that can be led back to a savepoint."""
        return self.connection.info.transaction_status in (_Status.INTRANS, _Status.INERROR)

    @property
    def has_ended(self) -> bool:
        """Whether the session is no more."""
        return self.connection.closed

    def beside(self) -> psycopg.Connection[Any]:
        """Open another session, to look at what this one has committed."""
        info = self.connection.info
        return psycopg.connect(
            info.dsn, password=info.password, autocommit=True, connect_timeout=_CONNECT_SECONDS
        )

    def close(self) -> None:
        """End it; ending it twice is fine."""
        self.connection.close()
