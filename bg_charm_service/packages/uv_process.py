"""The process that becomes uv: kept small, with an end, and behind walls of its own.

It may read the programs and libraries of this machine and what the operator's index needs, write to
its own folders only, and connect to the ports of the index only. uv is started with nothing of the
service's environment. Started by `installer`; knows no charm.
"""

from __future__ import annotations

import os
import resource
import sys
from contextlib import closing

import msgspec

from bg_charm_service.domain.errors import SandboxError
from bg_charm_service.workers.protocol.processes import die_with_parent
from bg_charm_service.workers.sandbox import landlock, readable
from bg_charm_service.workers.sandbox.capabilities import give_up_gaining

#: What runs beside it is more urgent.
_NICENESS = 10

#: Programs and what they read, where packages are built from their sources.
_PROGRAMS = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives")


class UvTask(msgspec.Struct, frozen=True):
    """What uv is started with: `reads` and `writes` are paths, `ports` those of the index.

    `largest_file_bytes` bounds each file. A wall that it is to have ends it
    where it cannot be raised.
    """

    command: tuple[str, ...]
    environment: dict[str, str]
    parent: int
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    ports: tuple[int, ...]
    largest_file_bytes: int
    has_file_wall: bool
    has_port_wall: bool
    builds: bool


def main(task_json: str) -> None:
    """Become uv."""
    task = msgspec.json.decode(task_json, type=UvTask)
    die_with_parent(task.parent)
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = task.largest_file_bytes
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    os.umask(0o077)
    try:
        _raise_walls(task)
        os.execve(task.command[0], task.command, task.environment)  # noqa: S606 - what it is for
    except (OSError, SandboxError) as error:
        sys.stderr.write(f"error: uv cannot be started: {error}\n")
        sys.stderr.flush()
        os._exit(os.EX_CONFIG)


def _raise_walls(task: UvTask) -> None:
    give_up_gaining()
    if task.has_file_wall:
        with closing(landlock.Ruleset(files=True)) as ruleset:
            programs = _PROGRAMS if task.builds else ()
            for path in (*readable.paths(), *programs, *task.reads):
                ruleset.allow_path(path, landlock.RUN)
            for path in (readable.NULL, *task.writes):
                rights = landlock.RUN if task.builds else landlock.READ
                ruleset.allow_path(path, rights | landlock.WRITE | landlock.LINK)
            ruleset.enforce()
    if task.has_port_wall:
        with closing(landlock.Ruleset(ports=True)) as ruleset:
            for port in task.ports:
                ruleset.allow_port(port)
            ruleset.enforce()
