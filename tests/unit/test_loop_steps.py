"""Promises of the loop's steps: each is measured, the longest are told, the slow ones by name."""

from __future__ import annotations

import asyncio
import socket

import pytest
from loguru import logger

from bg_charm_service.daemon.status_log import log_slow_steps
from bg_charm_service.supervisor.loop_steps import LoopSteps


class Clocks:
    """Processor time and wall time, set by hand."""

    def __init__(self) -> None:
        self.cpu = 100.0
        self.wall = 1000.0

    def spend(self, cpu: float, more: float = 0.0) -> None:
        """Work for so many seconds, and wait for more."""
        self.cpu += cpu
        self.wall += cpu + more


@pytest.fixture
def clocks() -> Clocks:
    """Clocks that stand."""
    return Clocks()


@pytest.fixture
def steps(clocks: Clocks) -> LoopSteps:
    """Steps measured by them."""
    return LoopSteps(lambda: clocks.cpu, lambda: clocks.wall)


def ms(seconds: tuple[float, float]) -> tuple[float, float]:
    """Give milliseconds, without the last digits of a difference."""
    return round(seconds[0] * 1000, 3), round(seconds[1] * 1000, 3)


def test_a_step_lies_between_two_turns(steps: LoopSteps, clocks: Clocks) -> None:
    """What passes in the selector is nobody's step; what passes outside is one."""
    with steps.new_selector() as selector, socket.socket() as idle:
        selector.register(idle, 1)
        selector.select(0)
        clocks.spend(0.03, more=0.02)
        selector.select(0)
        clocks.spend(0.01)
        selector.select(0)

    assert (30, 50) == ms(steps.longest_recent())
    assert (30, 50) == ms((steps.longest_cpu_seconds, steps.longest_wall_seconds))


def test_any_callback_counts(steps: LoopSteps, clocks: Clocks) -> None:
    """The loop that is made measures whatever runs on it, ours or not."""

    def work() -> None:
        clocks.spend(0.02, more=0.01)

    async def main() -> None:
        asyncio.get_running_loop().call_soon(work)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=steps.new_loop) as runner:
        runner.run(main())

    assert (20, 30) == ms((steps.longest_cpu_seconds, steps.longest_wall_seconds))


def test_the_last_minute_forgets(steps: LoopSteps, clocks: Clocks) -> None:
    """A long step is told of for a minute; since the start it is told of for ever."""
    steps.record(0.2, 0.4)
    clocks.wall += 59
    steps.record(0.01, 0.05)
    assert (200, 400) == ms(steps.longest_recent())
    clocks.wall += 5
    assert (10, 50) == ms(steps.longest_recent())
    assert (200, 400) == ms((steps.longest_cpu_seconds, steps.longest_wall_seconds))
    clocks.wall += 100
    assert (0, 0) == ms(steps.longest_recent())


def test_what_was_before_is_forgotten(steps: LoopSteps) -> None:
    """Once the service serves, what it did before counts for nothing."""
    steps.record(0.3, 0.4)
    steps.forget()
    assert (0, 0) == ms(steps.longest_recent())
    assert (0, 0) == ms((steps.longest_cpu_seconds, steps.longest_wall_seconds))
    assert steps.take_slow() is None


def test_wall_and_processor_time_are_apart(steps: LoopSteps) -> None:
    """A step that waited for a disk long is the longest by the wall, not by the processor."""
    steps.record(0.002, 3.0)
    steps.record(0.09, 0.09)
    assert (90, 3000) == ms(steps.longest_recent())


def test_the_slowest_is_told_with_what_it_did(steps: LoopSteps, clocks: Clocks) -> None:
    """Slow steps are told together, once; what was noted in other steps is not told."""
    with steps.new_selector() as selector, socket.socket() as idle:
        selector.register(idle, 1)
        steps.note("before")
        selector.select(0)
        clocks.spend(0.15)
        steps.note("{} answers", 3)
        steps.note("GET /")
        selector.select(0)
        steps.note("after")
        clocks.spend(0.12)
        selector.select(0)

    slow = steps.take_slow()
    assert slow is not None
    assert (2, "3 answers; GET /") == (slow.count, slow.did)
    assert (150, 150) == ms((slow.cpu_seconds, slow.wall_seconds))
    assert steps.take_slow() is None


def test_names_are_few(steps: LoopSteps) -> None:
    """A step that did very many things says some of them; one that nobody noted is unknown."""
    steps.record(0.1, 0.1)
    assert "unknown" == getattr(steps.take_slow(), "did", "")
    for number in range(100):
        steps.note("step {}", number)
    steps.record(0.1, 0.1)
    assert "step 0; step 1; step 2; step 3; step 4; …" == getattr(steps.take_slow(), "did", "")


@pytest.mark.parametrize(
    ("cpu_seconds", "level"), [(0.09, None), (0.11, "INFO"), (0.2, "INFO"), (0.26, "WARNING")]
)
def test_a_slow_step_is_one_line(steps: LoopSteps, cpu_seconds: float, level: str | None) -> None:
    """Only steps beyond the bound warn; those that are over are told of once."""
    lines = []
    sink = logger.add(lambda line: lines.append(line.record), format="{message}")
    try:
        steps.note("GET {}", "/{braces}")
        steps.record(cpu_seconds, 1.0)
        log_slow_steps(steps)
        log_slow_steps(steps)
    finally:
        logger.remove(sink)

    levels = [line["level"].name for line in lines]
    assert ([level] if level else []) == levels
    for line in lines:
        assert ("slow_step", 1000) == (line["extra"]["event"], line["extra"]["wall_ms"])
