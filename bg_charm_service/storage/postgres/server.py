"""A session with PostgreSQL: with a time limit for all it does, or one sentence why there is none.

A session that nothing is heard of for the time of the lease is ended by the server, by the server's
clock; an answer that does not come in time is given up here. What goes wrong at opening becomes an
error of ours, which repeats neither the user nor the password.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import ConnStatus

from bg_charm_service.domain.errors import DatabaseUnusable, InvalidInput

Given = TypeVar("Given")

#: Older ones cannot end an idle session by themselves.
_OLDEST_SERVER = 140000

#: Of the time of the lease, so much may a statement take, or what is sent be on its way.
PATIENCE = 0.8

#: How long a pool of sessions may take to give a second one, in seconds.
_SECOND_LOOK_SECONDS = 5

#: What a refusal of the server, or of its library, means for whoever starts a node: the first
#: whose words are in it.
_REASONS = (
    ("password authentication failed", "user and password do not fit. Write the password into a "
     "file of mode 0600, and give --database-password=@FILE"),
    ("no password supplied", "it wants a password. Write it into a file of mode 0600, and give "
     "--database-password=@FILE"),
    ("failed to resolve host", "there is no host of that name"),
    ("Name or service not known", "there is no host of that name"),
    ("could not translate host name", "there is no host of that name"),
    ("does not support SSL", "it speaks no TLS, which the sslmode of the address asks for"),
    ("root certificate file", "sslmode=verify-full and verify-ca need the certificate of its "
     "authority: add sslrootcert=FILE to the address, or sslrootcert=system"),
    ("certificate", "its certificate is not the one that the sslmode of the address asks for"),
    ("no pg_hba.conf entry", "its pg_hba.conf lets nobody in from here as that user"),
    ("too many", "it has no connection left (max_connections)"),
    ("starting up", "it is starting; try again in a moment"),
    ("shutting down", "it is stopping; try again in a moment"),
    ("Connection refused", "nobody answers there. Start the server, or correct the address"),
    ("timeout", "nobody answers there in time"),
    ("session is read-only", "it is a standby server that cannot be written. Name the primary"),
    ("statement pooling", "a pooler is in between that shares sessions among clients. Name the "
     "server itself, or a pool with pool_mode=session"),
    ("unsupported startup parameter", "a pooler is in between that does not pass settings on. "
     "Name the server itself"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """Where a database is, and how to get in."""

    url: str = field(repr=False)
    password: str | None = field(default=None, repr=False)

    def parts(self) -> dict[str, Any]:
        """Give the parts as libpq reads them; raises InvalidInput."""
        try:
            found = conninfo_to_dict(self.url)
        except psycopg.ProgrammingError as error:
            # Of an address it repeats at most the name of a parameter.
            reason = str(error).strip() if "URI query parameter" in str(error) else "it is broken"
            raise InvalidInput(
                f"--database: {reason}. Expected postgresql://USER@HOST:PORT/NAME"
            ) from None
        if self.password is not None:
            found["password"] = self.password
        return found

    @property
    def shown(self) -> str:
        """Host and name of the database, as they may be told."""
        parts = self.parts()
        hosts = str(parts.get("host") or parts.get("hostaddr") or "localhost").split(",")
        ports = str(parts.get("port") or "5432").split(",")
        ports = ports if len(ports) == len(hosts) else ports[:1] * len(hosts)
        places = ",".join(f"{host}:{port}" for host, port in zip(hosts, ports, strict=True))
        name = parts.get("dbname") or parts.get("user") or ""
        return f"postgresql://{places}/{name}"


class SessionConnection(psycopg.Connection[Any]):
    """A connection that knows when its server last answered.

    Any thread may ask; what is waited for is bounded by `give_up`, from another one.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        #: When what was answered last had been asked, on the clock of `steady`.
        self.answered_at = steady()
        #: Since when an answer is waited for; 0 while none is.
        self.asked_at = 0.0
        #: Called when the session is found to be over.
        self.on_end: Callable[[str], None] = lambda reason: None

    def wait(self, *arguments: Any, **options: Any) -> Any:
        """Wait for an answer."""
        self.asked_at = asked_at = steady()
        try:
            return super().wait(*arguments, **options)
        except psycopg.Error as error:
            if self.is_over:
                self.on_end(_first_line(error))
            raise
        finally:
            self.asked_at = 0.0
            if not self.is_over:
                # An error is an answer too.
                self.answered_at = asked_at

    @property
    def is_over(self) -> bool:
        """Whether the session has ended."""
        return self.closed or self.pgconn.status == ConnStatus.BAD

    def give_up(self) -> None:
        """Let whoever waits for an answer wait no more, from any thread."""
        # A copy, since the thread that waits closes its own.
        with (
            suppress(OSError, psycopg.OperationalError),
            socket.socket(fileno=os.dup(self.fileno())) as line,
        ):
            line.shutdown(socket.SHUT_RDWR)


