"""What a run may use: read from outside, and named when it is too much."""

from __future__ import annotations

import os
import subprocess
import threading

import psutil
import pytest

from bg_charm_service.limits import Limits
from bg_charm_service.process_usage import Usage, read_cpu_seconds, read_usage
from bg_charm_service.worker_handle import Ending
from bg_charm_service.worker_watch import excess

MEGABYTE = 1024 * 1024
LIMITS = Limits(memory_bytes=64 * MEGABYTE, threads=8, cpu_seconds=2.0)


@pytest.mark.parametrize(
    ("usage", "cpu_seconds", "expected"),
    [
        (Usage(64 * MEGABYTE, 8), 2.5, None),
        (
            Usage(65 * MEGABYTE, 1),
            0.0,
            (Ending.MEMORY, "using 65 MB of memory; its limit is 64 MB"),
        ),
        (Usage(0, 9), 0.0, (Ending.THREADS, "running 9 threads; its limit is 8")),
        (
            Usage(0, 1),
            2.51,
            (Ending.CPU, "using 2.5 s of processor time; its limit is 2 s"),
        ),
    ],
    ids=["all at their limits", "memory", "threads", "processor time"],
)
def test_excess_is_named_with_both_numbers(
    usage: Usage, cpu_seconds: float, expected: tuple[Ending, str] | None
) -> None:
    """A run is told what it used and what it may use; it has half a second to stop by itself."""
    assert expected == excess(usage, cpu_seconds, LIMITS, grace_seconds=0.5)


def test_usage_is_that_of_the_process() -> None:
    """Threads, processor time and memory are read as the system knows them."""
    before = read_usage(os.getpid())
    assert before is not None
    held, over = bytearray(os.urandom(1024)) * 64 * 1024, threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    after = read_usage(os.getpid())
    over.set()
    thread.join()
    assert after is not None
    assert before.threads + 1 == after.threads
    assert after.memory_bytes - before.memory_bytes > len(held) * 0.9
    assert 0 < before.cpu_seconds <= after.cpu_seconds
    assert after.memory_bytes <= psutil.Process().memory_info().rss * 1.1


def test_process_that_is_gone_uses_nothing() -> None:
    """A process that ended, waited for or not, is no error."""
    with subprocess.Popen(["/bin/true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        zombie = read_usage(process.pid)
        assert zombie is not None
        assert 0 == zombie.memory_bytes
    assert read_usage(process.pid) is None
    assert 0.0 == read_cpu_seconds(process.pid)
