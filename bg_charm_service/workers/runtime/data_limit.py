"""The kernel's limit of a worker's data, set so that it counts memory that is really used.

The kernel counts what a process has mapped, touched or not, and libraries map much that they never
touch: OpenBLAS 40 MB for each thread, others the stacks and arenas of their pools. So what is found
untouched once a class is loaded comes on top of what the charm may use, up to a bound. What is
really used is measured from outside as well, which no charm can change. Used by the worker.
"""

from __future__ import annotations

import resource

from bg_charm_service.domain.limits import Walls
from bg_charm_service.workers.protocol.processes import own_untouched_bytes

#: What libraries may map and never touch, beside a charm's limit: in all, and for each processor
#: that they may use after the first.
UNTOUCHED_BYTES = 128 * 1024 * 1024
UNTOUCHED_BYTES_A_PROCESSOR = 48 * 1024 * 1024

#: The function itself: calls of a charm's, who may find another in its place, are noted.
_setrlimit = resource.setrlimit


class DataLimit:
    """The limit of this process, set for good as far as no charm can get past it.

    None is set where the walls have none.
    """

    def __init__(self, walls: Walls) -> None:
        self._memory_bytes = walls.memory_bytes
        more = UNTOUCHED_BYTES + UNTOUCHED_BYTES_A_PROCESSOR * (walls.processors - 1)
        most = walls.memory_bytes + more
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        self._most_bytes = most if hard == resource.RLIM_INFINITY else min(most, hard)
        self.widen()

    def widen(self) -> None:
        """Let libraries be loaded, whatever they map."""
        self._set(self._most_bytes)

    def narrow(self) -> None:
        """Let a run use what its charm may use, beside what is mapped and not touched by now."""
        self._set(min(self._memory_bytes + own_untouched_bytes(), self._most_bytes))

    def _set(self, soft: int) -> None:
        if self._memory_bytes:
            _setrlimit(resource.RLIMIT_DATA, (soft, self._most_bytes))
