"""How many descriptors a process may still open, whatever numbers it has open by then.

The kernel gives the lowest free number, and a limit says which numbers there are at all. What else
a test process has open lies between them with holes, so a limit is found by what is free.
"""

from __future__ import annotations

import itertools
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager


def limit_leaving(room: int, pid: int) -> int:
    """Give the limit under which a process can open exactly so many descriptors more."""
    # Asked one by one: a listing of one's own would have itself in it.
    free = (fd for fd in itertools.count() if not os.path.lexists(f"/proc/{pid}/fd/{fd}"))
    return next(itertools.islice(free, room, None))


@contextmanager
def limited_to(limit: int, pid: int | None = None) -> Iterator[None]:
    """Let a process, this one unless told, have only descriptors below a number meanwhile."""
    pid = os.getpid() if pid is None else pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
