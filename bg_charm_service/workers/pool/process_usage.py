"""What a process uses, read from outside (memory, threads, processor time), and its end by force.

Linux tells it in two small files, which cost some microseconds; elsewhere psutil is asked. What all
together use costs less still, and tells when it is worth to ask for each.
`Processes` belongs to a zygote's client; a simulation brings its own. Used by the pool, several
times a second for each run.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

import psutil

from bg_charm_service.workers.protocol.processes import children_of, end_group, read_proc

#: What counts as memory: a process's own pages, those it shares with others, swapped ones, and
#: the tables of all, which grow with every page that is only looked at.
_MEMORY = (b"RssAnon", b"RssShmem", b"VmSwap", b"VmPTE")
_THREADS = b"Threads"
_SWITCHES = (b"voluntary_ctxt_switches", b"nonvoluntary_ctxt_switches")

#: A process cannot put a line of its own there: its name stands in one line, whatever it holds.
_FIGURE = re.compile(rb"^(%b):\s+(\d+)" % b"|".join((*_MEMORY, _THREADS, *_SWITCHES)), re.MULTILINE)

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

#: Where user and system time stand in a `stat` file, behind the name: of the process, and of
#: those of its children that it has waited for.
_TIMES = slice(11, 15)

#: Nobody counted them.
_UNKNOWN = -1

#: Its fourth word is `running/all`, in threads of the whole machine.
_LOAD = "/proc/loadavg"
_LOAD_THREADS = 3


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process uses at one moment; the processor time is all since its start.

    `switches` says how often its main thread has begun or ceased to wait.
    """

    memory_bytes: int = 0
    threads: int = 0
    cpu_seconds: float = 0.0
    switches: int = _UNKNOWN

    def is_still(self, before: Usage) -> bool:
        """Whether no thread of it has run since an earlier moment, a fraction of a second ago."""
        return self.threads == 1 and self.switches != _UNKNOWN and self == before


def read_usage(pid: int) -> Usage | None:
    """Read what a process uses; None when it is gone."""
    try:
        status = read_proc(f"/proc/{pid}/status")
    except OSError:
        return _ask_psutil(pid)
    figures = {name: int(value) for name, value in _FIGURE.findall(status)}
    if _THREADS not in figures:
        return _ask_psutil(pid)
    # A process that has ended and was not waited for has no memory to tell of.
    memory = sum(figures.get(name, 0) for name in _MEMORY) * 1024
    switches = sum(figures.get(name, 0) for name in _SWITCHES)
    return Usage(memory, figures[_THREADS], read_cpu_seconds(pid), switches)


@dataclass(frozen=True, slots=True)
class Totals:
    """What all processes of the machine have together; 0: unknown.

    `free_bytes` is the room on a disk, `unused_bytes` the memory that nothing is kept in, not even
    files that were read.
    """

    threads: int = 0
    free_bytes: int = 0
    unused_bytes: int = 0


def read_totals(directory: Path | None) -> Totals:
    """Read the totals, the room where a directory lies; takes some microseconds."""
    threads = free_bytes = unused_bytes = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        threads = int(read_proc(_LOAD).split()[_LOAD_THREADS].partition(b"/")[2])
    if directory is not None:
        with contextlib.suppress(OSError):
            disk = os.statvfs(directory)
            free_bytes = disk.f_bfree * disk.f_frsize
    with contextlib.suppress(OSError, ValueError):
        # One system call, and no file to read.
        unused_bytes = os.sysconf("SC_AVPHYS_PAGES") * _PAGE_BYTES
    return Totals(threads, free_bytes, unused_bytes)


def read_cpu_seconds(pid: int) -> float:
    """Read the processor time of a process since its start; 0 when it is gone."""
    try:
        # The name comes second, in brackets, and may hold any character.
        _, _, rest = read_proc(f"/proc/{pid}/stat").rpartition(b")")
        return sum(map(int, rest.split()[_TIMES])) / _TICKS_PER_SECOND
    except OSError:
        usage = _ask_psutil(pid)
        return usage.cpu_seconds if usage else 0.0


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
