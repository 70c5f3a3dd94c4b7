"""How a worker comes to be: what the zygote prepares once, and what a forked child does first.

The child leaves everything of the zygote's behind, and gets its limits and walls, before any code
of a charm is near. Called by the zygote; the work itself is the business of `worker`.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Collection
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from typing import NoReturn

from bg_charm_service.domain.errors import SandboxError
from bg_charm_service.domain.limits import Limits, Walls
from bg_charm_service.sdk.fields import prepare_adapters
from bg_charm_service.workers import sandbox
from bg_charm_service.workers.protocol.messages import TO_WORKER, RunSpec, WorkerSettings
from bg_charm_service.workers.protocol.processes import (
    close_all_fds_but,
    die_with_parent,
    keep_own_status_open,
    set_handler,
    set_subreaper,
)
from bg_charm_service.workers.protocol.start_tickets import TicketBox
from bg_charm_service.workers.runtime.worker import Worker
from bg_charm_service.workers.sandbox import Wall, WallPlan

#: A thread's stack, in bytes: small, so that the memory limit allows many threads, and large
#: enough for deep recursion through C code, which would crash the worker otherwise.
_STACK_BYTES = 2 * 1024 * 1024

#: Of addresses a sandboxed worker may map so many bytes, used or not: far more than any library
#: reserves, and too little to fill memory with page tables, which no other limit counts.
_ADDRESS_BYTES = 64 * 1024**3

#: So many signals and timers of a sandboxed worker may be pending: one store is a user's, for all.
_PENDING_SIGNALS = 1024

#: The zygote makes runs of this: what they build, the first charm of each worker need not wait for.
_WARM_SOURCE = """
from bg_charm_service import Charm

class Warm(Charm):
    count: int = 0
    note: str = ""

    async def bg_updater(self, event: dict) -> None:
        if not self.note:
            self.count += 1
"""

#: So many workers are played, with so many runs in each: the interpreter makes code faster while it
#: runs, and each worker would begin anew.
_WARM_WORKERS, _WARM_RUNS = 8, 4


def preload() -> None:
    """Import and build what every worker needs, so that forked ones have it already."""
    faulthandler.enable()
    # Inherited, as are these limits.
    threading.stack_size(_STACK_BYTES)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    prepare_adapters()
    for _ in range(_WARM_WORKERS):
        _warm_up()


def _warm_up() -> None:
    """Be a worker that makes some runs, without walls and in this process."""
    ours, theirs = socket.socketpair()
    box = TicketBox()
    tickets = socket.socket(fileno=os.dup(box.their_fd))
    # A worker takes the output of its process for its own.
    with ours, theirs, tickets, redirect_stdout(sys.stdout), redirect_stderr(sys.stderr):
        numbers = range(1, _WARM_RUNS + 1)
        box.put(numbers)
        box.close()
        ours.sendall(b"".join(TO_WORKER.encode(_warm_run(number)) for number in numbers))
        ours.shutdown(socket.SHUT_WR)
        worker = Worker(
            theirs, tickets, lambda _: None, retire_bytes=0, scratch="", has_walls=False
        )
        worker.serve()
        worker.close()


def _warm_run(number: int) -> RunSpec:
    return RunSpec(
        run_id=f"{number}.1",
        job_id=number,
        attempt=1,
        space="",
        charm_id="",
        source_hash=str(number),
        source=_WARM_SOURCE,
        file_name="warm.py",
        class_name="Warm",
        stream="bgUpdater",
        event=b"{}",
        values={"count": b"1"},
        large=(),
        links={},
        last_success=None,
        limits=Limits(),
    )


class WorkerPreparation:
    """What a worker is given when it is forked; made by the zygote, which has its tools at hand.

    To be closed once the worker is there.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        self.missing = frozenset(map(Wall, settings.missing_walls) if settings.has_walls else Wall)
        self.names = sandbox.name_files() if Wall.FILES not in self.missing else None
        self._plan: WallPlan | None = None
        self._problem = ""
        if settings.has_walls:
            try:
                sandbox.prepare(self.missing)
                self._plan = WallPlan(settings.scratch, self.missing)
            except SandboxError as error:
                self._problem = str(error)

    @property
    def fds(self) -> set[int]:
        """What the worker needs open until it is behind its walls."""
        return self._plan.fds if self._plan is not None else set()

    def raise_walls(self) -> None:
        """Put this process behind its walls; raises SandboxError."""
        if self._problem:
            raise SandboxError(self._problem)
        if self._plan is not None:
            _lower(resource.RLIMIT_AS, _ADDRESS_BYTES)
            _lower(resource.RLIMIT_SIGPENDING, _PENDING_SIGNALS)
            self._plan.enforce()
        self.close()

    def close(self) -> None:
        """Close what was open for the worker; closing twice is fine."""
        if self._plan is not None:
            self._plan.close()
            self._plan = None


