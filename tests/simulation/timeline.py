"""Simulated time: the clocks of a machine, and an event loop whose sleeping costs nothing.

Sockets are real and polled; where nothing is ready, the loop's next timer is at once due. The
loop stops before any callback where the world wants the process dead.
"""

from __future__ import annotations

import asyncio
import selectors
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any

#: So many turns of the loop without time passing mean that it does not sleep any more.
BUSY_TURNS = 20_000

#: Real machines take time for everything; a turn of the loop is charged this much, in seconds.
TURN_SECONDS = 0.0001


class Killed(SystemExit):
    """The simulated process ended here, as by kill -9; asyncio lets this pass at once."""


class Stuck(AssertionError):
    """The loop turns without sleeping, or sleeps for ever."""


class Timeline:
    """The machine's clocks, in seconds: `monotonic` only grows, `wall` can be set.

    While the machine sleeps `monotonic` stands still, and timers with it; `boottime` goes on.
    """

    def __init__(self, wall: float) -> None:
        self.wall = wall
        self.monotonic = 1000.0
        self._slept = 0.0

    @property
    def boottime(self) -> float:
        """Give the clock that goes on while the machine sleeps."""
        return self.monotonic + self._slept

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.wall += seconds
        self.monotonic += seconds

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Let no time have passed, whatever is done inside."""
        wall, monotonic = self.wall, self.monotonic
        yield
        self.wall, self.monotonic = wall, monotonic

    def jump(self, seconds: float) -> None:
        """Set the wall clock, as a person or NTP does."""
        self.wall += seconds

    def sleep(self, seconds: float) -> None:
        """Suspend the machine: no timer comes nearer, and nobody is told."""
        self.wall += seconds
        self._slept += seconds


class LifeClock:
    """The clock of one life of the service."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._offset = timeline.wall - timeline.boottime

    def now(self) -> float:
        """Give the wall clock."""
        return self._timeline.wall

    def steady(self) -> float:
        """Give the clock that never jumps in this life."""
        return self._offset + self._timeline.boottime

    def awake(self) -> float:
        """Give the clock that stands still while the machine sleeps."""
        return self._timeline.monotonic


class _Selector(selectors.PollSelector):
    """Polls real sockets, and lets simulated time pass where none is ready."""

    def __init__(self, timeline: Timeline) -> None:
        super().__init__()
        self._timeline = timeline
        self._registered = 0
        self._order: dict[int, int] = {}
        self._turns = 0
        self.on_turn: Callable[[], None] = lambda: None

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = super().register(fileobj, events, data)
        self._registered += 1
        self._order[key.fd] = self._registered
        return key

    def forget_turns(self) -> None:
        """Let the loop take as many turns without sleeping as a new one."""
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.on_turn()
        # Numbers of descriptors differ from process to process; the order of registering does not.
        ready = sorted(super().select(0), key=lambda found: self._order[found[0].fd])
        if ready or (timeout is not None and timeout <= 0):
            self._turns += 1
            self._timeline.advance(TURN_SECONDS)
            if self._turns > BUSY_TURNS:
                raise Stuck(f"the loop took {BUSY_TURNS} turns without sleeping")
            return ready
        if timeout is None:
            raise Stuck("everybody waits, and nothing will ever happen")
        self._turns = 0
        self._timeline.advance(timeout)
        return ready


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop on simulated time."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._polls = _Selector(timeline)
        super().__init__(self._polls)
        self._callbacks_left: int | None = None
        self._tasks: list[weakref.ref[asyncio.Task[Any]]] = []
        self.set_task_factory(self._make_task)

    def living_tasks(self) -> list[asyncio.Task[Any]]:
        """Give the tasks that are not done, in the order in which they were made.

        The set that asyncio has is in the order of addresses, another one each time.
        """
        self._tasks = [each for each in self._tasks if (task := each()) and not task.done()]
        return [task for each in self._tasks if (task := each()) is not None]

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coroutine, loop=loop, **options)
        self._tasks.append(weakref.ref(task))
        return task

    def time(self) -> float:
        return self._timeline.monotonic

    def watch_turns(self, on_turn: Callable[[], None]) -> None:
        """Call before each turn of the loop, when no callback is under way."""
        self._polls.on_turn = on_turn

    def kill_after(self, callbacks: int | None) -> None:
        """End the process before the callback after so many more: at any await; None for never."""
        self._callbacks_left = callbacks

    def disarm(self) -> None:
        """Let the rest of a process end undisturbed."""
        self._callbacks_left = None
        self._polls.on_turn = lambda: None
        self._polls.forget_turns()

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        return super().call_soon(self._call, callback, *args, context=context)

    def _call(self, callback: Callable[..., object], *args: Any) -> None:
        if self._callbacks_left is not None:
            self._callbacks_left -= 1
            if self._callbacks_left < 0:
                self._callbacks_left = None
                # Whoever ends what is left of the process must find it waiting.
                super().call_soon(callback, *args)
                raise Killed("at an await")
        callback(*args)
