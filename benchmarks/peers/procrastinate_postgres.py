"""procrastinate on PostgreSQL: two of its workers, each a process, with many jobs at a time.

PostgreSQL is as it comes: fsync and synchronous_commit are on. Jobs that are over stay, as its
defaults say, so that their outcome is recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.contender import process
from benchmarks.peers.programs import environ, installed
from benchmarks.peers.servers import postgres

TASKS = "benchmarks.peers.procrastinate_tasks"

#: How many jobs one worker has under way: more than its default of 1, which is slower.
CONCURRENCY = 30

#: Queued in one statement.
BATCH = 1000


class ProcrastinatePostgres:
    """A contender."""

    name = "procrastinate, PostgreSQL"
    walls = "none"
    note = "two procrastinate workers, 30 jobs each at a time; PostgreSQL as it comes; jobs kept"

    def __init__(self, total: int) -> None:
        self.total = total
        self._where = ""
        self._connection: Any = None

    @contextmanager
    def prepare(self, folder: Path) -> Iterator[None]:
        """Start PostgreSQL, make the tables and queue the tasks."""
        import psycopg
        from procrastinate import App, SyncPsycopgConnector

        with postgres(folder) as self._where:
            with App(connector=SyncPsycopgConnector(conninfo=self._where)).open() as app:
                app.schema_manager.apply_schema()
                task = app.configure_task("count_on")
                for first in range(0, self.total, BATCH):
                    last = min(first + BATCH, self.total)
                    task.batch_defer(*({"counter": number} for number in range(first, last)))
            with psycopg.connect(self._where, autocommit=True) as self._connection:
                yield

    @contextmanager
    def run(self) -> Iterator[None]:
        """Run two workers."""
        app = f"--app={TASKS}.app"
        command = (installed("procrastinate"), app, "worker", f"--concurrency={CONCURRENCY}")
        with ExitStack() as stack:
            for _ in range(2):
                stack.enter_context(process(*command, environ=environ(POSTGRES=self._where)))
            yield

    def count(self) -> int:
        """Count the jobs that succeeded."""
        found = self._connection.execute(
            "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'"
        )
        return int(found.fetchone()[0])
