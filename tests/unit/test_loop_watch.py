"""The watch over the loops of services: slow turns are told with what was slow, others are not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.loop_watch import SLOW_SECONDS, SlowTurns

ROOT = Path(__file__).parents[2]

#: A program with a loop: one of its turns takes long, by the processor's own count.
PROGRAM = """\
import asyncio, sys, time

async def short():
    for _ in range(100):
        await asyncio.sleep(0)

async def long():
    until = time.thread_time() + 0.11
    while time.thread_time() < until:
        pass

async def both():
    await short()
    if "long" in sys.argv:
        await asyncio.create_task(long())

print(sys.argv)
asyncio.run(both())
"""

#: Tests of which one starts that program.
TESTS = """\
import subprocess, sys
from tests.process.loop_watch import SLOW_TURNS

def test_quiet():
    pass

def test_slow():
    for _ in range(2):
        subprocess.run([sys.executable, *SLOW_TURNS.command("program"), "long"], check=True)
"""


@pytest.fixture
def turns() -> Iterator[SlowTurns]:
    """A watch of one's own."""
    watch = SlowTurns()
    watch.open()
    yield watch
    watch.close()


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Where a process finds the program and the watch."""
    (tmp_path / "program.py").write_text(PROGRAM)
    return {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}


def run(arguments: list[str], environ: dict[str, str]) -> str:
    """Run Python; gives what it printed."""
    ran = subprocess.run(
        [sys.executable, *arguments], check=True, capture_output=True, text=True, env=environ
    )
    return ran.stdout


def test_a_slow_turn_is_told_once(turns: SlowTurns, environ: dict[str, str]) -> None:
    """With its length and the coroutine that took it; the program has its own arguments."""
    printed = run([*turns.command("program"), "long"], environ)

    (turn,) = turns.news()
    assert "long, to its end" == turn["slowest"]
    assert SLOW_SECONDS < turn["processor_seconds"]
    assert printed.endswith("program.py', 'long']\n")
    assert [] == turns.news()


def test_quick_turns_are_not_told(turns: SlowTurns, environ: dict[str, str]) -> None:
    """However many there are."""
    run(turns.command("program"), environ)

    assert [] == turns.news()


def test_without_a_watch_a_module_is_run_as_it_is() -> None:
    """What only measures, and runs no tests, is not watched."""
    assert ["-m", "program"] == SlowTurns().command("program")


@pytest.mark.parametrize("processes", ["-n0", "-n1"])
def test_slow_turns_stand_below_the_results(
    tmp_path: Path, environ: dict[str, str], processes: str
) -> None:
    """With the worst test, also where other processes run the tests; none fails by them."""
    (tmp_path / "test_it.py").write_text(TESTS)
    flags = ["-p", "tests.conftest", "-c", os.devnull, "--rootdir", str(tmp_path), processes]
    printed = run(["-m", "pytest", *flags, str(tmp_path / "test_it.py")], environ)

    (line,) = [line for line in printed.splitlines() if "ms of processor time" in line]
    assert line.startswith("long, to its end: 2 times, at most ")
    assert line.endswith(" in test_it.py::test_slow")
    assert "2 passed" in printed
