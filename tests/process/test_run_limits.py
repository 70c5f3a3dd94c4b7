"""What a run may use has limits, each with a cause of its own; they come from whoever set them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.process.running import RunningCharm, Service

#: A charm for each limit: what it does to run into it.
SOURCE = """
import ctypes
import socket
import tempfile
from typing import Any

from bg_charm_service import Charm


class Greedy(Charm):
    {asks}
    count: int = 0
    text: str = ""
    more: str = ""

    def cpu(self, event: dict[str, Any]) -> None:
        while True:
            self.count += 1

    async def spin(self, event: dict[str, Any]) -> None:
        while True:
            self.count += 1

    def files(self, event: dict[str, Any]) -> None:
        self._open = [socket.socket() for _ in range(100_000)]

    def log(self, event: dict[str, Any]) -> None:
        while True:
            print("x" * 500)

    def quiet_flood(self, event: dict[str, Any]) -> None:
        try:
            self.log(event)
        except BaseException:
            pass

    def state(self, event: dict[str, Any]) -> None:
        self.text = "x" * event["size"]

    def more_state(self, event: dict[str, Any]) -> None:
        self.more = "x" * event["size"]

    def foreign_thread(self, event: dict[str, Any]) -> None:
        libc = ctypes.CDLL(None)
        libc.pthread_create(ctypes.byref(ctypes.c_ulong()), None, libc.pause, None)

    def scratch(self, event: dict[str, Any]) -> None:
        (self.context.scratch / "note").write_text("x")
        self.text = f"{self.context.scratch} {tempfile.gettempdir()}"
        self.count = len(list(self.context.scratch.iterdir()))

    def bg_updater(self, event: dict[str, Any]) -> None:
        self.count += 1
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with small limits."""
    flags = (
        "--interval=3600",
        "--max-retries=0",
        "--failures=1000",
        "--cpu-limit=0.5",
        "--open-files=64",
        "--run-log=1K",
        "--state-size=100K",
    )
    with Service(tmp_path_factory.mktemp("limits") / "data", *flags) as running:
        yield running


def add(service: Service, asks: str = "pass") -> RunningCharm:
    """Add a charm that asks for something."""
    return service.add(source=SOURCE.replace("{asks}", asks))


def failed(charm: RunningCharm, stream: str, **event: object) -> tuple[str, str]:
    """Cause and error of a run that failed."""
    run = charm.perform(stream, **event)
    assert "failure" == run["status"]
    return run["cause"], run["error"]


@pytest.mark.parametrize("stream", ["cpu", "spin"])
def test_processor_time(service: Service, stream: str) -> None:
    """A run that computes without end is stopped after its processor time, and says where."""
    charm = add(service)
    assert ("cpu", "Stopped after 0.5 s of processor time.") == failed(charm, stream)
    assert f"in {stream}" in charm.runs()[0]["traceback"]
    assert "success" == charm.run()["status"]


def test_open_files(service: Service) -> None:
    """A run that opens too much fails with the number that it may have open."""
    cause, error = failed(add(service), "files")
    assert "files" == cause
    assert "Too many open files (it may have 64 files and connections open)" in error


@pytest.mark.parametrize("stream", ["log", "quietFlood"])
def test_flood_of_the_log(service: Service, stream: str) -> None:
    """A run that prints without end is stopped; what is kept of it stays within its limit."""
    charm = add(service)
    assert ("log", "Stopped for writing more than 256K to its log.") == failed(charm, stream)
    assert len(charm.runs()[0]["log"]) < 1100


def test_size_of_the_state(service: Service) -> None:
    """Neither one value nor all of them together may be larger; nothing of that run is stored."""
    charm = add(service)
    cause, error = failed(charm, "state", size=200_000)
    assert ("state_size", 0) == (cause, len(charm.get("text")))
    assert "may leave 100K: text is 200,002 bytes of it" in error

    charm.perform("state", size=60_000)
    cause, error = failed(charm, "moreState", size=60_000)
    assert ("state_size", 0) == (cause, len(charm.get("more")))
    assert "Its state would be" in error

    charm.perform("state", size=10)
    charm.perform("moreState", size=60_000)
    assert (10, 60_000) == (len(charm.get("text")), len(charm.get("more")))


def test_class_asks_for_less(service: Service) -> None:
    """What a class asks for counts for its runs."""
    charm = add(service, 'limits = {"files": 40, "cpu": 0.2}')
    assert "it may have 40 files" in failed(charm, "files")[1]
    assert "Stopped after 0.2 s of processor time." == failed(charm, "cpu")[1]


def test_class_does_not_get_more(service: Service) -> None:
    """Asking for more has no effect."""
    charm = add(service, 'limits = {"files": 4000}')
    assert "it may have 64 files" in failed(charm, "files")[1]


def test_thread_that_python_does_not_know(service: Service) -> None:
    """A run that leaves a thread of a library behind succeeds, and nobody else gets its worker."""
    charm = add(service)
    left = charm.perform("foreignThread")
    assert "success" == left["status"]
    assert left["worker"] != charm.run()["worker"]


def test_scratch_directory(service: Service) -> None:
    """A run has a directory for its files, which is where temporary files go; it is empty again."""
    charm = add(service)
    for _ in range(2):
        assert "success" == charm.perform("scratch")["status"]
        scratch, temporary = str(charm.get("text")).split()
        assert scratch == temporary
        assert scratch.startswith(str(service.data_dir))
        assert 1 == charm.get("count")
