"""Worker processes as the supervisor holds them: it reads what they use, and kills them.

Belongs to a zygote's client; a simulation brings its own. Used by the worker handles.
"""

from __future__ import annotations

import contextlib

import psutil

from bg_charm_service.workers.pool.process_usage import Usage, read_usage
from bg_charm_service.workers.protocol.processes import children_of, end_group


class Processes:
    """The machine's processes, by their ids; one that is gone uses nothing."""

    def usage(self, pid: int) -> Usage | None:
        """Read what a process uses; None when it is gone."""
        return read_usage(pid)

    def stands_still(self, pid: int, now: Usage, before: Usage) -> bool:
        """Whether nothing of a process has run between two readings, nor of what it started."""
        return now.is_still(before) and not children_of(pid)

    def own_bytes(self, pid: int) -> int:
        """Read what a process holds in memory and shares with nobody; not cheap."""
        with contextlib.suppress(psutil.Error, OSError):
            return int(psutil.Process(pid).memory_full_info().uss)
        return 0

    def end_group(self, pid: int) -> None:
        """Kill a process and the group that it leads; one that is gone already is fine."""
        end_group(pid)
