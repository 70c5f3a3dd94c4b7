"""What a charm prints and logs, inside the worker: caught line by line and sent at once.

At once, because a worker that crashes must not take its last words with it. Bounded, so that
a charm that floods its log harms only its own; one that goes on and on is stopped. Used by the
worker.
"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable
from functools import cache
from threading import Lock
from typing import TextIO, cast

from loguru import logger

from bg_charm_service.domain.limits import Limits


def _ignore() -> None:
    """Stop nothing: outside of a run there is none that floods."""


def _drop(_run_id: str, _text: str) -> None:
    """Send nothing: nobody is connected."""


class LogCapture(io.TextIOBase):
    """Stands in for stdout and stderr; outside a run what is written is dropped."""

    def __init__(self) -> None:
        self._send: Callable[[str, str], None] = _drop
        self._lock = Lock()
        self._run_id = ""
        self._left = 0
        self._line = ""
        self._until_flood = 0
        self._stop_run: Callable[[], None] = _ignore

    def connect(self, send: Callable[[str, str], None]) -> None:
        """Send what runs write, with the id of each, by this from now on."""
        self._send = send

    def begin(self, run_id: str, limits: Limits, stop_run: Callable[[], None]) -> None:
        """Attribute what follows to a run, up to its limit; `stop_run` when it floods."""
        with self._lock:
            self._run_id, self._left, self._line = run_id, limits.log_bytes, ""
            self._until_flood = limits.flood_bytes
            self._stop_run = stop_run

    def end(self) -> None:
        """Send an unfinished line; what follows belongs to no run."""
        with self._lock:
            self._emit(self._line)
            self._run_id, self._line = "", ""
            self._stop_run = _ignore

    def close(self) -> None:
        """Stay open: it belongs to the process, not to the charm that has it now."""

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def write(self, text: str) -> int:
        """Send the whole lines of the text, and keep the rest until its line ends."""
        with self._lock:
            self._count(len(text))
            if not self._run_id or self._left < 0:
                return len(text)
            lines = self._line + text[: self._left + 1]
            whole, newline, self._line = lines.rpartition("\n")
            self._emit(whole + newline)
            if len(self._line) > self._left:
                self._emit(self._line)
                self._line = ""
        return len(text)

    def _count(self, characters: int) -> None:
        self._until_flood -= characters
        if self._until_flood < 0:
            stop_run, self._stop_run = self._stop_run, _ignore
            stop_run()

    def _emit(self, text: str) -> None:
        if not text or self._left < 0:
            return
        data = text.encode("utf-8", "backslashreplace")
        if len(data) > self._left:
            text = data[: self._left].decode("utf-8", "ignore") + "\n… the rest was dropped\n"
            self._left = -1
        else:
            self._left -= len(data)
            text = data.decode("utf-8")
        self._send(self._run_id, text)


@cache
def prepare() -> LogCapture:
    """Make what stands in for this process's output, and let logging and loguru write to it.

    Once, in the process that forks workers: it takes longer than all else that one begins with.
    """
    output = LogCapture()
    logging.basicConfig(
        stream=output, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", force=True
    )
    # It tells of each request in a line of its own, which fills a log that is bounded.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    logger.remove()
    # Charms remove the sink that loguru begins with by its number, as its documentation says.
    logger._core.handlers_count = 0  # type: ignore[attr-defined]
    sink = cast(TextIO, output)
    logger.add(sink, level="DEBUG", format="{level} {name}: {message}", diagnose=False)
    return output


def capture() -> LogCapture:
    """Take what is printed, and what goes through logging and loguru, from now on."""
    output = prepare()
    sys.stdout = sys.stderr = output
    return output
