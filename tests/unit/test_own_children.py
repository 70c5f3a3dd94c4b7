"""A process asks cheaply about its own children, and hears that there are none only for certain."""

from __future__ import annotations

import subprocess
import sys

HEAD = """
import os, threading
from concurrent.futures import ThreadPoolExecutor
from bg_charm_service.workers.protocol import processes

def fork():
    return os.fork() or os._exit(0)

def count():
    return processes.own_thread_count() - 1

has_none = processes.has_no_children_of_main_thread
"""


def told(script: str) -> list[str]:
    """Return what a fresh process prints."""
    command = [sys.executable, "-c", f"{HEAD}{script}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_children_of_the_main_thread_show_until_they_are_reaped() -> None:
    """Also one that has ended is there."""
    script = """
processes.keep_own_status_open()
print(has_none())
fork()
print(has_none())
os.wait()
print(has_none())
"""
    assert ["True", "False", "True"] == told(script)


def test_children_of_a_thread_that_is_gone_are_the_main_threads() -> None:
    """While the thread lives its child is its own: then there are more threads than one."""
    script = """
processes.keep_own_status_open()
with ThreadPoolExecutor(1) as pool:
    pool.submit(fork).result()
    print(count(), has_none())
while count():
    pass
print(count(), has_none())
"""
    assert ["1", "True", "0", "False"] == told(script)


def test_without_its_descriptor_nothing_is_certain() -> None:
    """A process that never opened it, and one whose charm has closed it, have to ask in full."""
    script = """
print(has_none())
processes.keep_own_status_open()
os.closerange(3, 100)
print(has_none())
"""
    assert ["False", "False"] == told(script)
