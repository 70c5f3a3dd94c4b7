"""The requests of the run that this process makes, as `self.http` notes them.

One run at a time is made in a process: the worker begins a new log with each, and takes what is in
it when the run is over. Nothing is here, and nothing is done, where a run makes no request.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from bg_charm_service.domain.web.requests import (
    HOST_CHARACTERS,
    KEPT_AT_EACH_END,
    METHOD_CHARACTERS,
    TOLD_PATH_CHARACTERS,
    UNFINISHED,
    HttpRequest,
    short_path,
)


class OpenRequest:
    """A request under way; its row is written when it is over, whatever ends it."""

    def __init__(
        self, log: RequestLog, number: int, method: str, host: str, path: str, attempt: int
    ) -> None:
        self._log = log
        self._number = number
        self._names = (
            method[:METHOD_CHARACTERS],
            host[:HOST_CHARACTERS],
            short_path(_encodable(path), TOLD_PATH_CHARACTERS),
        )
        self._attempt = attempt
        self._begun = time.perf_counter()
        self.status = 0
        self.received_bytes = 0

    def end(self, fault: str = "") -> None:
        """Write the row; only the first end counts."""
        if self._log.close(self):
            self._log.add(self.row(fault))

    def row(self, fault: str) -> HttpRequest:
        """Tell what is known of it by now."""
        method, host, path = self._names
        milliseconds = (time.perf_counter() - self._begun) * 1000
        return HttpRequest(
            number=self._number,
            method=method,
            host=host,
            path=path,
            status=self.status,
            duration_ms=round(milliseconds, 3),
            received_bytes=self.received_bytes,
            attempt=self._attempt,
            fault=fault[:100],
        )


class RequestLog:
    """The first requests of a run and the last ones, however many it makes.

    `tell` hears of each when it goes out and when it is over, for a run that comes to no end.
    """

    def __init__(self, tell: Callable[[HttpRequest], None] | None = None) -> None:
        self.tell = tell
        self._first: list[HttpRequest] = []
        self._last: deque[HttpRequest] = deque(maxlen=KEPT_AT_EACH_END)
        self._open: set[OpenRequest] = set()
        self.count = 0

    def begin(self, method: str, host: str, path: str, attempt: int) -> OpenRequest:
        """Count a request that goes out now."""
        self.count += 1
        request = OpenRequest(self, self.count, method, host, path, attempt)
        self._open.add(request)
        if self.tell is not None:
            self.tell(request.row(UNFINISHED))
        return request

    def close(self, request: OpenRequest) -> bool:
        """Note that a request is over; False when it was before, or its run is."""
        if request not in self._open:
            return False
        self._open.remove(request)
        return True

    def add(self, request: HttpRequest) -> None:
        """Keep a request that is over."""
        self._keep(request)
        if self.tell is not None:
            self.tell(request)

    def take(self) -> tuple[HttpRequest, ...]:
        """Give what was kept, in the order of the requests, and begin anew.

        One that nobody has read to its end is over with the run.
        """
        for request in list(self._open):
            self._open.remove(request)
            self._keep(request.row(UNFINISHED))
        rows = sorted((*self._first, *self._last), key=lambda one: one.number)
        self._first, self.count = [], 0
        self._last.clear()
        return tuple(rows)

    def _keep(self, request: HttpRequest) -> None:
        kept = self._first if len(self._first) < KEPT_AT_EACH_END else self._last
        kept.append(request)


def _encodable(text: str) -> str:
    """Write halves of surrogate pairs as escapes, and what cannot be shown as a mark."""
    shown = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(letter if letter.isprintable() else "�" for letter in shown)


#: The requests of this process.
REQUESTS: Final = RequestLog()
