"""Where the process may open no more files, upkeep says so and goes on; nothing ends by it."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bg_charm_service.api.acceptor import free_descriptors
from bg_charm_service.scanning.scan_client import ScanChild, ScanError
from bg_charm_service.workers.pool.scratch.usage import measure
from bg_charm_service.workers.pool.zygote_client import ZygoteClient
from bg_charm_service.workers.protocol.processes import children_of
from tests.unit.test_loop import Bench, logged
from tests.unit.test_maintenance_cycle import make_cycle


def lowest_free_fd() -> int:
    """The number that the next descriptor gets."""
    fd = os.dup(0)
    os.close(fd)
    return fd


@contextmanager
def room_for(descriptors: int) -> Iterator[None]:
    """Let this process open no more than so many files inside, and find out what was lost."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = sorted(os.listdir("/dev/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free_fd() + descriptors, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert before == sorted(os.listdir("/dev/fd"))


@pytest.mark.parametrize("room", range(6))
def test_a_scan_without_a_process_is_a_scan_that_failed(room: int) -> None:
    """Whatever step of a start finds no room, it is the integration's error, and nothing leaks."""

    async def go() -> None:
        with room_for(room):
            with pytest.raises(ScanError, match="no process can be started"):
                await ScanChild.start("listing", lambda space, cell_id: None)
            # Transports let go of what they have at the loop's next turns.
            for _ in range(3):
                await asyncio.sleep(0)

    asyncio.run(go())


@pytest.mark.filterwarnings("error::ResourceWarning")
@pytest.mark.parametrize("room", range(4))
def test_a_zygote_that_cannot_be_started_leaves_nothing(room: int) -> None:
    """It is tried again later, and has no fewer descriptors by then."""
    with room_for(room), pytest.raises(OSError, match="Too many open files"):
        ZygoteClient()


@pytest.mark.parametrize("room", range(4))
def test_scratch_that_cannot_be_looked_at_costs_nothing(tmp_path: Path, room: int) -> None:
    """A look without room counts what it can, and keeps no descriptor."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    with room_for(room):
        assert measure(tmp_path, os.getpid(), 2**40).excess == ""


def test_children_that_nobody_can_read_are_none() -> None:
    """The loop looks after its workers all the same."""
    with room_for(0):
        assert [] == children_of(os.getpid())


def test_a_cycle_survives_what_has_no_room(tmp_path: Path) -> None:
    """An error of the system in one job is told, and the others are done."""
    bench = Bench(tmp_path / "test.db")

    class Failing:
        async def scan(self, integration_id: str) -> None:
            raise OSError(24, "Too many open files")

    cycle = make_cycle(bench, Failing(), ("failing",))
    with logged() as events:
        asyncio.run(cycle.run_cycle())
    assert ["upkeep_failed"] == events
    assert cycle.last_ended_at > 0
    bench.database.close()


def test_free_descriptors_are_counted() -> None:
    """What is open is seen in what is left."""
    with socket.socket() as one, socket.socket() as other:
        before = free_descriptors()
        one.close()
        other.close()
        assert before + 2 == free_descriptors()
