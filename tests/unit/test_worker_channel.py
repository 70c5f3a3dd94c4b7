"""The way to a worker: what it takes of the service, and gives back."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator

import pytest

from bg_charm_service.workers.pool.channel import WorkerChannel
from tests.unit.descriptors import limit_leaving, limited_to

#: More descriptors than a channel has.
MANY = 12


@pytest.fixture
def holes() -> Iterator[None]:
    """Others have descriptors open between those that are free, as in any long-lived process."""
    lowest = limit_leaving(0, os.getpid())
    taken = [lowest + step for step in range(MANY) if step % 3]
    others = [fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, fd) for fd in taken]
    yield
    for fd in others:
        os.close(fd)


@pytest.mark.usefixtures("holes")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("room", range(MANY))
def test_no_descriptor_is_lost_where_there_is_no_room(room: int) -> None:
    """A service that may open no more files tries again later, and has no fewer by then."""
    before = os.listdir("/dev/fd")
    with limited_to(limit_leaving(room, os.getpid())):
        try:
            WorkerChannel().close()
        except OSError:
            assert room < MANY - 1
    assert before == os.listdir("/dev/fd")
