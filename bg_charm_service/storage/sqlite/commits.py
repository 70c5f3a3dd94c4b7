"""Commits that have numbers, so that one that failed can be told from one that only said so.

The newest number stands in the table `totals`. Used by the database alone.
"""

from __future__ import annotations

import sqlite3

from loguru import logger

from bg_charm_service.domain.errors import CommitInDoubt

_COUNT = """INSERT INTO totals VALUES ('commits', 1)
    ON CONFLICT DO UPDATE SET value = value + 1 RETURNING value"""
_NEWEST = "SELECT value FROM totals WHERE name = 'commits'"


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

    def make(self) -> bool:
        """Commit; an error that comes after the fact is none, since all is on disk.

        Says whether a row was changed: a number is counted, and written, only then. Raises
        CommitInDoubt when nobody can tell.
        """
        number = self._count()
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if not self._is_made(number):
                raise
            logger.bind(event="commit_late_error").warning(
                "The database reported an error for a change that it has made: {}", error
            )
        return number is not None

    def check(self) -> None:
        """Raise CommitInDoubt after a commit that nobody can tell of.

        What is in memory may contradict what is on disk: nothing more may be decided by it.
        """
        if self._is_in_doubt:
            raise CommitInDoubt

    def _count(self) -> int | None:
        """Give this commit its number; None when there is nothing to commit."""
        if self._connection.total_changes == self._changes_before:
            return None
        (number,) = self._connection.execute(_COUNT).fetchone()
        return int(number)

    def _is_made(self, number: int | None) -> bool:
        if self._connection.in_transaction:
            return False
        if number is None:
            return True
        try:
            (newest,) = self._connection.execute(_NEWEST).fetchone()
        except sqlite3.Error as error:
            self._is_in_doubt = True
            raise CommitInDoubt from error
        return bool(newest == number)
