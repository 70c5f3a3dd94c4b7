"""Takes connections from one listening socket, a few at a turn of the loop.

On ports it stops while the process has few descriptors left: workers, files and the service's own
socket need them more. Where more come than are taken in a second, it stops too. Whoever knocks
meanwhile waits in the kernel's queue, which costs nobody anything. Used by the server.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import sys
from collections.abc import Callable

from loguru import logger

from bg_charm_service.api.rates import Rates
from bg_charm_service.domain.clock import SystemClock

#: So many connections are taken before others get their turn.
_ACCEPTS_A_TURN = 16

#: How long nobody is let in when there is no room, in seconds.
_PAUSE_SECONDS = 0.1

#: How often it is told that connections are refused, or wait, in seconds.
_TELL_SECONDS = 5.0

_OWN_DESCRIPTORS = "/proc/self/fd"

#: Takes an accepted connection, and the address of its other end.
Take = Callable[[socket.socket, tuple[object, ...]], None]


class Acceptor:
    """Takes connections until it is closed; `reserved` descriptors stay free for others.

    No more than `a_second` are taken in a second, and as many at once; 0 for any number.
    """

    def __init__(
        self,
        listener: socket.socket,
        take: Take,
        refusals: Refusals,
        reserved: int,
        a_second: float = 0.0,
    ) -> None:
        self._listener = listener
        self._take = take
        self._refusals = refusals
        self._reserved = reserved
        self._rates = Rates(a_second) if a_second else None
        self._loop = asyncio.get_running_loop()
        self._again: asyncio.TimerHandle | None = None
        self._listen()

    def close(self) -> None:
        """Take nobody in any more; closing twice is fine."""
        if self._again is not None:
            self._again.cancel()
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()

    def _listen(self) -> None:
        self._loop.add_reader(self._listener.fileno(), self._accept_some)

    def _accept_some(self) -> None:
        room = _ACCEPTS_A_TURN
        if self._reserved:
            room = min(room, free_descriptors() - self._reserved)
        for _ in range(room):
            if self._rates is not None and not self._rates.admits(0, self._loop.time()):
                self._pause("more come than are taken in a second")
                return
            try:
                connection, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(error.strerror or str(error))
                return
            self._take(connection, address)
        if room <= 0:
            self._pause("the descriptors that are left are kept for workers")

    def _pause(self, reason: str) -> None:
        self._refusals.tell("Connections wait: {}", reason)
        self._loop.remove_reader(self._listener.fileno())
        self._again = self._loop.call_later(_PAUSE_SECONDS, self._listen)


class Refusals:
    """Tells the log that there is no room, now and then, however often that is."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._not_before = 0.0
        self._untold = 0

    def tell(self, text: str, *values: object) -> None:
        """Tell it, unless that was done a moment ago: then it is counted."""
        now = self._clock.steady()
        if now < self._not_before:
            self._untold += 1
            return
        more = f" ({self._untold} times more since the last line)" if self._untold else ""
        logger.bind(event="connections_refused", count=self._untold + 1).warning(
            text + "{}", *values, more
        )
        self._not_before, self._untold = now + _TELL_SECONDS, 0


def free_descriptors() -> int:
    """How many more descriptors this process may have."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    try:
        # Linux 6.2 tells the number as a size, which saves listing them.
        used = os.stat(_OWN_DESCRIPTORS).st_size or len(os.listdir(_OWN_DESCRIPTORS))
    except FileNotFoundError:
        used = len(os.listdir("/dev/fd"))
    except OSError:
        return 0
    return limit - used
