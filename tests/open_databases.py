"""Holds that tests close the databases that they open, whichever Python runs them.

From 3.13 on Python warns of one that nobody closed when the collector finds it, which is mostly in
another test; before, it says nothing. Used by tests/conftest.py, once a file of tests is done.
"""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path
from types import FrameType
from typing import Any

_TESTS = str(Path(__file__).parent)


class OpenDatabases:
    """The connections that were made through `sqlite3.connect` since `watch`."""

    def __init__(self) -> None:
        self._connect = sqlite3.connect
        self._opened: list[tuple[sqlite3.Connection, str]] = []

    def watch(self) -> None:
        """Take note of each connection from now on."""
        sqlite3.connect = self._remember  # type: ignore[assignment]

    def stop(self) -> None:
        """Watch no more; stopping twice is fine."""
        sqlite3.connect = self._connect

    def left_open(self) -> list[str]:
        """Name where each of them was opened that is still open, and forget all."""
        opened, self._opened = self._opened, []
        return [place for connection, place in opened if _is_open(connection)]

    def _remember(self, *args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = self._connect(*args, **options)
        self._opened.append((connection, _place(sys._getframe(1))))
        return connection


def _is_open(connection: sqlite3.Connection) -> bool:
    try:
        return connection.total_changes >= 0
    except sqlite3.ProgrammingError:
        # It is closed; or another thread's, of which only that thread may ask.
        return False


def _place(frame: FrameType | None) -> str:
    """Name the line of the test or fixture that led here."""
    place = "outside of the tests"
    while frame is not None:
        if frame.f_code.co_filename.startswith(_TESTS):
            place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return place
