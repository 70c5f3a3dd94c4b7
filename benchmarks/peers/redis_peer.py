"""What peers on Redis have in common: a server for each round, and two of its databases.

The server keeps an append-only file that is on disk before a command is answered, because the
others wait for the disk too. Tasks wait in database 0, results are stored in database 1.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.contender import process
from benchmarks.peers.programs import environ
from benchmarks.peers.servers import make_durable, redis


class RedisPeer:
    """A contender whose module of tasks reads `REDIS`, and has `fill` to queue tasks."""

    name: str
    note: str
    walls = "none"
    #: The module of tasks.
    tasks: str
    #: The database with the results.
    results_in = 1

    def __init__(self, total: int) -> None:
        self.total = total
        self._url = ""
        self._results: Any = None

    def command(self) -> tuple[str, ...]:
        """Give what runs the workers."""
        raise NotImplementedError

    @contextmanager
    def prepare(self, folder: Path) -> Iterator[None]:
        """Start Redis and queue the tasks."""
        from redis import Redis

        with redis(folder) as self._url:
            os.environ["REDIS"] = self._url
            # The module of an earlier round speaks to another server.
            sys.modules.pop(self.tasks, None)
            module: ModuleType = importlib.import_module(self.tasks)
            module.fill(self.total)
            make_durable(self._url)
            with Redis.from_url(f"{self._url}/{self.results_in}") as self._results:
                yield

    @contextmanager
    def run(self) -> Iterator[None]:
        """Run the workers."""
        with process(*self.command(), environ=environ(REDIS=self._url)):
            yield

    def count(self) -> int:
        """Count the results: each has a key of its own."""
        return int(self._results.dbsize())
