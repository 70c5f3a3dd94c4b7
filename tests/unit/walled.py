"""Forked processes that go behind the walls and try something; they tell what came of it."""

from __future__ import annotations

import ctypes
import faulthandler
import functools
import json
import os
import shutil
import struct
import tempfile
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bg_charm_service.workers.sandbox import Wall, allow_ports, probe, raise_walls
from bg_charm_service.workers.sandbox.capabilities import give_up_gaining
from bg_charm_service.workers.sandbox.kernel import MACHINE, prctl
from bg_charm_service.workers.sandbox.syscalls import number

NOBODY = 65534

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Place:
    """Where it is tried: one directory that belongs to the process, and one that does not."""

    root: Path
    scratch: Path
    file: Path

    @property
    def outside(self) -> Path:
        return self.file.parent


Attempt = Callable[[Place], object]


@dataclass(frozen=True)
class Result:
    """What came of an attempt: a value, the name of an error with its text, or a signal."""

    value: Any = None
    error: str = ""
    text: str = ""
    signal: int = 0


@functools.cache
def missing_walls() -> dict[Wall, str]:
    """Why this machine lacks some walls."""
    return probe()


@contextmanager
def place() -> Iterator[Place]:
    """Make a place that every user can reach, and whose outside every user may change."""
    root = Path(tempfile.mkdtemp(prefix="walls-"))
    made = Place(root, root / "scratch", root / "outside" / "file")
    made.outside.mkdir()
    made.scratch.mkdir()
    made.file.write_text("secret")
    for path, mode in ((root, 0o755), (made.outside, 0o777), (made.file, 0o666)):
        path.chmod(mode)
    made.scratch.chmod(0o777)
    try:
        yield made
    finally:
        shutil.rmtree(root)


def attempt(
    action: Attempt,
    where: Place,
    *,
    without: Collection[Wall] = (),
    ports: tuple[int, ...] = (),
    user: int | None = None,
) -> Result:
    """Fork a process that raises every wall but these, and let it try."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _try(action, where, without, ports, user, writing)
    os.close(writing)
    with os.fdopen(reading) as told:
        answer = told.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return Result(signal=os.WTERMSIG(status))
    return Result(**json.loads(answer))


def system_call(name: str, *arguments: object) -> int:
    """Make a system call without the C library's help; raises OSError."""
    call = number(MACHINE, name)
    assert call is not None, f"{MACHINE} has no {name}"
    # Whole words: the kernel reads all of an argument, and a plain int is half of one.
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result = int(_libc.syscall(ctypes.c_long(call), *words))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def forbid(error_number: int, *calls: int) -> None:
    """Make the kernel refuse these calls to this process, as a service manager may."""
    give_up_gaining()
    steps = [struct.pack("<HBBI", 0x20, 0, 0, 0)]
    for call in calls:
        steps.append(struct.pack("<HBBI", 0x15, 0, 1, call))
        steps.append(struct.pack("<HBBI", 0x06, 0, 0, 0x00050000 | error_number))
    steps.append(struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF0000))
    code = ctypes.create_string_buffer(b"".join(steps))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
    prctl(22, 2, ctypes.addressof(header))


def _try(
    action: Attempt,
    where: Place,
    without: Collection[Wall],
    ports: tuple[int, ...],
    user: int | None,
    writing: int,
) -> None:
    """Be the forked process; never returns."""
    # A crash is part of the answer, and no news for whoever reads the output of the tests.
    faulthandler.disable()
    pid, result = os.getpid(), Result()
    try:
        if user is not None:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
        os.chdir(where.scratch)
        if set(without) != set(Wall):
            _raise(where, without, ports)
        result = Result(value=action(where))
    except BaseException as error:
        text = "".join(traceback.format_exception(error))
        result = Result(error=type(error).__name__, text=text)
    finally:
        # A process that the attempt made, where nothing kept it from that, says nothing.
        if os.getpid() == pid:
            os.write(writing, json.dumps(result.__dict__, default=str).encode())
        os._exit(0)


def _raise(where: Place, without: Collection[Wall], ports: tuple[int, ...]) -> None:
    # No error that an attempt may end with: a wall that cannot be raised refuses nothing.
    try:
        raise_walls(str(where.scratch), without)
        allow_ports(ports, without)
    except Exception as error:
        raise AssertionError("the walls could not be raised") from error
