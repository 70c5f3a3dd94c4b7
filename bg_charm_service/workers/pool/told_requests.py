"""The requests that a run has told of while it was under way, for a run that is killed.

Of one that answers, the answer has them. Belongs to a worker as the supervisor sees it; nothing is
kept where a run makes no request.
"""

from __future__ import annotations

from dataclasses import replace

from bg_charm_service.domain.web.requests import (
    KEPT_AT_EACH_END,
    MOST_REQUESTS,
    UNFINISHED,
    HttpRequest,
)
from bg_charm_service.workers.protocol.messages import MOST_TOLD_REQUESTS


class ToldRequests:
    """The first requests of a run and the last ones, as far as it has told of them."""

    def __init__(self) -> None:
        self._rows: dict[int, tuple[HttpRequest, float]] = {}
        self._messages = 0

    def add(self, request: HttpRequest, now: float) -> str:
        """Keep what was told of a request, at `now` (s); says what is wrong with that."""
        self._messages += 1
        if self._messages > MOST_TOLD_REQUESTS:
            return "it tells of requests without end"
        known = self._rows.pop(request.number, None)
        self._rows[request.number] = request, known[1] if known is not None else now
        if len(self._rows) > MOST_REQUESTS:
            *_, middle = sorted(self._rows)[: KEPT_AT_EACH_END + 1]
            del self._rows[middle]
        return ""

    def rows(self, now: float) -> tuple[HttpRequest, ...]:
        """Give what is known of them, in their order; those under way have taken until `now`."""
        found = []
        for number in sorted(self._rows):
            row, begun = self._rows[number]
            if row.fault == UNFINISHED:
                took_ms = round(max(0.0, now - begun) * 1000, 3)
                row = replace(row, duration_ms=took_ms)
            found.append(row)
        return tuple(found)