def run_worker(
    connection_fd: int, out_fd: int, err_fd: int, tickets_fd: int, preparation: WorkerPreparation
) -> NoReturn:
    """Be a worker; called in the forked child, never returns to the zygote's code."""
    zygote_pid = os.getppid()
    os.setsid()
    die_with_parent(zygote_pid)
    os.dup2(out_fd, 1)
    os.dup2(err_fd, 2)
    signal.set_wakeup_fd(-1)
    close_all_fds_but({0, 1, 2, connection_fd, tickets_fd} | preparation.fds)
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD):
        set_handler(name, signal.SIG_DFL)
    set_subreaper()
    faulthandler.enable(2, all_threads=False)
    keep_own_status_open()
    settings = preparation.settings
    _set_environment(settings)
    if settings.scratch:
        os.chdir(settings.scratch)
    try:
        preparation.raise_walls()
    except SandboxError as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(os.EX_CONFIG)
    Worker(
        socket.socket(fileno=connection_fd),
        socket.socket(fileno=tickets_fd),
        partial(confine, missing=preparation.missing),
        retire_bytes=settings.retire_bytes,
        scratch=settings.scratch,
        has_walls=settings.has_walls,
        outdated=partial(_why_outdated, preparation.names),
    ).serve()
    os._exit(0)


def confine(walls: Walls, missing: Collection[Wall]) -> None:
    """Set the limits of this process, hard: it can lower them further, but never raise them."""
    # First: it takes a descriptor and some memory.
    if Wall.NETWORK not in missing:
        sandbox.allow_ports(walls.ports)
    for resource_no, most in (
        (resource.RLIMIT_DATA, walls.memory_bytes),
        (resource.RLIMIT_NOFILE, walls.open_files),
        (resource.RLIMIT_FSIZE, walls.file_bytes),
    ):
        if most:
            _lower(resource_no, most)


def _why_outdated(names: dict[str, tuple[int, int]] | None) -> str:
    """Say when this machine's names are resolved by other files now, which may not be read here.

    What may be read is settled when the walls are raised; a new worker can read the new files.
    """
    return "" if names in (None, sandbox.name_files()) else "old settings for names"


def _set_environment(settings: WorkerSettings) -> None:
    """Set what is this worker's alone; not before it is forked, or its zygote grew with each."""
    if settings.scratch:
        # Everything temporary goes there.
        os.environ |= dict.fromkeys(("HOME", "TMPDIR", "TEMP", "TMP"), settings.scratch)
    tempfile.tempdir = settings.scratch or None
    if settings.has_walls:
        # The system's resolver reads it at its first question: UDP is not allowed, TCP is.
        os.environ["RES_OPTIONS"] = "use-vc"


def _lower(resource_no: int, most: int) -> None:
    """Set a limit for good, unless it is lower already."""
    _, hard = resource.getrlimit(resource_no)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource_no, (most, most))
