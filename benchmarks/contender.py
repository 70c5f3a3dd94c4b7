"""What is compared with each other in the scenario of throughput, and how each is measured.

A peer is a small module of `peers/` with this shape: prepare, run, count. Every one is measured by
the same function.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen, TimeoutExpired
from tempfile import TemporaryFile
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

    def prepare(self, folder: Path) -> AbstractContextManager[None]:
        """Have all tasks waiting inside the block, in an empty folder; nothing is measured."""

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
    with contender.prepare(folder):
        # What was prepared is not written back while somebody else waits for the disk.
        os.sync()
        with contender.run():
            wait_until_more(contender.count, contender.count())
            time.sleep(warm_up_seconds)
            with measuring():
                samples = watch(contender.count, seconds, contender.total)
    return rate(samples, contender.total)


@contextmanager
def process(
    *command: str, environ: Mapping[str, str], user: pwd.struct_passwd | None = None
) -> Iterator[Popen[bytes]]:
    """Run a program for as long as the block lasts; raises Unmeasurable when it ended before."""
    with TemporaryFile() as output:
        running = Popen(
            command,
            stdin=DEVNULL,
            stdout=output,
            stderr=STDOUT,
            env=environ,
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
        )
        try:
            yield running
            if running.poll() is not None:
                output.seek(0)
                words = output.read()[-1000:].decode(errors="replace")
                raise Unmeasurable(f"{command[0]} ended with {running.returncode}: {words}")
        finally:
            running.terminate()
            try:
                running.wait(_GRACE_SECONDS)
            except TimeoutExpired:
                running.kill()
                running.wait()
