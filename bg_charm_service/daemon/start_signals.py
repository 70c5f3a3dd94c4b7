"""Signals during a start: none is lost, and none ends the program half way through a step.

They wait while modules are loaded, which takes most of a start's first second; then one ends the
program at once, until the loop of the service takes them over. Decides nothing of how a running
service stops. Called by the program's entry, the command line, and the daemon.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: What ends a start.
_STOPPING = (signal.SIGTERM, signal.SIGINT)

#: What is held: also what a service answers otherwise than by its end, which is the kernel's
#: answer as long as nobody says what to do.
_HELD = (*_STOPPING, signal.SIGHUP, signal.SIGUSR1)


def hold_signals() -> None:
    """Let signals wait until they are released."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)


def release_signals() -> None:
    """Let the signals come that wait; to be called before anything that may take long."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Inside, SIGTERM and SIGINT end the program at once with 0, as they do a service that runs.

    For what may take long and leaves nothing half made. SIGHUP and SIGUSR1 are for a service that
    runs, and wait. At the end everything is as before.
    """
    handlers = [(number, signal.signal(number, _end)) for number in _STOPPING]
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers:
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    # An exception could come up anywhere, and what it passed would have its say on the terminal.
    os._exit(0)
