"""What a figure depends on: the machine, the kernel, Python and the versions of what was run."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.service_process import ROOT

#: Whose versions are told.
DISTRIBUTIONS = (
    *("msgspec", "pydantic", "persist-queue", "huey", "celery", "dramatiq", "rq"),
    *("procrastinate", "redis", "psycopg"),
)

_SYNCS = 200


@dataclass(frozen=True, slots=True)
class Machine:
    """Where something was measured; results of different ones are not compared."""

    processor: str
    cores: int
    memory_gb: int
    kernel: str
    python: str
    sqlite: str
    file_system: str
    #: How the interpreter was built, as far as that tells.
    built: str = ""


def this_machine(folder: Path) -> Machine:
    """Describe this machine, and the disk that a folder is on."""
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        memory_gb=round(psutil.virtual_memory().total / 2**30),
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        sqlite=sqlite3.sqlite_version,
        file_system=file_system(folder),
        built=how_built(sysconfig.get_config_var("CONFIG_ARGS") or "", sys.base_prefix),
    )


def how_built(configured: str, prefix: str) -> str:
    """Say whether an interpreter was optimized by a profile: without, it is a quarter slower.

    Distributions do it in ways of their own, of which the interpreter tells nothing.
    """
    words = [
        word
        for flag, word in (("--enable-optimizations", "PGO"), ("--with-lto", "LTO"))
        if flag in configured
    ]
    if words:
        return f"built with {' and '.join(words)}"
    return "of the system" if prefix == "/usr" else "built without PGO"


def versions() -> dict[str, str]:
    """Give the versions of the libraries that figures depend on; those that are not there go."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Give the commit of the checkout, with a plus where something was changed since."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def sync_ms(folder: Path) -> float:
    """Give how long the disk of a folder takes to have 4 kB for sure: the median of many."""
    times = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(_SYNCS):
            began = time.perf_counter()
            os.pwrite(file.fileno(), bytes(4096), 0)
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def file_system(folder: Path) -> str:
    """Give the kind of file system that a folder is on."""
    path = folder.resolve()
    mounted = [
        part for part in psutil.disk_partitions(all=True) if path.is_relative_to(part.mountpoint)
    ]
    return max(mounted, key=lambda part: len(part.mountpoint)).fstype if mounted else "unknown"


def _processor() -> str:
    """Give the processor's name; the kernel tells it on most machines."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
