"""The engine on PostgreSQL, as the contract's tests need it: one server for all of them.

A test gets a database in which nothing is. Making one costs many times what emptying one does, so
those that were used are emptied and used again.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import psycopg
from psycopg import RawCursor, errors

from bg_charm_service.domain.errors import StorageError
from bg_charm_service.storage.contract import Storage
from bg_charm_service.storage.postgres.database import Database
from bg_charm_service.storage.postgres.dialect import translate
from bg_charm_service.storage.postgres.engine import PostgresEngine
from bg_charm_service.storage.postgres.session import Session, connect
from tests.contract.listing import FILL_AUDIT, ways_to_list
from tests.postgres_server import PostgresServer, postgres_server

#: Empties every table but the one that says which schema it is.
_EMPTY = """CREATE FUNCTION empty_all() RETURNS void LANGUAGE plpgsql
SET session_replication_role = 'replica' AS $$
DECLARE name text;
BEGIN
    FOR name IN SELECT oid::regclass FROM pg_class WHERE relkind = 'r'
        AND relnamespace = 'public'::regnamespace AND relname <> 'schema_version'
        AND pg_relation_size(oid) > 0
    LOOP EXECUTE 'DELETE FROM ' || name; END LOOP;
    PERFORM setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S';
END $$"""

_TABLES = """SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r'
    AND relnamespace = 'public'::regnamespace ORDER BY 1"""

#: Larger than this is what a full disk has no room for, in bytes.
_ROOM = 100_000

_NO_ROOM = """DO $$ BEGIN
    RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
