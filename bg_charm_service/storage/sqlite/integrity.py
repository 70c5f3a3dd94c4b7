"""Whether a database file that nobody has open is whole, and one of ours.

Reads every page, which takes seconds for hundreds of megabytes: the service has it done in a
child process (`main`), commands do it themselves. Never called on a file that is in use.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from bg_charm_service.domain.errors import CannotExamine
from bg_charm_service.storage.records import FileFacts

#: So many problems of one file are told.
_MOST_PROBLEMS = 5

#: What SQLite says of a damaged file. Anything else kept it from looking, as a full disk does.
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
_TOO_SHORT = sqlite3.SQLITE_IOERR_SHORT_READ

#: The check lists pages that it could not read as problems, with the code of the error.
_UNREAD = re.compile(r"error code=(\d+)")

#: Tables that every schema of ours has had.
_OURS = {"charms", "ack_queue_jobs", "totals"}


def facts_of(path: Path) -> FileFacts:
    """Look at a file's kind only; one that is no database is not ours, and has its reason.

    Raises CannotExamine when it cannot be looked at.
    """
    try:
        with _opened(path) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
            return FileFacts(is_ours=tables >= _OURS, schema_version=version)
    except sqlite3.Error as error:
        _check_is_damage(path, error)
        return FileFacts(is_ours=False, schema_version=0, problems=(str(error),))


def problems_of(path: Path) -> list[str]:
    """Read the whole file; gives what is damaged in it, nothing for a sound one.

    Raises CannotExamine when something kept it from being read: that says nothing of the file.
    """
    try:
        with _opened(path) as connection:
            return problems_in(path, connection)
    except sqlite3.Error as error:
        _check_is_damage(path, error)
        return [str(error)]


def problems_in(path: Path, connection: sqlite3.Connection) -> list[str]:
    """Read all that a connection to a file sees, its log too; gives and raises as `problems_of`."""
    try:
        rows = connection.execute(f"PRAGMA integrity_check({_MOST_PROBLEMS})").fetchall()
        problems = [str(row[0]) for row in rows if row[0] != "ok"]
        for problem in problems:
            code = _UNREAD.search(problem)
            if code and not _is_damage(int(code[1])):
                raise CannotExamine(path, f"disk I/O error, {code[0]}")
        lost = connection.execute("PRAGMA foreign_key_check").fetchmany(_MOST_PROBLEMS)
        problems += [f"row {row[1]} of {row[0]} refers to no row of {row[2]}" for row in lost]
        return problems
    except sqlite3.Error as error:
        _check_is_damage(path, error)
        return [str(error)]


def main(path: str) -> None:
    """Print the problems of a file as JSON, or what kept it from being read, as a text."""
    os.nice(10)
    told: list[str] | str
    try:
        told = problems_of(Path(path))
    except CannotExamine as error:
        told = str(error)
    json.dump(told, sys.stdout)


def _check_is_damage(path: Path, error: sqlite3.Error) -> None:
    """Raise CannotExamine for an error that says nothing of the file."""
    if not _is_damage(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)):
        raise CannotExamine(path, error) from None


def _is_damage(code: int) -> bool:
    return code & 0xFF in _DAMAGE or code == _TOO_SHORT


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    # Immutable: no lock, and no log or index beside a file that is only looked at.
    connection = sqlite3.connect(f"file:{quote(os.fspath(path))}?mode=ro&immutable=1", uri=True)
    try:
        yield connection
    finally:
        connection.close()
