"""Commits that have numbers, so that one that failed can be told from one that only said so.

Each node counts its own, in a row that only it writes. A COMMIT that was sent and has no answer, or
an error for one, is looked up by another session. Used by the database alone.
"""

from __future__ import annotations

import psycopg
from loguru import logger

from bg_charm_service.domain.errors import CommitInDoubt
from bg_charm_service.storage.postgres.session import Session

_BEGIN_LIFE = "INSERT INTO commits (node, number) VALUES ($1, 0)"
_NEWEST = "SELECT number FROM commits WHERE node = $1"
_COUNT = "UPDATE commits SET number = $2 WHERE node = $1"

#: Waits until the session that wrote the number last has ended its transaction, one way or the
#: other: while the server is still at it, neither is true.
_SETTLED = f"{_NEWEST} FOR UPDATE"
_PATIENCE = "SET lock_timeout = '5s'"


class NumberedCommits:
    """Makes the commits of one session."""

    def __init__(self, session: Session, node: int) -> None:
        self._session = session
        self._node = node
        self.has_changes = False
        self._is_in_doubt = False
        row = session.run(_NEWEST, (node,)).fetchone()
        if row is None:
            session.run(_BEGIN_LIFE, (node,))
        self._number = int(row[0]) if row is not None else 0

    def begin(self) -> None:
        """Begin a transaction that may write."""
        self.has_changes = False
        self._session.run("BEGIN")

    def make(self) -> bool:
        """Commit; an error that comes after the fact is none, since all is on disk.

        Says whether a row was changed: a number is counted, and written, only then. After an error
        the change is not there, whatever happens next. Raises CommitInDoubt when nobody can tell.
        """
        number = self._number + 1
        if self.has_changes:
            self._session.run(_COUNT, (self._node, number))
        try:
            self._session.run("COMMIT")
        except psycopg.Error as error:
            if self.has_changes and not self._is_made(number):
                raise
            logger.bind(event="commit_late_error").warning(
                "The database reported an error for a change that it has made: {}", error
            )
        if self.has_changes:
            self._number = number
        return self.has_changes

    def check(self) -> None:
        """Raise CommitInDoubt after a commit that nobody can tell of.

        What is in memory may contradict what is on disk: nothing more may be decided by it.
        """
        if self._is_in_doubt:
            raise CommitInDoubt

    def _is_made(self, number: int) -> bool:
        if self._session.can_go_back:
            return False
        try:
            with self._session.beside() as other:
                cursor = psycopg.RawCursor(other)
                cursor.execute(_PATIENCE)
                row = cursor.execute(_SETTLED, (self._node,)).fetchone()
        except psycopg.Error as error:
            self._is_in_doubt = True
            raise CommitInDoubt from error
        return row is not None and bool(row[0] == number)
