"""What a process uses, read from outside: memory, threads, processor time.

Linux tells it in two small files, which cost some microseconds; elsewhere psutil is asked.
Used by the pool, several times a second for each run.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import psutil

#: What counts as memory: a process's own pages, those it shares with others, swapped ones, and
#: the tables of all, which grow with every page that is only looked at.
_MEMORY = ("RssAnon", "RssShmem", "VmSwap", "VmPTE")

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

#: Where user and system time stand in a `stat` file, behind the name: of the process, and of
#: those of its children that it has waited for.
_TIMES = slice(11, 15)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process uses at one moment; the processor time is all since its start."""

    memory_bytes: int = 0
    threads: int = 0
    cpu_seconds: float = 0.0


def read_usage(pid: int) -> Usage | None:
    """Read what a process uses; None when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return _ask_psutil(pid)
    lines = (line.partition(":") for line in status.splitlines())
    values = {name: value.split() for name, _, value in lines}
    if "Threads" not in values:
        return _ask_psutil(pid)
    # A process that has ended and was not waited for has no memory to tell of.
    memory = sum(int(values[name][0]) for name in _MEMORY if name in values) * 1024
    return Usage(memory, int(values["Threads"][0]), read_cpu_seconds(pid))


def read_cpu_seconds(pid: int) -> float:
    """Read the processor time of a process since its start; 0 when it is gone."""
    try:
        # The name comes second, in brackets, and may hold any character.
        _, _, rest = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")
        return sum(int(ticks) for ticks in rest.split()[_TIMES]) / _TICKS_PER_SECOND
    except OSError:
        usage = _ask_psutil(pid)
        return usage.cpu_seconds if usage else 0.0


def _ask_psutil(pid: int) -> Usage | None:
    with contextlib.suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        memory, times = process.memory_info(), process.cpu_times()
        return Usage(
            memory.rss - getattr(memory, "shared", 0),
            process.num_threads(),
            times.user + times.system,
        )
    return None
