"""Watches the event loop of a service that a test runs: which turns of it take long, and in what.

`running.Service` starts services through it; the service knows nothing of it. What it saw stands
at the end of a run of the tests, by tests/conftest.py. No test fails by it: how fast a machine is
nobody knows. But processor time is counted, so that other processes do not matter.

    python -m tests.process.loop_watch FILE MODULE ARGUMENTS...
"""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

#: What a turn of the loop may take of the processor before it is told.
SLOW_SECONDS = 0.1

#: What is told of a turn: how long it took by each clock, and what took most of it.
Told = dict[str, Any]

#: What asyncio calls itself; nothing public tells of a turn of the loop.
_Loop: Any = asyncio.BaseEventLoop
_Handle: Any = asyncio.Handle

#: Where its files lie: that something waits in there says nothing.
_ASYNCIO = str(Path(asyncio.__file__).parent)


class LoopWatch:
    """Measures each turn of this process's loops, and appends the slow ones to a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._slowest_seconds = 0.0
        self._slowest: Any = None

    def install(self) -> None:
        """Watch from now on."""
        _Loop._run_once = self._turn(_Loop._run_once)
        _Handle._run = self._callback(_Handle._run)

    def _turn(self, run_once: Callable[[Any], None]) -> Callable[[Any], None]:
        """Measure all that the loop does between two looks at what is ready."""

        def watched(loop: Any) -> None:
            self._slowest_seconds, self._slowest = 0.0, None
            processor, wall = time.thread_time(), time.monotonic()
            run_once(loop)
            processor, wall = time.thread_time() - processor, time.monotonic() - wall
            if processor > SLOW_SECONDS:
                self._tell(processor, wall)

        return watched

    def _callback(self, run: Callable[[Any], None]) -> Callable[[Any], None]:
        """Find the longest part of a turn, to say what it was."""

        def watched(handle: Any) -> None:
            began = time.thread_time()
            # It forgets what it calls when it is cancelled meanwhile.
            called = handle._callback
            run(handle)
            took = time.thread_time() - began
            if took > self._slowest_seconds:
                self._slowest_seconds, self._slowest = took, called

        return watched

    def _tell(self, processor_seconds: float, wall_seconds: float) -> None:
        told = {
            "processor_seconds": processor_seconds,
            "wall_seconds": wall_seconds,
            "slowest": _name_of(self._slowest),
        }
        # Opened each time: a service has no descriptor that it would not have without us.
        # One that outlives its tests finds no file any more.
        with suppress(FileNotFoundError):
            fd = os.open(self._file, os.O_WRONLY | os.O_APPEND)
            os.write(fd, f"{json.dumps(told)}\n".encode())
            os.close(fd)


def _name_of(called: Any) -> str:
    """Name what a loop called: a task by its coroutine and where it waits by now."""
    task = getattr(called, "__self__", None)
    if not isinstance(task, asyncio.Task):
        return str(getattr(called, "__qualname__", called))
    step: Any = task.get_coro()
    name, frame = step.__qualname__, None
    while step is not None:
        inner = getattr(step, "cr_frame", None)
        if inner is not None and not inner.f_code.co_filename.startswith(_ASYNCIO):
            frame = inner
        step = getattr(step, "cr_await", None)
    if frame is None:
        return f"{name}, to its end"
    return f"{name}, up to {Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


class SlowTurns:
    """The slow turns of all services that this process of tests has started, in one file."""

    def __init__(self) -> None:
        self._file: Path | None = None
        self._read_bytes = 0

    def open(self) -> None:
        """Watch what is started from now on."""
        fd, name = tempfile.mkstemp(prefix="slow-turns-")
        os.close(fd)
        self._file, self._read_bytes = Path(name), 0

    def close(self) -> None:
        """Watch nothing more; closing twice is fine."""
        if self._file is not None:
            self._file.unlink()
        self._file = None

    def command(self, module: str) -> list[str]:
        """Arguments of Python that run a module, under the watch where there is one."""
        if self._file is None:
            return ["-m", module]
        return ["-m", "tests.process.loop_watch", str(self._file), module]

    def news(self) -> list[Told]:
        """Give the slow turns since the last time."""
        if self._file is None:
            return []
        with self._file.open("rb") as file:
            file.seek(self._read_bytes)
            data = file.read()
        self._read_bytes += len(data)
        return [json.loads(line) for line in data.splitlines()]


def summary(turns: list[tuple[str, Told]]) -> list[str]:
    """Give a line for each part of the service that took long: how often, and the worst of it.

    Each turn comes with the test that it came in.
    """
    by_name: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for test, told in turns:
        processor, wall = (
            round(told[f"{clock}_seconds"] * 1000) for clock in ("processor", "wall")
        )
        line = f"{processor} ms of processor time ({wall} ms of wall time) in {test}"
        by_name[told["slowest"]].append((told["processor_seconds"], line))
    worst = sorted(((max(each), len(each), name) for name, each in by_name.items()), reverse=True)
    return [f"{name}: {times} times, at most {line}" for (_, line), times, name in worst]


#: Of this process of tests.
SLOW_TURNS = SlowTurns()


def main() -> None:
    """Watch the loop of a module that is run as a program."""
    _, file, module, *arguments = sys.argv
    LoopWatch(Path(file)).install()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
