"""Whether a database file that nobody has open is whole, and one of ours.

Reads every page, which takes seconds for hundreds of megabytes: the service has it done in a
child process (`main`), commands do it themselves. Never called on a file that is in use.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from bg_charm_service.storage.records import FileFacts

#: So many problems of one file are told.
_MOST_PROBLEMS = 5

#: Tables that every schema of ours has had.
_OURS = {"charms", "ack_queue_jobs", "totals"}


def facts_of(path: Path) -> FileFacts:
    """Look at a file's kind only; one that is no database is not ours, and has its reason."""
    try:
        with _opened(path) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
            return FileFacts(is_ours=tables >= _OURS, schema_version=version)
    except sqlite3.Error as error:
        return FileFacts(is_ours=False, schema_version=0, problems=(str(error),))


def problems_of(path: Path) -> list[str]:
    """Read the whole file; gives what is damaged in it, nothing for a sound one."""
    try:
        with _opened(path) as connection:
            rows = connection.execute(f"PRAGMA integrity_check({_MOST_PROBLEMS})").fetchall()
            problems = [str(row[0]) for row in rows if row[0] != "ok"]
            lost = connection.execute("PRAGMA foreign_key_check").fetchmany(_MOST_PROBLEMS)
            problems += [f"row {row[1]} of {row[0]} refers to no row of {row[2]}" for row in lost]
            return problems
    except sqlite3.Error as error:
        return [str(error)]


def main(path: str) -> None:
    """Print the problems of a file as JSON; what the child process does."""
    os.nice(10)
    json.dump(problems_of(Path(path)), sys.stdout)


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    # Immutable: no lock, and no log or index beside a file that is only looked at.
    connection = sqlite3.connect(f"file:{quote(os.fspath(path))}?immutable=1", uri=True)
    try:
        yield connection
    finally:
        connection.close()
