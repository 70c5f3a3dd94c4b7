"""What the schema itself refuses of tokens and of the audit log, whoever asks."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from bg_charm_service.storage.contract import Store
from bg_charm_service.storage.records import KEPT_AUDIT_ENTRIES
from bg_charm_service.storage.sql.store import open_store
from bg_charm_service.storage.sqlite.database import Database
from tests.contract.test_access_records import append, make


@pytest.fixture
def database() -> Iterator[Database]:
    """An empty database in memory."""
    opened = Database.open(":memory:")
    yield opened
    opened.close()


@pytest.fixture
def store(database: Database) -> Store:
    """The store on it."""
    return open_store(database)


def test_a_name_has_one_live_token(store: Store) -> None:
    """Names tell tokens apart; one that was revoked frees its name."""
    make(store, "name")
    with pytest.raises(sqlite3.IntegrityError):
        store.tokens.add(
            b"other",
            name="name",
            space=None,
            read_only=False,
            made_by="operator",
            expires_at=None,
            now=100.0,
        )


def test_the_audit_log_is_append_only(database: Database, store: Store) -> None:
    """No statement changes an entry, or drops one of the newest."""
    append(store, 1)
    for sql in ("UPDATE audit SET caller = 'nobody'", "DELETE FROM audit"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            database.execute(sql)
    assert ["somebody"] == [each.caller for each in store.audit.newest(None, 10)]


def test_the_audit_log_is_bounded(database: Database, store: Store) -> None:
    """Only what a hundred thousand newer entries stand before is dropped."""
    append(store, 1)
    append(store, 2)
    database.execute(
        "INSERT INTO audit VALUES (?, 3, 'somebody', 'later', '', '', '')",
        (KEPT_AUDIT_ENTRIES + 1,),
    )
    append(store, 4)
    assert [4, 3] == [int(each.at) for each in store.audit.newest(None, 10)]
