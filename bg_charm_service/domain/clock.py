"""Time, as an argument.

Two readings: `now` is the wall clock, only recorded and shown; `steady` looks like it but never
jumps while the process lives, and is what everything is scheduled by. Simulations bring their own.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the service needs of time, in float seconds."""

    def now(self) -> float:
        """Seconds since the epoch, as the machine's clock says."""

    def steady(self) -> float:
        """Seconds since the epoch as of the start, advanced by the monotonic clock."""


class SystemClock:
    """The machine's clocks."""

    def __init__(self) -> None:
        self._offset_seconds = time.time() - time.monotonic()

    def now(self) -> float:
        return time.time()

    def steady(self) -> float:
        return self._offset_seconds + time.monotonic()
