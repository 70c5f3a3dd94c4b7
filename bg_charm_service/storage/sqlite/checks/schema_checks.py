"""Checks of the database as a whole: its tables and indexes, and the size of its log."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from bg_charm_service.storage.records import Severity, Trouble
from bg_charm_service.storage.sql.checks.findings import Scope
from bg_charm_service.storage.sqlite.migrations import STEPS, migrate

#: The log is cut to 16 MB after each checkpoint; one that grew to this was not folded for long.
LARGE_LOG_BYTES = 64 * 1024 * 1024

_OBJECTS = """SELECT name, type, sql FROM sqlite_master
    WHERE sql IS NOT NULL AND name NOT LIKE 'charm\\_texts\\_%' ESCAPE '\\'"""


def schema(scope: Scope) -> Iterator[Trouble | None]:
    """Every table, index and trigger of this version's schema is there, and as it should be."""
    (version,) = scope.database.row("PRAGMA user_version")
    if version != len(STEPS):
        text = f"The database has schema {version}, and this version of the service {len(STEPS)}"
        yield Trouble("schema", Severity.ERROR, text)
        return
    found = {row[0]: row[2] for row in scope.database.rows(_OBJECTS)}
    yield None
    wanted = _wanted()
    lost = [name for name, (kind, _) in wanted.items() if name not in found and kind == "table"]
    other = [name for name, (_, sql) in wanted.items() if name in found and found[name] != sql]
    missing = [name for name in wanted if name not in found and name not in lost]
    if lost:
        yield Trouble("schema", Severity.ERROR, "that are missing", "Tables", tuple(lost))
    if other:
        text = "that are not as this version made them"
        yield Trouble("schema", Severity.ERROR, text, "Tables and indexes", tuple(other))
    if missing and not lost:
        text, things = "that are missing", "Indexes and triggers"
        yield Trouble("schema", Severity.ERROR, text, things, tuple(missing), mend=_make)


def log_size(scope: Scope) -> Iterator[Trouble | None]:
    """The write-ahead log is folded into the file now and then."""
    row = scope.database.row("SELECT file FROM pragma_database_list WHERE name = 'main'")
    log = Path(f"{row[0]}-wal")
    size = log.stat().st_size if row[0] and log.exists() else 0
    yield None
    if size > LARGE_LOG_BYTES:
        text = f"The write-ahead log has grown to {size / 1024 / 1024:.0f} MB"
        yield Trouble("log", Severity.WARNING, text, mend=_fold)


@cache
def _wanted() -> dict[str, tuple[str, str]]:
    """The kind and the text of everything in a new database."""
    fresh = sqlite3.connect(":memory:", isolation_level=None)
    try:
        migrate(fresh)
        return {name: (kind, sql) for name, kind, sql in fresh.execute(_OBJECTS)}
    finally:
        fresh.close()


def _make(scope: Scope, name: str) -> None:
    scope.database.execute(_wanted()[name][1])


def _fold(scope: Scope, _: object) -> None:
    # No part of a transaction: that would keep it from being done.
    def fold() -> None:
        scope.database.rows("PRAGMA wal_checkpoint(TRUNCATE)")

    scope.database.after_commit(fold)
