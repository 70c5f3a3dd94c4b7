"""huey with SqliteHuey: its consumer with two worker processes, durable, results stored.

As its documentation advises where tasks compute: `huey_consumer -k process -w 2`, `fsync=True`.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.contender import process
from benchmarks.peers.programs import environ, installed

TASKS = "benchmarks.peers.huey_tasks"


class HueySqlite:
    """A contender."""

    name = "huey, SQLite"
    walls = "none"
    note = "SqliteHuey, fsync=True; huey_consumer -k process -w 2; results stored"

    def __init__(self, total: int) -> None:
        self.total = total
        self._file = ""
        self._queue: Any = None

    @contextmanager
    def prepare(self, folder: Path) -> Iterator[None]:
        """Queue the tasks, without waiting for the disk: that is not what is measured."""
        from huey.storage import SqliteStorage

        self._file = str(folder / "huey.db")
        os.environ["HUEY_FILE"] = self._file
        # The instance of an earlier round has another file.
        sys.modules.pop(TASKS, None)
        tasks = importlib.import_module(TASKS)
        self._queue = tasks.huey
        storage = SqliteStorage("bench", filename=self._file, fsync=False)
        for number in range(self.total):
            storage.enqueue(self._queue.serialize_task(tasks.count.s(number)))
        storage.close()
        yield
        self._queue.storage.close()

    @contextmanager
    def run(self) -> Iterator[None]:
        """Run its consumer."""
        flags = ("-k", "process", "-w", "2", "-q")
        with process(
            *(installed("huey_consumer"), f"{TASKS}.huey", *flags),
            environ=environ(HUEY_FILE=self._file),
        ):
            yield

    def count(self) -> int:
        """Count the results that are stored."""
        return int(self._queue.result_count())
