"""How many runs ended in each minute of the last hour; in memory, for the small chart.

Fed by the status board with each settlement.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from bg_charm_service.domain.outcome_policy import RunStatus
from bg_charm_service.service.status.views import MinuteView

#: How many minutes are kept.
MINUTES = 60


@dataclass(slots=True)
class _Minute:
    number: int
    successes: int = 0
    failures: int = 0


class RunHistory:
    """Counts by minute; times are seconds since the epoch."""

    def __init__(self) -> None:
        self._minutes: deque[_Minute] = deque(maxlen=MINUTES)

    def note(self, status: RunStatus, now: float) -> None:
        """Count a run that ended; one that was cancelled or is run again says nothing."""
        number = int(now // 60)
        if not self._minutes or self._minutes[-1].number < number:
            self._minutes.append(_Minute(number))
        self._minutes[-1].successes += status is RunStatus.SUCCESS
        self._minutes[-1].failures += status is RunStatus.FAILURE

    def last_hour(self, now: float) -> tuple[MinuteView, ...]:
        """Every minute of the last hour, the oldest first, those without runs too."""
        counted = {minute.number: minute for minute in self._minutes}
        newest = int(now // 60)
        shown = []
        for number in range(newest - MINUTES + 1, newest + 1):
            minute = counted.get(number) or _Minute(number)
            shown.append(MinuteView(number * 60.0, minute.successes, minute.failures))
        return tuple(shown)
