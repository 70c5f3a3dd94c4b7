"""The walls around a process that runs charms.

Raised by each worker: when it boots, and, for files and ports, when it learns whom it serves. A
wall that cannot be raised ends the worker, unless the service said before that it is missing.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from enum import StrEnum
from functools import cache
from pathlib import Path

from bg_charm_service.domain.errors import SandboxError
from bg_charm_service.workers.sandbox import landlock, readable
from bg_charm_service.workers.sandbox.capabilities import drop_all, give_up_gaining
from bg_charm_service.workers.sandbox.kernel import MACHINE
from bg_charm_service.workers.sandbox.landlock import HeldPath, Ruleset
from bg_charm_service.workers.sandbox.seccomp import Filter
from bg_charm_service.workers.sandbox.syscalls import MACHINES


class Wall(StrEnum):
    """What keeps a charm from something; the value is what people read."""

    FILES = "file system"  #: reads libraries only, writes its scratch directory only
    NETWORK = "network"  #: TCP connections to allowed ports only
    CALLS = "system calls"  #: no processes, no other sockets, none of the kernel's dark corners
    PRIVILEGES = "privileges"  #: no capabilities, and none to be gained
    SIGNALS = "signals"  #: none to any other process


@cache
def prepare(missing: frozenset[Wall]) -> None:
    """Do what does not depend on the worker, in the process that forks them.

    It keeps no privileges that its workers may not have.
    """
    readable.outer_folders()
    if MACHINE in MACHINES:
        _filter()
    if Wall.PRIVILEGES not in missing:
        # A worker that cannot do the same says so, and ends.
        with suppress(OSError):
            drop_all()


class WallPlan:
    """The walls of one process, drawn up by the one that forks it, which has its tools at hand.

    The process may write to `scratch` and nowhere else; the walls that are missing here are left
    out. Raises SandboxError for what cannot be built. To be closed by both. It is enforced in two
    steps: `enforce_calls` as soon as the process is there, `enforce_files` once it is known what
    more it may read, and before any code of others is loaded.
    """

    def __init__(self, scratch: str, missing: Collection[Wall] = ()) -> None:
        outer = readable.folder_around(Path(scratch)) if scratch else None
        if outer is not None and Wall.FILES not in missing:
            raise SandboxError(f"{scratch} lies in {outer}, which charms may read.")
        self._missing = frozenset(missing)
        self._ruleset: Ruleset | None = None
        # The filter holds signals too; Landlock holds them where there is no filter.
        has_scopes = landlock.version() >= landlock.SCOPES_VERSION
        if Wall.FILES not in missing:
            with _raising(Wall.FILES):
                self._ruleset = _files(scratch, scopes=has_scopes)
        elif has_scopes:
            with _raising(Wall.SIGNALS):
                self._ruleset = Ruleset(scopes=True)

    @property
    def fds(self) -> set[int]:
        """What the process needs open until it is behind its walls."""
        return set() if self._ruleset is None else {self._ruleset.fd}

    def enforce(self) -> None:
        """Put this process, which must have one thread, behind the walls; raises SandboxError."""
        self.enforce_calls()
        self.enforce_files()

    def enforce_calls(self) -> None:
        """Take away privileges and system calls, but for those that raise the other walls."""
        with _raising(Wall.PRIVILEGES):
            give_up_gaining()
            if Wall.PRIVILEGES not in self._missing:
                drop_all()
        if Wall.CALLS not in self._missing:
            with _raising(Wall.CALLS):
                filter_calls()

    def enforce_files(self, also_readable: str = "") -> None:
        """Take away all files but those of the plan, and a folder that may be read as well."""
        if self._ruleset is None:
            return
        with _raising(Wall.SIGNALS if Wall.FILES in self._missing else Wall.FILES):
            if Wall.FILES not in self._missing:
                # Here, not in the plan: they are other files for each process.
                for path in readable.OWN_FILES:
                    self._ruleset.allow_held(path, landlock.READ)
                if also_readable:
                    self._ruleset.allow_path(also_readable, landlock.READ)
            self._ruleset.enforce()

    def close(self) -> None:
        """Close what was open for it; closing twice is fine."""
        if self._ruleset is not None:
            self._ruleset.close()
            self._ruleset = None


def raise_walls(scratch: str, missing: Collection[Wall] = ()) -> None:
    """Put this process behind every wall but those that are missing here; raises SandboxError.

    It may write to `scratch` and nowhere else from then on. For a process of one thread.
    """
    with closing(WallPlan(scratch, missing)) as plan:
        plan.enforce()


def allow_ports(ports: Iterable[int], missing: Collection[Wall] = ()) -> None:
    """Let this process connect to these TCP ports and to no other; raises SandboxError.

    Called again it can only take ports away.
    """
    if Wall.NETWORK not in missing or landlock.version() >= landlock.PORTS_VERSION:
        with _raising(Wall.NETWORK):
            restrict_ports(ports)


def restrict_files() -> None:
    """Let this process read libraries only, and write nothing."""
    with closing(_files()) as ruleset:
        ruleset.enforce()


def restrict_ports(ports: Iterable[int]) -> None:
    """Let this process open TCP connections to these ports only, and bind none."""
    with closing(Ruleset(ports=True)) as ruleset:
        for port in ports:
            ruleset.allow_port(port)
        ruleset.enforce()


def restrict_signals() -> None:
    """Let this process signal nobody, and reach no abstract socket, outside its walls."""
    with closing(Ruleset(scopes=True)) as ruleset:
        ruleset.enforce()


def filter_calls() -> None:
    """Let this process make no system call that the rules refuse."""
    if MACHINE not in MACHINES:
        raise SandboxError(f"the system calls of {MACHINE} are not known here")
    _filter().install(os.getpid())


def _files(scratch: str = "", *, scopes: bool = False) -> Ruleset:
    """Draw up what may be read, and that only `scratch` may be written to.

    With `scopes` it also keeps from what `restrict_signals` keeps from.
    """
    readable.keep_machine_facts()
    ruleset = Ruleset(files=True, scopes=scopes)
    try:
        ruleset.allow_paths(_libraries())
        for path in filter(None, (readable.NULL, scratch)):
            ruleset.allow_path(path, landlock.READ | landlock.WRITE)
    except BaseException:
        ruleset.close()
        raise
    return ruleset


@cache
def _libraries() -> tuple[HeldPath, ...]:
    """What each process may read; held open by the one that forks them."""
    return tuple(HeldPath(path, landlock.READ) for path in readable.paths())


@cache
def _filter() -> Filter:
    return Filter(MACHINE)


@contextmanager
def _raising(wall: Wall) -> Iterator[None]:
    try:
        yield
    except (OSError, SandboxError) as error:
        raise SandboxError(f"The wall of {wall} cannot be raised: {error}.") from error