class Watch:
    """A thread that looks a few times in the time of a lease, until it is closed."""

    def __init__(self, every_seconds: float, look: Callable[[], None]) -> None:
        self._every_seconds = every_seconds
        self._look = look
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._is_closed.wait(self._every_seconds):
            self._look()

    def close(self) -> None:
        """Look no more; closing twice is fine."""
        self._is_closed.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(self._every_seconds)


def steady() -> float:
    """The time of a clock that nobody sets, and that goes on while the machine sleeps, in s."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def open_session(address: DatabaseAddress, lease_seconds: float) -> SessionConnection:
    """Open a session that the server ends when nothing is heard of it for the time of the lease.

    Raises InvalidInput for an address that is none, DatabaseUnusable with one sentence otherwise.
    """
    patience_ms = int(lease_seconds * PATIENCE * 1000)
    parts: dict[str, Any] = {
        "application_name": "bg-charm-service",
        "target_session_attrs": "read-write",
        "connect_timeout": max(2, int(lease_seconds)),
        # In a partition nobody ends the connection: it is over when this has not arrived in time.
        "tcp_user_timeout": patience_ms,
        # Also while a long statement is waited for.
        "keepalives_idle": 1,
        "keepalives_interval": 1,
        **address.parts(),
        "client_encoding": "utf8",
    }
    try:
        connection = SessionConnection.connect(make_conninfo(**parts), autocommit=True)
    except (psycopg.Error, UnicodeError, OSError) as error:
        raise DatabaseUnusable(
            f"The database {address.shown} cannot be used: {_reason(error)}."
        ) from None
    try:
        _set_up(connection, address, lease_seconds)
    except psycopg.Error as error:
        connection.close()
        raise DatabaseUnusable(
            f"The database {address.shown} cannot be used: {_reason(error)}."
        ) from None
    except BaseException:
        connection.close()
        raise
    return connection


def _set_up(connection: SessionConnection, address: DatabaseAddress, lease_seconds: float) -> None:
    version = connection.info.server_version
    if version < _OLDEST_SERVER:
        raise DatabaseUnusable(
            f"The database {address.shown} cannot be used: it is PostgreSQL {version // 10000}, "
            f"and {_OLDEST_SERVER // 10000} or newer is needed."
        )
    _refuse_shared_sessions(connection, address)
    lease_ms, patience_ms = int(lease_seconds * 1000), int(lease_seconds * PATIENCE * 1000)
    set_limits(
        connection,
        idle_session_timeout=lease_ms,
        idle_in_transaction_session_timeout=lease_ms,
        tcp_user_timeout=lease_ms,
        statement_timeout=patience_ms,
    )


def set_limits(connection: SessionConnection, **milliseconds: int) -> None:
    """Set time limits of a session, by their names at the server; 0 stands for none."""
    for name, value in milliseconds.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, str(value)))


def _refuse_shared_sessions(connection: SessionConnection, address: DatabaseAddress) -> None:
    """Refuse a pooler that gives what two clients ask to one session of the server.

    A server tells each client the number of its process, a pooler one of its own.
    """
    mine = _backend(connection)
    if mine == connection.info.backend_pid:
        return
    parts = {"connect_timeout": _SECOND_LOOK_SECONDS, **address.parts()}
    with (
        psycopg.connect(make_conninfo(**parts), autocommit=True) as other,
        other.transaction(),
    ):
        # While this transaction is open, its session is nobody else's.
        is_shared = _backend(other) == mine or _backend(connection) != mine
    if is_shared:
        raise DatabaseUnusable(
            f"The database {address.shown} cannot be used: a pooler is in between that shares "
            "sessions among clients (pool_mode=transaction), so that two nodes would hold the same "
            "lease. Name the server itself, or a pool with pool_mode=session."
        )


def _backend(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])


def _reason(error: BaseException) -> str:
    text = str(error)
    if 'database "' in text and "does not exist" in text:
        return "there is no database of that name. Make it: `createdb NAME`"
    if 'role "' in text and "does not exist" in text:
        return "there is no user of that name"
    known = (meaning for words, meaning in _REASONS if words in text)
    return next(known, None) or _first_line(error)


def _first_line(error: BaseException) -> str:
    """Give what a server said, on one line; it repeats no password."""
    text = str(error).strip().partition("\n")[0]
    return text.rpartition("FATAL:")[2].strip().rstrip(".") or type(error).__name__
