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
from benchmarks.service_process import ROOT


class HueySqlite:
    """A contender."""

    name = "huey, SQLite"
    walls = "none"
    note = "SqliteHuey, fsync=True; huey_consumer -k process -w 2; results stored"

    def __init__(self, total: int) -> None:
        self.total = total
        self._file = ""
        self._queue: Any = None

    def prepare(self, folder: Path) -> None:
        """Queue the tasks, without waiting for the disk: that is not what is measured."""
        from huey.storage import SqliteStorage

        self._file = str(folder / "huey.db")
        os.environ["HUEY_FILE"] = self._file
        sys.modules.pop("benchmarks.peers.huey_tasks", None)
        tasks = importlib.import_module("benchmarks.peers.huey_tasks")
        storage = SqliteStorage("bench", filename=self._file, fsync=False)
        for number in range(self.total):
            storage.enqueue(tasks.huey.serialize_task(tasks.count.s(number)))
        storage.close()
        self._queue = tasks.huey

    @contextmanager
    def run(self) -> Iterator[None]:
        """Run its consumer."""
        program = str(Path(sys.executable).parent / "huey_consumer")
        path = "benchmarks.peers.huey_tasks.huey"
        environ = {**os.environ, "HUEY_FILE": self._file, "PYTHONPATH": str(ROOT)}
        with process(program, path, "-k", "process", "-w", "2", "-q", environ=environ):
            yield
        self._queue.storage.close()

    def count(self) -> int:
        """Count the results that are stored."""
        return int(self._queue.result_count())
