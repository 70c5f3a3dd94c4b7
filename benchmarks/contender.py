"""What is compared with each other in the scenario of throughput, and how each is measured.

A peer is a small module of `peers/` with this shape: prepare, run, count. Every one is measured by
the same function.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired
from typing import Protocol

from benchmarks.sampling import Unmeasurable, rate, wait_until_more, watch

#: How long workers get to end by themselves, in seconds.
_GRACE_SECONDS = 10.0


class Contender(Protocol):
    """A way to run many small tasks with two workers, each task's outcome on disk."""

    @property
    def name(self) -> str:
        """What it is called in tables."""

    @property
    def walls(self) -> str:
        """What stands between tasks, in a few words."""

    @property
    def note(self) -> str:
        """What one has to know about its figures."""

    @property
    def total(self) -> int | None:
        """How many tasks there are; None when there are always more."""

    def prepare(self, folder: Path) -> None:
        """Make what is needed in an empty folder, with all tasks waiting; nothing is measured."""

    def run(self) -> AbstractContextManager[None]:
        """Have the workers at work inside the block."""

    def count(self) -> int:
        """Say how many tasks are over, with their outcome on disk."""


def measure(
    contender: Contender,
    folder: Path,
    seconds: float,
    warm_up_seconds: float,
    measuring: Callable[[], AbstractContextManager[None]],
) -> float:
    """Give the tasks a second of one contender, once it is warm."""
    contender.prepare(folder)
    with contender.run():
        wait_until_more(contender.count, contender.count())
        time.sleep(warm_up_seconds)
        with measuring():
            samples = watch(contender.count, seconds, contender.total)
    try:
        return rate(samples, contender.total)
    except Unmeasurable as error:
        raise Unmeasurable(f"{contender.name}: {error}") from None


@contextmanager
def process(
    *command: str, environ: Mapping[str, str], cwd: Path | None = None
) -> Iterator[Popen[bytes]]:
    """Run a program for as long as the block lasts; raises Unmeasurable when it ended before."""
    with Popen(
        command, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE, env=environ, cwd=cwd
    ) as running:
        try:
            yield running
            code = running.poll()
        finally:
            running.terminate()
            try:
                _, errors = running.communicate(timeout=_GRACE_SECONDS)
            except TimeoutExpired:
                running.kill()
                _, errors = running.communicate()
        if code is not None:
            raise Unmeasurable(f"{command[0]} ended with {code}: {errors[-1000:].decode()}")
