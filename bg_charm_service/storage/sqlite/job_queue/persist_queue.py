"""persist-queue's SQLiteAckQueue, bent onto the database's own connection.

Owns the class's plumbing and nothing of the queue's rules, which are the same in any database.
The only importer of persistqueue. What the stock class would do behind the transaction's back
(open, commit, close) is refused.
"""

from __future__ import annotations

from typing import Any, NoReturn

from persistqueue.serializers import json as json_serializer
from persistqueue.sqlackqueue import SQLiteAckQueue

from bg_charm_service.storage.records import KEEP_DONE
from bg_charm_service.storage.sql.job_queue.job_queue import JobQueue as SQLJobQueue
from bg_charm_service.storage.sqlite.database import Database


class StockQueue(SQLiteAckQueue):
    """The stock queue `jobs` on a connection that it neither commits nor closes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        super().__init__(path="", auto_resume=False, name="jobs", serializer=json_serializer)

    def _init(self) -> None:
        # The stock class would open and close a connection of its own, and create the table.
        self._getter = self._putter = self._database.connection  # type: ignore[assignment]

    def close(self) -> None:
        """Leave the connection to the database, which owns it."""

    def __del__(self) -> None:
        """Leave the connection to the database, which owns it."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("stock operations commit by themselves; use put_poll, claim, retry, bury")

    put = get = nack = ack_failed = update = _refuse
    clear_acked_data = resume_unack_tasks = shrink_disk_usage = _refuse


class JobQueue(SQLJobQueue, StockQueue):  # type: ignore[misc]
    """The jobs of all charms in the stock queue's table, which a stock queue can read."""

    def __init__(self, database: Database, *, keep_done: int = KEEP_DONE) -> None:
        StockQueue.__init__(self, database)
        SQLJobQueue.__init__(self, database, keep_done=keep_done)

    @property
    def size(self) -> int:
        """Jobs that wait, as the stock class calls them."""
        return self._backlog.pending

    def active_size(self) -> int:
        """Jobs that wait or run, as the stock class calls them."""
        return self._backlog.pending + self._backlog.claimed
