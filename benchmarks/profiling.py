"""Where the time of a running service goes: py-spy on its supervisor and on its workers.

Writes a file for https://www.speedscope.app (drop it there, nothing is uploaded), and says which
functions take most. Asked by the bench while a scenario measures.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.service_process import ServiceProcess

#: Samples a second.
RATE = 200

#: So many functions are said.
TOP = 25

#: Functions that only wait for something to do; py-spy cannot always tell.
WAITING = ("EpollSelector.select", "ThreadedChildWatcher._do_waitpid")


@dataclass(frozen=True, slots=True)
class Share:
    """The part of all samples in which a function ran itself, or something that it called."""

    function: str
    own: float
    total: float


class Profiler:
    """Records what one scenario's services do while they are measured."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._number = 0
        folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def over(self, service: ServiceProcess) -> Iterator[None]:
        """Record until the end of the block, then say what took most."""
        self._number += 1
        # A worker that holds Python's lock computes; without, it waits for the next run. The
        # supervisor's database works without the lock.
        workers = [str(service.zygote_pid), "--subprocesses", "--gil"]
        targets = {"supervisor": [str(service.pid)], "workers": workers}
        recorders = {}
        for what, target in targets.items():
            file = self._folder / f"{self._name}-{self._number}-{what}.speedscope.json"
            recorders[file] = self._record(file, target)
        try:
            yield
        finally:
            for file, recorder in recorders.items():
                recorder.send_signal(signal.SIGINT)
                _, errors = recorder.communicate()
                _tell(file, errors)

    def _record(self, file: Path, target: list[str]) -> subprocess.Popen[str]:
        program = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or "py-spy"
        command = [
            *(program, "record", "--rate", str(RATE), "--format", "speedscope"),
            *("--output", str(file), "--pid", *target),
        ]
        return subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )


def shares(profile: Mapping[str, Any]) -> list[Share]:
    """Read a speedscope file: the functions, those with the most time of their own first.

    Samples in which a thread only waited for something to do count nowhere.
    """
    frames = [
        f"{frame['name']} ({Path(frame.get('file') or '?').name})"
        for frame in profile["shared"]["frames"]
    ]
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    everything = 0.0
    for part in profile["profiles"]:
        for stack, weight in zip(part["samples"], part["weights"], strict=True):
            names = [frames[index] for index in stack]
            if not names or names[-1].startswith(WAITING):
                continue
            everything += weight
            own[names[-1]] += weight
            for name in set(names):
                total[name] += weight
    return [Share(name, own[name] / everything, total[name] / everything) for name in _most(own)]


def _most(own: Counter[str]) -> list[str]:
    return [name for name, _ in own.most_common()]


def _tell(file: Path, errors: str) -> None:
    if not file.exists():
        click.echo(f"{file.name} was not recorded: {errors.strip()}", err=True)
        return
    click.echo(f"\n{file}\n{'own':>6} {'total':>6}  function")
    for share in shares(json.loads(file.read_text()))[:TOP]:
        click.echo(f"{share.own:6.1%} {share.total:6.1%}  {share.function}")
