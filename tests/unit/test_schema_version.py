"""The schema's number, read from the bytes of a database: what SQLite itself would say."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from bg_charm_service.storage.sqlite.schema_version import stored_schema_version


def numbers(*, fold: bool) -> list[str]:
    """Statements that set the schema's number twice, with other pages between."""
    return [
        "CREATE TABLE t (x)",
        "PRAGMA user_version = 3",
        *(["PRAGMA wal_checkpoint(TRUNCATE)"] if fold else []),
        "INSERT INTO t VALUES (zeroblob(50000))",
        "PRAGMA user_version = 4",
        "INSERT INTO t VALUES (zeroblob(50000))",
    ]


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("count", range(1, 8))
def test_number_is_what_sqlite_says(tmp_path: Path, count: int, *, fold: bool) -> None:
    """After each statement, with the log as a crash leaves it, both give the same number."""
    path, crashed = tmp_path / "live.db", tmp_path / "crashed.db"
    live = sqlite3.connect(path, isolation_level=None)
    live.execute("PRAGMA journal_mode = WAL")
    for statement in numbers(fold=fold)[:count]:
        live.execute(statement)
    for end in ("", "-wal"):
        if Path(f"{path}{end}").exists():
            shutil.copy(f"{path}{end}", f"{crashed}{end}")
    told = stored_schema_version(crashed)
    live.close()
    recovered = sqlite3.connect(crashed)
    assert recovered.execute("PRAGMA user_version").fetchone() == (told,)
    recovered.close()


def test_number_of_a_transaction_that_did_not_end(tmp_path: Path) -> None:
    """Pages in the log that no commit follows do not count."""
    path, crashed = tmp_path / "live.db", tmp_path / "crashed.db"
    live = sqlite3.connect(path, isolation_level=None)
    live.execute("PRAGMA journal_mode = WAL")
    live.execute("PRAGMA user_version = 3")
    live.execute("PRAGMA cache_size = 1")
    live.execute("BEGIN")
    live.execute("PRAGMA user_version = 9")
    live.execute("CREATE TABLE t (x)")
    for _ in range(20):
        live.execute("INSERT INTO t VALUES (zeroblob(50000))")
    shutil.copy(path, crashed)
    shutil.copy(f"{path}-wal", f"{crashed}-wal")
    assert 3 == stored_schema_version(crashed)
    live.close()


@pytest.mark.parametrize("content", [b"", b"x" * 5000, b"SQLite format 3\0"])
def test_no_database_has_number_0(tmp_path: Path, content: bytes) -> None:
    """A missing file, an empty one, and one that is no database have no schema."""
    assert 0 == stored_schema_version(tmp_path / "missing.db")
    (tmp_path / "other.db").write_bytes(content)
    (tmp_path / "other.db-wal").write_bytes(content)
    assert 0 == stored_schema_version(tmp_path / "other.db")
