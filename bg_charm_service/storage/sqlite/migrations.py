"""Brings the schema of a database up to date, by the steps that it lacks.

`PRAGMA user_version` holds the number of the last step that was applied. Called by the
database when it is opened.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from bg_charm_service.domain.errors import SchemaTooNew
from bg_charm_service.storage.sqlite.schema_steps import STEPS

__all__ = ["STEPS", "check_version", "migrate"]


def migrate(connection: sqlite3.Connection) -> None:
    """Apply the steps that are missing, in one transaction; raises SchemaTooNew untouched."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    check_version(version)
    if version == len(STEPS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in STEPS[version:]:
            for statement in _statements(step):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(STEPS)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def check_version(version: int, what: str = "The database") -> None:
    """Raise SchemaTooNew for a schema that a later version of the service made."""
    if version > len(STEPS):
        raise SchemaTooNew(
            f"{what} has schema {version}, this version of the service knows up to "
            f"{len(STEPS)}. Install the version that wrote it, or a later one; nothing was changed."
        )


def _statements(sql: str) -> Iterator[str]:
    """Take SQL apart; `executescript` would commit the transaction. A trigger holds semicolons."""
    statement = ""
    for piece in sql.split(";"):
        statement += piece
        if sqlite3.complete_statement(f"{statement};"):
            if statement.strip():
                yield statement
            statement = ""
        else:
            statement += ";"
    if statement.strip(" ;\n"):
        yield statement