END $$"""


class _FaultySession(Session):
    """A session to which happens what a test says."""

    is_full = is_failing = is_late = False
    unreadable = 0
    refused = 0

    def run(self, text: str, parameters: Sequence[Any] = ()) -> RawCursor[Any]:
        self._befall(text, parameters)
        cursor = super().run(text, parameters)
        if self.is_late and text == "COMMIT":
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return cursor

    def run_many(self, text: str, rows: Iterable[Sequence[Any]]) -> RawCursor[Any]:
        self._befall(text, ())
        return super().run_many(text, rows)

    def beside(self) -> psycopg.Connection[Any]:
        if self.is_late and self.unreadable:
            self.unreadable -= 1
            raise psycopg.OperationalError("connection refused")
        return super().beside()

    def _befall(self, text: str, parameters: Sequence[Any]) -> None:
        if self.is_failing:
            raise psycopg.OperationalError("terminating connection")
        if self.is_full and any(isinstance(one, bytes) and len(one) > _ROOM for one in parameters):
            # The server itself says so, and refuses what comes next in the transaction.
            super().run(_NO_ROOM)
        if self.refused and text == "COMMIT":
            self.refused -= 1
            super().run("ROLLBACK")
            raise errors.IoError("could not fsync file: Input/output error")


class _Databases:
    """The server, and the databases that nobody uses now."""

    def __init__(self) -> None:
        self._resources = ExitStack()
        self._server: PostgresServer | None = None
        self._free: list[str] = []
        self._template = ""

    @property
    def server(self) -> PostgresServer:
        if self._server is None:
            self._server = self._resources.enter_context(postgres_server())
            url = self._server.create_database()
            PostgresEngine(connect(url)).open().close()
            with connect(url) as connection:
                connection.execute(_EMPTY)
            self._template = url.rpartition("/")[2]
        return self._server

    def take(self) -> str:
        """Give the address of a database with our schema, and nothing in it."""
        server = self.server
        return self._free.pop() if self._free else server.create_database(self._template)

    def give_back(self, url: str) -> None:
        """Empty a database, for whoever comes next."""
        with connect(url) as connection:
            connection.execute("SELECT empty_all()")
        self._free.append(url)

    def stop(self) -> None:
        """End the server, if there is one."""
        self._server = None
        self._free.clear()
        self._resources.close()


#: Those of this process.
DATABASES = _Databases()


def _nothing() -> None:
    """Do nothing."""


class Postgres:
    """The engine on a server: one database of it."""

    #: What was not committed is gone with its session, whatever happens then.
    in_doubt: type[StorageError] = StorageError
    gives_back = False

    def __init__(self) -> None:
        self._url = DATABASES.take()
        self._root = Path(mkdtemp(prefix="engine-"))
        self._copies: list[str] = []
        self._open()

    def _open(self) -> None:
        engine = PostgresEngine(
            connect(self._url), pg_dump=_program("pg_dump"), session=_FaultySession
        )
        self.storage = engine.open()
        self.database, self.store = self.storage.database, self.storage.store
        self.queue = self.storage.queue

    @property
    def directory(self) -> Path:
        return self._root

    def transaction(self) -> AbstractContextManager[None]:
        return self.database.transaction()

    def crash(self, during: Callable[[], object] = _nothing) -> None:
        with suppress(StorageError), self.database.transaction():
            during()
            # All that the server learns of a process that was killed.
            with socket.socket(fileno=os.dup(self._session.connection.fileno())) as line:
                line.shutdown(socket.SHUT_RDWR)
            self.database.probe(write=False)
        self.storage.close()
        self._open()

    def reopen(self) -> None:
        self.storage.close()
        self._open()

    @contextmanager
    def as_killed(self) -> Iterator[Storage]:
        """Look at what is committed, as another session sees it."""
        storage = PostgresEngine(connect(self._url)).open()
        try:
            yield storage
        finally:
            storage.close()

    def as_without_power(self) -> AbstractContextManager[Storage]:
        """What the server has committed it has on disk: that is its promise, not the engine's."""
        return self.as_killed()

    def open_copy(self, path: Path) -> Storage:
        url = DATABASES.server.create_database()
        self._copies.append(url)
        command = [_program("pg_restore"), "--exit-on-error", f"--dbname={url}", str(path)]
        subprocess.run(command, check=True)
        return PostgresEngine(connect(url)).open()

    def stored_bytes(self) -> bytes:
        found = []
        with connect(self._url) as connection:
            for (table,) in connection.execute(_TABLES).fetchall():
                with connection.cursor().copy(f"COPY {table} TO STDOUT (FORMAT binary)") as rows:
                    found += [bytes(row) for row in rows]
        return b"".join(found)

    @contextmanager
    def full(self) -> Iterator[None]:
        self._session.is_full = True
        try:
            yield
        finally:
            self._session.is_full = False

    @contextmanager
    def failing(self) -> Iterator[None]:
        self._session.is_failing = True
        try:
            yield
        finally:
            self._session.is_failing = False

    @contextmanager
    def late_errors(self, *, unreadable: int) -> Iterator[None]:
        self._session.is_late, self._session.unreadable = True, unreadable
        try:
            yield
        finally:
            self._session.is_late = False

    @contextmanager
    def unsynced(self, count: int) -> Iterator[None]:
        self._session.refused = count
        try:
            yield
        finally:
            self._session.refused = 0

    def fill_audit(self, count: int) -> None:
        assert isinstance(self.database, Database)
        with self.database.transaction():
            self.database.executemany(FILL_AUDIT, ((float(at + 1),) for at in range(count)))

    def refusal(self, statement: str) -> str | None:
        connection, translated = self._session.connection, translate(statement)
        texts = [translated.text, translated.with_key]
        texts += [translated.many.text] if translated.many is not None else []
        try:
            for text in texts:
                connection.execute(f"PREPARE tried AS {text}")
                connection.execute("DEALLOCATE tried")
        except psycopg.Error as error:
            return str(error)
        return None

    def ways_to_list(self) -> list[AbstractContextManager[None]]:
        return ways_to_list()

    def close(self) -> None:
        self.storage.close()
        for url in self._copies:
            DATABASES.server.drop_database(url)
        DATABASES.give_back(self._url)
        shutil.rmtree(self._root)

    @property
    def _session(self) -> _FaultySession:
        assert isinstance(self.database, Database)
        session = self.database.session
        assert isinstance(session, _FaultySession)
        return session


def _program(name: str) -> str:
    return str(DATABASES.server.programs / name)
