"""How many files and connections the process may have, and how they are divided.

Workers come first, then the service's own files, then connections: without a worker nothing is
done, without a connection somebody waits. Called by the daemon as it starts.
"""

from __future__ import annotations

import resource
import sys
from contextlib import suppress

from loguru import logger

from bg_charm_service.api.connections import ConnectionLimits

#: What one worker takes while it is started: its ends of two sockets and of a pipe, and ours.
_OF_A_WORKER = 6

#: What the service takes for itself: the database, scans, checks, its own socket and logs.
_OF_THE_SERVICE = 80

#: So many are free when a connection on a port is taken: much of the above comes and goes.
_RESERVED = 48

#: However few there are, somebody can come in.
_FEWEST_CONNECTIONS = 16


def allow_many_files() -> None:
    """Have as many files open as may be: what is usual is 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some systems allow less than they say.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connection_limits(max_connections: int, max_per_peer: int, *, workers: int) -> ConnectionLimits:
    """Give how many connections there may be on ports, beside so many workers."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        soft = sys.maxsize
    room = max(_FEWEST_CONNECTIONS, soft - workers * _OF_A_WORKER - _OF_THE_SERVICE)
    if room < max_connections:
        logger.bind(event="connections_limited").info(
            "At most {} connections are taken instead of {}: this process may have {} files open, "
            "and {} workers need theirs",
            room,
            max_connections,
            soft,
            workers,
        )
    return ConnectionLimits(
        most=min(max_connections, room),
        of_a_peer=max_per_peer,
        reserved=min(_RESERVED, soft // 4),
    )
