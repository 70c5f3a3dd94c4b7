"""Whether this machine can have each wall, found out by raising it in a child process.

The kernel's version alone does not tell: a service manager or a container may forbid the calls.
Called by the service before it starts, and by the command line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable

from bg_charm_service.domain.errors import SandboxError
from bg_charm_service.workers.sandbox import readable
from bg_charm_service.workers.sandbox.capabilities import drop_all, give_up_gaining
from bg_charm_service.workers.sandbox.kernel import IS_LINUX
from bg_charm_service.workers.sandbox.walls import (
    Wall,
    filter_calls,
    restrict_files,
    restrict_ports,
    restrict_signals,
)


def probe() -> dict[Wall, str]:
    """Say for each wall that this machine lacks why it cannot be had; empty when it has all.

    Forks, so it wants a process without threads. Nothing changes in the caller.
    """
    if not IS_LINUX:
        return dict.fromkeys(Wall, "only Linux has it")
    reading, writing = os.pipe()
    try:
        pid = os.fork()
    except OSError as error:
        os.close(reading)
        os.close(writing)
        return dict.fromkeys(Wall, f"no process could be made to try it: {error.strerror}")
    if pid == 0:
        _tell(writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        answer = told.read()
    os.waitpid(pid, 0)
    if not answer:
        return dict.fromkeys(Wall, "the process that tried it died")
    return {Wall(wall): why for wall, why in json.loads(answer).items()}


def _tell(writing: int) -> None:
    """Try each wall and write which cannot be had; never returns."""
    try:
        os.write(writing, json.dumps(_missing_walls()).encode())
    finally:
        os._exit(0)


def _missing_walls() -> dict[Wall, str]:
    gaining = _why_not(give_up_gaining)
    files = gaining or _why_not(restrict_files)
    ports = gaining or _why_not(lambda: restrict_ports(()))
    scopes = gaining or _why_not(restrict_signals)
    privileges = gaining or _why_not(_do_without_privileges)
    calls = gaining or _why_not(filter_calls)
    found = {
        Wall.FILES: files,
        # Without the filter a charm has UDP, without Landlock it has all ports.
        Wall.NETWORK: ports or calls,
        Wall.CALLS: calls,
        Wall.PRIVILEGES: privileges,
        # Either of the two holds signals.
        Wall.SIGNALS: calls and scopes,
    }
    return {wall: why for wall, why in found.items() if why}


def _do_without_privileges() -> None:
    """Drop every capability; raises SandboxError where libraries cannot be read without."""
    readable_now = [path for path in readable.paths() if _opens(path)]
    drop_all()
    for path in readable_now:
        if not _opens(path):
            raise SandboxError(
                f"without the privileges of root {path} cannot be read; install the service where "
                "every user can read it, or run it as the user to whom that belongs"
            )


def _opens(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _why_not(attempt: Callable[[], None]) -> str:
    try:
        attempt()
    except OSError as error:
        return f"the kernel says: {error.strerror}"
    except SandboxError as error:
        return str(error)
    return ""
