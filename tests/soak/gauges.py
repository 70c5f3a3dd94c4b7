"""What the service holds: memory, descriptors, processes, files; and how much of each is allowed.

Read from outside, from /proc and the file system. A limit is what the settings of the kill loop
allow, with room for what SQLite and Python keep; it does not grow with time.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import psutil

from bg_charm_service.storage.data_directory import DATABASE_NAME
from bg_charm_service.supervisor.loop_steps import BOUND_SECONDS
from tests.process.running import Service, slow_steps
from tests.soak.cast import (
    CONNECTIONS_OF_A_PEER,
    HISTORY_JOBS,
    HISTORY_RUNS,
    RUN_LOG_BYTES,
    WORKERS,
)

MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Reading:
    """How much of each there is, or may be; the names are those of the report."""

    database_bytes: int = 0
    wal_bytes: int = 0
    supervisor_memory_bytes: int = 0
    supervisor_descriptors: int = 0
    processes: int = 0
    step_cpu_ms: int = 0

    def or_more(self, other: Reading) -> Reading:
        """The higher of two readings, each part by itself."""
        mine, theirs = asdict(self), asdict(other)
        return Reading(**{name: max(mine[name], theirs[name]) for name in mine})

    def excesses(self, limits: Reading) -> list[str]:
        """Each part that is over its limit, as a line."""
        return [
            f"{name} reached {getattr(self, name):,}, allowed are {getattr(limits, name):,}"
            for name in (field.name for field in fields(self))
            if getattr(self, name) > getattr(limits, name)
        ]


def limits(charms: int) -> Reading:
    """What so many charms may make the service hold.

    A run's row holds its output and up to 24 kB beside it; a job and the fields of a charm, with
    the largest that the traffic sets, take the rest.
    """
    history = charms * HISTORY_RUNS * (RUN_LOG_BYTES + 24 * 1024)
    jobs = HISTORY_JOBS * 4096
    state = charms * 256 * 1024
    return Reading(
        database_bytes=history + jobs + state + 16 * MEGABYTE,
        # It is folded in at 8 MB, in the transaction after; the file is cut to 16 MB then.
        wal_bytes=24 * MEGABYTE,
        supervisor_memory_bytes=256 * MEGABYTE,
        # Three for each worker and its predecessors that are not reaped yet, connections, and the
        # service's own.
        supervisor_descriptors=64 + 2 * 3 * WORKERS + CONNECTIONS_OF_A_PEER,
        # Workers that end while others start, what charms leave behind, the zygote, a scan.
        processes=4 * WORKERS + 4,
        # What the loop does at a stretch, as processor time: nothing that is sent or left by a run
        # may keep it longer.
        step_cpu_ms=round(BOUND_SECONDS * 1000),
    )


def read(service: Service) -> Reading:
    """Look at a running service; what ends meanwhile counts as nothing.

    The steps of its loop are those that its log tells of: it may be stopped or ending when this
    looks, and a request would wait.
    """
    database, log = (service.data_dir / f"{DATABASE_NAME}{tail}" for tail in ("", "-wal"))
    memory = descriptors = processes = 0
    with suppress(psutil.Error):
        process = psutil.Process(service.pid)
        memory, descriptors = process.memory_info().rss, process.num_fds()
        processes = len(process.children(recursive=True))
    return Reading(
        _size(database), _size(log), memory, descriptors, processes, longest_step_cpu_ms(service)
    )


def longest_step_cpu_ms(service: Service) -> int:
    """The longest step of the loop that the log of this life tells of; 0 for none worth a line."""
    return max((line["cpu_ms"] for line in slow_steps(service.lines)), default=0)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
