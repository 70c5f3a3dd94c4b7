"""The engine on PostgreSQL, and what befalls its session and its server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import psycopg
import pytest
from psycopg import RawCursor

from bg_charm_service.domain.errors import (
    CommitInDoubt,
    DataDirectoryError,
    SchemaTooNew,
    StorageError,
)
from bg_charm_service.storage.contract import Storage
from bg_charm_service.storage.postgres.engine import PostgresEngine
from bg_charm_service.storage.postgres.session import Session, connect
from tests.postgres_server import PASSWORD, PostgresServer, postgres_server

SPACE = "did:key:space"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One server for all tests here, each with a database of its own."""
    with postgres_server() as started:
        yield started


def opened(url: str) -> Storage:
    """Open a database over a session of its own."""
    return PostgresEngine(connect(url)).open()


def write(storage: Storage, name: str) -> None:
    """Write one thing, in a transaction."""
    with storage.database.transaction():
        storage.store.spaces.write_document(SPACE, name, b"1", 0.0)


def found(url: str, names: str) -> str:
    """Give those of some names that another session finds."""
    storage = opened(url)
    there = [name for name in names if storage.store.spaces.document(SPACE, name) is not None]
    storage.close()
    return "".join(there)


class CutSession(Session):
    """A session whose backend dies while it commits: before that was done, or after it."""

    server: PostgresServer
    is_cut_before = is_cut_after = is_server_killed = False

    def run(self, text: str, parameters: Sequence[Any] = ()) -> RawCursor[Any]:
        if text == "COMMIT" and self.is_cut_before:
            self._end_backend()
        cursor = super().run(text, parameters)
        if text == "COMMIT" and self.is_cut_after:
            self._end_backend()
            if self.is_server_killed:
                self.server.kill()
            # The answer is lost on its way.
            return super().run("SELECT 1")
        return cursor

    def _end_backend(self) -> None:
        ours = self.connection.info.backend_pid
        with self.beside() as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", (ours,))


def test_session_that_is_ended_takes_its_transaction_along(server: PostgresServer) -> None:
    """Nothing of it is there, all who write later are refused: nobody opens it again by itself."""
    url = server.create_database()
    storage = opened(url)
    heard: list[StorageError] = []
    storage.database.on_failure.append(heard.append)
    write(storage, "a")

    def write_across_the_end() -> None:
        with storage.database.transaction():
            storage.store.spaces.write_document(SPACE, "b", b"1", 0.0)
            with psycopg.connect(url) as other:
                other.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                    " WHERE pid <> pg_backend_pid() AND datname = current_database()"
                )
            storage.store.spaces.write_document(SPACE, "c", b"1", 0.0)

    with pytest.raises(StorageError, match="cannot be used"):
        write_across_the_end()
    with pytest.raises(StorageError):
        write(storage, "d")
    with pytest.raises(StorageError):
        storage.database.probe(write=False)
    assert 3 == len(heard)
    storage.close()
    assert "a" == found(url, "abcd")


def test_commit_without_an_answer_is_looked_up(server: PostgresServer) -> None:
    """Made it counts as made, and what waits for it is called; not made it is an error."""
    url = server.create_database()
    for is_cut_before, expected in ((True, ""), (False, "a")):
        engine = PostgresEngine(connect(url), session=CutSession)
        storage = engine.open()
        session = storage.database.session  # type: ignore[attr-defined]
        session.is_cut_before, session.is_cut_after = is_cut_before, not is_cut_before
        told: list[str] = []
        refused = ""
        try:
            with storage.database.transaction():
                storage.store.spaces.write_document(SPACE, "a", b"1", 0.0)
                storage.database.after_commit(partial(told.append, "a"))
        except StorageError as error:
            refused = str(error)
        storage.close()
        assert (expected, bool(expected)) == ("".join(told), not refused)
        assert expected == found(url, "a")


def test_nobody_can_tell_while_the_server_is_down(server: PostgresServer) -> None:
    """A commit without an answer is in doubt then; whoever starts later finds what is there."""
    url = server.create_database()
    storage = PostgresEngine(connect(url), session=CutSession).open()
    session = storage.database.session  # type: ignore[attr-defined]
    session.server, session.is_cut_after, session.is_server_killed = server, True, True
    with pytest.raises(CommitInDoubt):
        write(storage, "a")
    with pytest.raises(CommitInDoubt):
        write(storage, "b")
    storage.close()
    server.restart()
    assert "a" == found(url, "ab")


def test_later_schema_is_refused_and_left_alone(server: PostgresServer) -> None:
    """What a later version wrote is not touched."""
    url = server.create_database()
    opened(url).close()
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("UPDATE schema_version SET version = version + 1")
        with pytest.raises(SchemaTooNew, match="nothing was changed"):
            opened(url)
        assert (2,) == other.execute("SELECT version FROM schema_version").fetchone()


def test_database_that_cannot_be_opened_is_one_sentence(server: PostgresServer) -> None:
    """With the reason, and without the password."""
    for url in (
        server.url("nowhere"),
        server.url().replace(f":{server.port}/", ":1/"),
        server.url(password="wrong"),
    ):
        with pytest.raises(DataDirectoryError, match="The database cannot be opened: ") as told:
            connect(url)
        assert "\n" not in str(told.value)
        assert PASSWORD not in str(told.value)


def test_charms_are_found_without_the_index_of_texts(server: PostgresServer) -> None:
    """Where pg_trgm is not to be had, all of the schema is made but for that index."""
    url = server.create_database()
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("DROP ROLE IF EXISTS plain")
        owner.execute("CREATE ROLE plain LOGIN PASSWORD 'plain'")
        owner.execute("REVOKE CREATE ON DATABASE " + url.rpartition("/")[2] + " FROM PUBLIC")
        owner.execute("GRANT CREATE ON SCHEMA public TO plain")
    plain = url.replace(url.partition("//")[2].partition("@")[0], "plain:plain")
    storage = opened(plain)
    assert [] == [one for one in storage.doctor.examine(1.0, None) if one is not None]
    storage.close()


def test_driver_is_not_loaded_without_a_server() -> None:
    """Whoever has a file of SQLite needs no driver, and does not pay for it."""
    script = "import bg_charm_service.storage.engines, sys; sys.exit('psycopg' in sys.modules)"
    assert 0 == subprocess.run([sys.executable, "-c", script], check=False).returncode
