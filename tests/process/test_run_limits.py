"""What a run may use has limits, each with a cause of its own; they come from whoever set them."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.process.running import Refused, RunningCharm, Service

#: A charm for each limit: what it does to run into it.
SOURCE = """
import ctypes
import os
import socket
import tempfile
import threading
from typing import Any

from bg_charm_service import Charm

KEPT = []


def start_in_c(function) -> None:
    KEPT.append(ctypes.CFUNCTYPE(None)(function))
    ctypes.CDLL(None).pthread_create(ctypes.byref(ctypes.c_ulong()), None, KEPT[-1], None)


def burn() -> None:
    while True:
        sum(range(1000))


def burn_when_told(port, is_connected) -> None:
    with socket.create_connection(("127.0.0.1", port)) as teller:
        is_connected.set()
        teller.recv(1)
        sum(range(1_000_000))
        teller.sendall(b"x")
        burn()


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
        for _ in range(event.get("count", 1)):
            libc.pthread_create(ctypes.byref(ctypes.c_ulong()), None, libc.pause, None)

    def busy_thread(self, event: dict[str, Any]) -> None:
        start_in_c(burn)

    def abort(self, event: dict[str, Any]) -> None:
        os.write(2, event["words"].encode())
        os.abort()

    def late_thread(self, event: dict[str, Any]) -> None:
        is_connected = threading.Event()
        start_in_c(lambda: burn_when_told(event["port"], is_connected))
        is_connected.wait()

    def scratch(self, event: dict[str, Any]) -> None:
        (self.context.scratch / "note").write_text("x")
        self.text = f"{self.context.scratch} {tempfile.gettempdir()}"
        self.count = len(list(self.context.scratch.iterdir()))

    def bg_updater(self, event: dict[str, Any]) -> None:
        self.count += 1
"""


@pytest.fixture(scope="module")
def listener() -> Iterator[socket.socket]:
    """A port that charms may connect to."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60)
        yield listening


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, listener: socket.socket) -> Iterator[Service]:
    """A service with small limits."""
    flags = (
        f"--charm-network={listener.getsockname()[1]}",
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


@pytest.mark.parametrize(
    "words",
    [
        "memory allocation of 88 bytes failed",
        "terminate called after throwing an instance of 'std::bad_alloc'",
    ],
)
def test_abort_for_lack_of_memory(service: Service, words: str) -> None:
    """A library that ends the process when it gets no memory has run into that limit."""
    charm = add(service)
    cause, error = failed(charm, "abort", words=words)
    assert "memory" == cause
    assert "by SIGABRT" in error
    assert error.endswith("(it may use 512M of memory).")


def test_abort_for_another_reason(service: Service) -> None:
    """Any other end by a signal stays one."""
    cause, error = failed(add(service), "abort", words="assertion failed")
    assert ("signal", "Its worker process was ended by SIGABRT.") == (cause, error)


def test_abort_for_lack_of_memory_while_it_is_loaded(service: Service) -> None:
    """Whoever adds such a charm hears of the memory too."""
    words = "memory allocation of 88 bytes failed"
    lines = f"import os\nos.write(2, b'{words}')\nos.abort()\n"
    with pytest.raises(Refused, match=f"ended itself by SIGABRT: {words}"):
        service.add(source=lines + SOURCE.replace("{asks}", "pass"))


def test_class_asks_for_less(service: Service) -> None:
    """What a class asks for counts for its runs."""
    charm = add(service, 'limits = {"files": 40, "cpu": 0.2}')
    assert "it may have 40 files" in failed(charm, "files")[1]
    assert "Stopped after 0.2 s of processor time." == failed(charm, "cpu")[1]


def test_class_does_not_get_more(service: Service) -> None:
    """Asking for more has no effect."""
    charm = add(service, 'limits = {"files": 4000}')
    assert "it may have 64 files" in failed(charm, "files")[1]


def test_idle_thread_of_a_library(service: Service) -> None:
    """A run that leaves a thread of a library behind keeps its worker while that does nothing."""
    charm = add(service)
    left = charm.perform("foreignThread")
    assert "success" == left["status"]
    assert left["worker"] == charm.run()["worker"]


def test_busy_thread_of_a_library(service: Service) -> None:
    """A run that leaves a thread that works succeeds, and nobody else gets its worker."""
    charm = add(service)
    left = charm.perform("busyThread")
    assert "success" == left["status"]
    assert left["worker"] != charm.run()["worker"]


def test_thread_of_a_library_that_wakes_up(service: Service, listener: socket.socket) -> None:
    """One that begins to work between two runs ends the worker before the second begins there."""
    charm = add(service)
    left = charm.perform("lateThread", port=listener.getsockname()[1])
    assert "success" == left["status"]
    thread, _ = listener.accept()
    with thread:
        thread.settimeout(60)
        thread.sendall(b"x")
        assert b"x" == thread.recv(1)

    again = charm.run()

    assert ("success", True) == (again["status"], left["worker"] != again["worker"])
    service.wait_for("worker_unfit", worker=left["worker"])
    told = {run["run_id"]: run["retired"] for run in charm.runs()}
    assert {
        left["run_id"]: "a thread that it left has begun to work",
        again["run_id"]: "",
    } == told


def test_many_idle_threads_of_a_library(service: Service) -> None:
    """They are no charm's to be counted with: a run that leaves many costs its worker."""
    charm = add(service)
    left = charm.perform("foreignThread", count=20)
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
