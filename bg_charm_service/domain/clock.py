"""Time, as an argument.

Three readings: `now` is the wall clock, recorded and shown, and what times of cron follow; `steady`
looks like it but never jumps while the process lives, and is what everything else is scheduled by;
`awake` measures how long something has taken. Simulations bring their own.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the service needs of time, in float seconds."""

    def now(self) -> float:
        """Seconds since the epoch, as the machine's clock says."""

    def steady(self) -> float:
        """Seconds since the epoch as of the start, and all since, also while the machine slept."""

    def awake(self) -> float:
        """Seconds since any moment, but not those in which the machine slept."""


class SystemClock:
    """The machine's clocks."""

    def __init__(self) -> None:
        self._offset_seconds = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)

    def now(self) -> float:
        return time.time()

    def steady(self) -> float:
        return self._offset_seconds + time.clock_gettime(time.CLOCK_BOOTTIME)

    def awake(self) -> float:
        return time.monotonic()


class AwakeClock:
    """A clock that stands still while the machine sleeps, for what measures how long a run takes.

    A run that was under way then has not used that time, and is not stopped for it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> float:
        return self._clock.now()

    def steady(self) -> float:
        return self._clock.awake()

    def awake(self) -> float:
        return self._clock.awake()
