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
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import partial
from typing import NoReturn

from bg_charm_service.domain.errors import SandboxError
from bg_charm_service.domain.limits import Limits, Walls
from bg_charm_service.sdk.fields import prepare_adapters
from bg_charm_service.sdk.tls_context import prepare_tls_context
from bg_charm_service.workers import sandbox
from bg_charm_service.workers.protocol.messages import (
    TO_WORKER,
    UNFIT_EXIT_CODE,
    RunSpec,
    WorkerSettings,
)
from bg_charm_service.workers.protocol.processes import (
    DEFAULT,
    close_all_fds_but,
    die_with_parent,
    keep_own_status_open,
    set_handler,
    set_subreaper,
)
from bg_charm_service.workers.protocol.start_tickets import TicketBox
from bg_charm_service.workers.runtime import lean_forks
from bg_charm_service.workers.runtime.data_limit import DataLimit
from bg_charm_service.workers.runtime.host_watch import HOSTS
from bg_charm_service.workers.runtime.shared_state import shared_state
from bg_charm_service.workers.runtime.worker import Bound, Tools, Worker
from bg_charm_service.workers.sandbox import Wall, WallPlan

#: A thread's stack, in bytes: small, so that the memory limit allows many threads, and large
#: enough for deep recursion through C code, which would crash the worker otherwise.
_STACK_BYTES = 2 * 1024 * 1024

_STDERR_FD = 2

#: Of addresses a sandboxed worker may map so many bytes, used or not: far more than any library
#: reserves, and too little to fill memory with page tables, which no other limit counts.
_ADDRESS_BYTES = 64 * 1024**3

#: So many signals and timers of a sandboxed worker may be pending: one store is a user's, for all.
_PENDING_SIGNALS = 1024

#: Libraries start a thread for each processor, and OpenBLAS takes 40 MB of a worker's data for
#: each: on a machine of many they would not load within the limits. Each of these is the number of
#: processors that a worker may use. A charm may set another before it imports the library.
#: DuckDB asks how many processors the machine has, not which it may use; it believes a cluster's.
_THREADS_OF_LIBRARIES = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"),
    *("NUMEXPR_NUM_THREADS", "NUMEXPR_MAX_THREADS", "NUMBA_NUM_THREADS"),
    *("POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "SLURM_CPUS_ON_NODE"),
)

#: What lets threads of libraries rest when a run is over. jemalloc, in polars and pyarrow, has one
#: that gives memory back for a second or two: without it that is done by who frees memory. Those
#: of OpenMP and OpenBLAS go round for a while in the hope of more to do: here for 0.1 ms (2 to the
#: power of 18 cycles).
_RESTING = {
    "_RJEM_MALLOC_CONF": "background_thread:false",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "OMP_WAIT_POLICY": "PASSIVE",
    "OPENBLAS_THREAD_TIMEOUT": "18",
}

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


def preload() -> Tools:
    """Import and build what every worker needs, so that forked ones have it already."""
    # By its number: what a worker finds there is its own.
    faulthandler.enable(_STDERR_FD, all_threads=False)
    # Inherited, as are these limits and variables.
    threading.stack_size(_STACK_BYTES)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _let_libraries_start(1)
    os.environ |= _RESTING
    prepare_adapters()
    for _ in range(_WARM_WORKERS):
        _warm_up()
    shared_state().prepare()
    # Where the certificates cannot be read, that is the error of whoever needs them.
    with suppress(OSError):
        prepare_tls_context()
    return Tools.make()


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
            theirs,
            tickets,
            lambda _: Bound(DataLimit(Walls())),
            retire_bytes=0,
            scratch="",
            walls=(),
            tools=Tools.make(),
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
        self.walls = frozenset(Wall) - self.missing
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
        """Put this process behind its walls, but for those of `bind`; raises SandboxError."""
        if self._problem:
            raise SandboxError(self._problem)
        if self._plan is not None:
            _lower(resource.RLIMIT_AS, _ADDRESS_BYTES)
            _lower(resource.RLIMIT_SIGPENDING, _PENDING_SIGNALS)
            self._plan.enforce_calls()

    def bind(self, walls: Walls) -> Bound:
        """Raise the walls that depend on whom this process serves, before it loads any code.

        Says what it lacks for that; nothing may be loaded then. Ends this process where a wall
        cannot be raised.
        """
        lack = folder = ""
        if walls.packages:
            folder = os.path.join(self.settings.packages_root, walls.packages)
            if not os.path.isdir(folder):
                lack = "Its packages were taken away, and are fetched again."
        try:
            if self._plan is not None:
                self._plan.enforce_files(folder)
            self.close()
            data_limit = confine(walls, self.missing)
        except SandboxError as error:
            _end_for(error)
        if folder and not lack:
            _import_from(folder)
        return Bound(data_limit, lack)

    def close(self) -> None:
        """Close what was open for the worker; closing twice is fine."""
        if self._plan is not None:
            self._plan.close()
            self._plan = None


