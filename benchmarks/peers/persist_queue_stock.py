"""Stock persist-queue, SQLiteAckQueue in one process: put, get, ack, one after the other.

It has no workers, so this is the queue alone, with every task's row in its file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.contender import process
from benchmarks.peers.programs import environ

LOOP = "benchmarks.peers.persist_queue_loop"


class PersistQueueStock:
    """A contender."""

    name = "persist-queue, no workers"
    walls = "none"
    note = "SQLiteAckQueue in one process: put, get, ack; no state, no history"
    total = None

    def __init__(self) -> None:
        self._folder = Path()

    @contextmanager
    def prepare(self, folder: Path) -> Iterator[None]:
        """Make the file that the count stands in."""
        self._folder = folder
        (folder / "count").write_bytes(bytes(8))
        yield

    @contextmanager
    def run(self) -> Iterator[None]:
        """Run the loop."""
        with process(sys.executable, "-m", LOOP, str(self._folder), environ=environ()):
            yield

    def count(self) -> int:
        """Read the count."""
        return int.from_bytes((self._folder / "count").read_bytes(), "little")
