"""Commits that have numbers, so that one that failed can be told from one that only said so.

The newest number stands in the table `totals`. A commit that failed is overwritten in the log, so
that no crash brings it back. Used by the database alone.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress

from loguru import logger

from bg_charm_service.domain.errors import ChangeInDoubt, CommitInDoubt

_COUNT = """INSERT INTO totals VALUES ('commits', 1)
    ON CONFLICT DO UPDATE SET value = value + 1 RETURNING value"""
_NEWEST = "SELECT value FROM totals WHERE name = 'commits'"

#: After these no transaction is whole in the log: it was not begun, or a page of it not written.
_UNWRITTEN = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE}


class NumberedCommits:
    """Makes the commits of one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._changes_before = 0
        self._is_in_doubt = False

    def begin(self) -> None:
        """Begin a transaction that may write."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._changes_before = self._connection.total_changes

    @property
    def has_changes(self) -> bool:
        """Whether the transaction that is open has changed a row."""
        return self._connection.total_changes != self._changes_before

    def make(self) -> bool:
        """Commit; an error that comes after the fact is none, since all is on disk.

        Says whether a row was changed: a number is counted, and written, only then. After an error
        the change is not there, whatever happens next. Raises ChangeInDoubt when only a crash
        could bring it back, CommitInDoubt when nobody can tell.
        """
        number = self._count()
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if not self._is_made(number):
                self.undo_for_good(error)
                raise
            logger.bind(event="commit_late_error").warning(
                "The database reported an error for a change that it has made: {}", error
            )
        return number is not None

    def undo_for_good(self, error: sqlite3.Error) -> None:
        """See to it that no crash brings back what SQLite undid; raises ChangeInDoubt.

        A commit whose sync failed is whole in the log, behind the last one that counts: whoever
        opens the file after a crash takes it for made. What is committed next takes its place.
        """
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_IOERR)
        if self._connection.in_transaction or code in _UNWRITTEN:
            return
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(_COUNT).fetchone()
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            with suppress(sqlite3.Error):
                self._connection.rollback()
            raise ChangeInDoubt(error) from error

    def check(self) -> None:
        """Raise CommitInDoubt after a commit that nobody can tell of.

        What is in memory may contradict what is on disk: nothing more may be decided by it.
        """
        if self._is_in_doubt:
            raise CommitInDoubt

    def _count(self) -> int | None:
        """Give this commit its number; None when there is nothing to commit."""
        if not self.has_changes:
            return None
        (number,) = self._connection.execute(_COUNT).fetchone()
        return int(number)

    def _is_made(self, number: int | None) -> bool:
        if self._connection.in_transaction:
            return False
        if number is None:
            return True
        try:
            row = self._connection.execute(_NEWEST).fetchone()
        except sqlite3.Error as error:
            self._is_in_doubt = True
            raise CommitInDoubt from error
        # Before the first commit there is none.
        return row is not None and bool(row[0] == number)