def run_worker(
    connection_fd: int,
    out_fd: int,
    err_fd: int,
    tickets_fd: int,
    preparation: WorkerPreparation,
    tools: Tools,
) -> NoReturn:
    """Be a worker; called in the forked child, never returns to the zygote's code."""
    zygote_pid = os.getppid()
    lean_forks.begin_child(may_fork=Wall.CALLS in preparation.missing)
    os.setsid()
    die_with_parent(zygote_pid)
    os.dup2(out_fd, 1)
    os.dup2(err_fd, _STDERR_FD)
    signal.set_wakeup_fd(-1)
    close_all_fds_but({0, 1, 2, connection_fd, tickets_fd} | preparation.fds)
    set_handler(signal.SIGCHLD, DEFAULT)
    set_subreaper()
    keep_own_status_open()
    settings = preparation.settings
    _set_environment(settings)
    if settings.scratch:
        os.chdir(settings.scratch)
    HOSTS.install()
    try:
        preparation.raise_walls()
    except SandboxError as error:
        _end_for(error)
    worker = Worker(
        socket.socket(fileno=connection_fd),
        socket.socket(fileno=tickets_fd),
        preparation.bind,
        retire_bytes=settings.retire_bytes,
        scratch=settings.scratch,
        walls=preparation.walls,
        outdated=partial(_why_outdated, preparation.names),
        tools=tools,
    )
    worker.serve()
    os._exit(UNFIT_EXIT_CODE if worker.is_unfit else 0)


def confine(walls: Walls, missing: Collection[Wall]) -> DataLimit:
    """Set the limits of this process, hard: it can lower them further, but never raise them.

    Gives the one that moves below that.

    To be called before anything of a charm is loaded: libraries look for their number of threads
    once.
    """
    # First: it takes a descriptor and some memory.
    if Wall.NETWORK not in missing:
        sandbox.allow_ports(walls.ports)
    for resource_no, most in (
        (resource.RLIMIT_NOFILE, walls.open_files),
        (resource.RLIMIT_FSIZE, walls.file_bytes),
    ):
        if most:
            _lower(resource_no, most)
    threads = min(walls.processors, os.cpu_count() or 1)
    if threads > 1:
        _let_libraries_start(threads)
    return DataLimit(walls)


def _let_libraries_start(threads: int) -> None:
    os.environ |= dict.fromkeys(_THREADS_OF_LIBRARIES, str(threads))


def _import_from(folder: str) -> None:
    """Let a folder be imported from before the service's own libraries, and after Python's own.

    It is a path and no more: what `.pth` files in it say is not done.
    """
    libraries = (index for index, entry in enumerate(sys.path) if _is_of_libraries(entry))
    sys.path.insert(next(libraries, len(sys.path)), folder)


def _is_of_libraries(entry: str) -> bool:
    return os.path.basename(entry) in ("site-packages", "dist-packages")


def _end_for(error: SandboxError) -> NoReturn:
    """End this process, which must not go on without a wall."""
    os.write(_STDERR_FD, f"{error}\n".encode())
    os._exit(os.EX_CONFIG)


def _why_outdated(names: dict[str, tuple[int, int]] | None) -> str:
    """Say when this machine's names are resolved by other files now, which may not be read here.

    What may be read is settled when the walls are raised; a new worker can read the new files.
    """
    return "" if names in (None, sandbox.name_files()) else "old settings for names"


def _set_environment(settings: WorkerSettings) -> None:
    """Set what is this worker's alone; not before it is forked, or its zygote grew with each."""
    if settings.scratch:
        # Everything temporary goes there. One by one: to join two mappings touches much more.
        for name in ("HOME", "TMPDIR", "TEMP", "TMP"):
            os.environ[name] = settings.scratch
    tempfile.tempdir = settings.scratch or None
    if settings.has_walls:
        # The system's resolver reads it at its first question: UDP is not allowed, TCP is.
        os.environ["RES_OPTIONS"] = "use-vc"


def _lower(resource_no: int, most: int) -> None:
    """Set a limit for good, unless it is lower already."""
    _, hard = resource.getrlimit(resource_no)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource_no, (most, most))
