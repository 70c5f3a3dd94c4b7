"""What processes use, read from outside: processor time, memory, bytes written.

Linux only, as the service's walls are. Used by the scenarios.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Usage:
    """What processes and all below them have used at a moment.

    `pss_bytes` counts a page that several share once, in parts. Processes that ended count with
    their processor time and what they wrote, since whoever waited for them has it.
    """

    cpu_seconds: float
    pss_bytes: int
    written_bytes: int


def usage_of(pids: Iterable[int]) -> Usage:
    """Read what the processes use, with their descendants."""
    cpu_seconds, pss_bytes, written_bytes = 0.0, 0, 0
    for process in tree(pids):
        with contextlib.suppress(psutil.NoSuchProcess):
            cpu_seconds += sum(process.cpu_times()[:4])
        pss_bytes += memory_bytes(process.pid)
        written_bytes += bytes_written(process.pid)
    return Usage(cpu_seconds, pss_bytes, written_bytes)


@dataclass(frozen=True, slots=True)
class ProcessorTime:
    """Processor time that a service has used; workers count with the process that forks them."""

    supervisor_seconds: float
    workers_seconds: float


def processor_time_of(pid: int) -> ProcessorTime:
    """Read the processor time of a service: of its own process, and of all that it started."""
    supervisor_seconds, workers_seconds = 0.0, 0.0
    for process in tree([pid]):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            own, ended_children = sum(times[:2]), sum(times[2:4])
            supervisor_seconds += own if process.pid == pid else 0.0
            workers_seconds += ended_children + (0.0 if process.pid == pid else own)
    return ProcessorTime(supervisor_seconds, workers_seconds)


def tree(pids: Iterable[int]) -> list[psutil.Process]:
    """Give the processes and everything that they started; those that are gone are left out."""
    found: list[psutil.Process] = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            found += [process, *process.children(recursive=True)]
    return found


def memory_bytes(pid: int) -> int:
    """Read the proportional set size of one process; 0 when it is gone."""
    return _entry(f"/proc/{pid}/smaps_rollup", "Pss") * 1024


def resident_bytes(pid: int) -> int:
    """Read the resident set size of one process; 0 when it is gone."""
    return _entry(f"/proc/{pid}/status", "VmRSS") * 1024


def peak_resident_bytes(pid: int) -> int:
    """Read the largest resident set size that one process has had; 0 when it is gone."""
    return _entry(f"/proc/{pid}/status", "VmHWM") * 1024


def bytes_written(pid: int) -> int:
    """Read what one process had written to disks, with its ended children; 0 when it is gone."""
    return _entry(f"/proc/{pid}/io", "write_bytes")


def _entry(path: str, name: str) -> int:
    """Read one number of a file of `NAME: VALUE` lines."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)
