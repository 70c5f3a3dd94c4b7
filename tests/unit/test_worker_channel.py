"""The way to a worker: what it takes of the service, and gives back."""

from __future__ import annotations

import os
import resource

import pytest

from bg_charm_service.workers.pool.channel import WorkerChannel

#: More descriptors than a channel has.
MANY = 12


def lowest_free_fd() -> int:
    """The number that the next descriptor gets."""
    fd = os.dup(0)
    os.close(fd)
    return fd


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("room", range(MANY))
def test_no_descriptor_is_lost_where_there_is_no_room(room: int) -> None:
    """A service that may open no more files tries again later, and has no fewer by then."""
    before = os.listdir("/dev/fd")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free_fd() + room, hard))
    try:
        WorkerChannel().close()
    except OSError:
        assert room < MANY - 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert before == os.listdir("/dev/fd")
