"""How long the service's loop works at a stretch: its steps, as processor time and as wall time.

While one step lasts nobody else is served: no run starts, no request is answered. A step is all
that runs between two calls of the loop's selector, whosever it is; so the selector measures. The
processor time is that of the loop's thread, which others on the machine cannot lengthen. What a
step did is told by those who note it as they begin. The daemon makes its loop with this; the
status shows it.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

#: The maximum is told of so many seconds, and of the whole life.
WINDOW_SECONDS = 60

#: A shorter step is not looked at, in seconds.
_FLOOR_SECONDS = 0.001

#: A step of so much processor time is told of in the log, in seconds.
SLOW_SECONDS = 0.1

#: No step is to take more processor time than this, in seconds.
BOUND_SECONDS = 0.25

#: What a step did is told by so many names at most.
_MOST_NAMES = 5


@dataclass(frozen=True, slots=True)
class SlowSteps:
    """The slowest of the slow steps since somebody asked, and how many there were."""

    count: int
    cpu_seconds: float
    wall_seconds: float
    did: str


@dataclass(slots=True)
class _Second:
    second: int
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0


class LoopSteps:
    """The longest steps; all zero while no loop is measured."""

    def __init__(
        self,
        thread_seconds: Callable[[], float] = time.thread_time,
        wall_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._thread_seconds = thread_seconds
        self._wall_seconds = wall_seconds
        #: The longest step since the start, in seconds of processor and of wall time; it need not
        #: be the same one.
        self.longest_cpu_seconds = 0.0
        self.longest_wall_seconds = 0.0
        self._recent: deque[_Second] = deque(maxlen=WINDOW_SECONDS)
        #: What the step under way has noted so far.
        self.names: list[tuple[str, tuple[object, ...]]] = []
        self._slow: SlowSteps | None = None

    def note(self, name: str, *values: object) -> None:
        """Say what is done in this step; `values` are formatted into the name if it is slow."""
        # One more than is told: that there are more is told too. Where no loop is measured, nobody
        # takes them away.
        if len(self.names) <= _MOST_NAMES:
            self.names.append((name, values))

    def forget(self) -> None:
        """Begin anew: what was done before anybody was served kept nobody waiting."""
        self.longest_cpu_seconds = self.longest_wall_seconds = 0.0
        self._recent.clear()
        self._slow = None

    def record(self, cpu_seconds: float, wall_seconds: float) -> None:
        """Count a step that is over."""
        self.longest_cpu_seconds = max(self.longest_cpu_seconds, cpu_seconds)
        self.longest_wall_seconds = max(self.longest_wall_seconds, wall_seconds)
        number = int(self._wall_seconds())
        if not self._recent or self._recent[-1].second != number:
            self._recent.append(_Second(number))
        second = self._recent[-1]
        second.cpu_seconds = max(second.cpu_seconds, cpu_seconds)
        second.wall_seconds = max(second.wall_seconds, wall_seconds)
        if cpu_seconds >= SLOW_SECONDS:
            self._record_slow(cpu_seconds, wall_seconds)

    def longest_recent(self) -> tuple[float, float]:
        """The longest step of the last minute, in seconds of processor and of wall time."""
        oldest = int(self._wall_seconds()) - WINDOW_SECONDS
        recent = [second for second in self._recent if second.second >= oldest]
        return (
            max((second.cpu_seconds for second in recent), default=0.0),
            max((second.wall_seconds for second in recent), default=0.0),
        )

    def take_slow(self) -> SlowSteps | None:
        """Give the slow steps since the last time; None for none."""
        slow, self._slow = self._slow, None
        return slow

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """Make a loop whose steps are measured."""
        return asyncio.SelectorEventLoop(self.new_selector())

    def new_selector(self) -> selectors.BaseSelector:
        """Make the selector that measures."""
        return _MeasuringSelector(self, self.names, self._thread_seconds, self._wall_seconds)

    def _record_slow(self, cpu_seconds: float, wall_seconds: float) -> None:
        slowest, count = self._slow, 1
        if slowest is not None:
            count += slowest.count
        if slowest is None or cpu_seconds > slowest.cpu_seconds:
            slowest = SlowSteps(count, cpu_seconds, wall_seconds, self._did())
        self._slow = SlowSteps(count, slowest.cpu_seconds, slowest.wall_seconds, slowest.did)

    def _did(self) -> str:
        names = [
            name.format(*values) if values else name for name, values in self.names[:_MOST_NAMES]
        ]
        more = ["…"] if len(self.names) > _MOST_NAMES else []
        return "; ".join([*names, *more]) or "unknown"


# Found once: to look it up at each turn takes a tenth of what measuring costs.
_select = selectors.DefaultSelector.select


class _MeasuringSelector(selectors.DefaultSelector):
    """The selector of a loop: between its calls lies what the loop runs.

    Called at each turn, so all of it is in one method.
    """

    def __init__(
        self,
        steps: LoopSteps,
        names: list[tuple[str, tuple[object, ...]]],
        thread_seconds: Callable[[], float],
        wall_seconds: Callable[[], float],
    ) -> None:
        super().__init__()
        self._steps = steps
        self._names = names
        self._thread_seconds = thread_seconds
        self._wall_seconds = wall_seconds
        self._cpu_began = thread_seconds()
        self._wall_began = wall_seconds()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        cpu = self._thread_seconds()
        took = self._wall_seconds() - self._wall_began
        # No step uses more processor time than wall time.
        if took > _FLOOR_SECONDS:
            self._steps.record(cpu - self._cpu_began, took)
        # What the selector itself uses counts as the next step's: asking twice costs as much again.
        self._cpu_began = cpu
        if self._names:
            self._names.clear()
        try:
            return _select(self, timeout)
        finally:
            self._wall_began = self._wall_seconds()
