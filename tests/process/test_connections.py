"""Many connections, and half requests: one program keeps nobody else from the service."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tests.process.reaching import Reached, reached
from tests.process.running import PATIENCE_SECONDS, Runner, Service

#: Descriptors that the service may have in all.
FEW = 256

HALF_HEAD = b"GET /api/status HTTP/1.1\r\n"

#: Opens connections with half a request each, says so, and holds them until its input ends.
_HOLDER = """
import resource, socket, sys
host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_NOFILE, (count + 50, count + 50))
held = []
for _ in range(count):
    one = socket.socket()
    one.connect((host, port))
    try:
        one.sendall(b"GET /api/status HTTP/1.1\\r\\nhost: localhost\\r\\n")
    except OSError:
        pass
    held.append(one)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def frugal(tmp_path: Path) -> Runner:
    """Runs a service that may never have many files open."""
    program = tmp_path / "frugal-python"
    program.write_text(f'#!/bin/sh\nulimit -n {FEW}\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    return Runner(python=str(program))


@contextmanager
def half_requests(url: str, count: int) -> Iterator[None]:
    """Let another process hold so many half requests open inside."""
    host, _, port = url.removeprefix("http://").partition(":")
    command = [sys.executable, "-c", _HOLDER, host, port, str(count)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert "held\n" == holder.stdout.readline()
        try:
            yield
        finally:
            holder.kill()


def host_of(door: Reached) -> bytes:
    """The header that names the service."""
    return f"host: {door.url.removeprefix('http://')}\r\n".encode()


def connect(door: Reached) -> socket.socket:
    """Open a connection to the port."""
    host, _, port = door.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), PATIENCE_SECONDS)


def rest_of(one: socket.socket) -> bytes:
    """Read until the service hangs up."""
    text = b""
    try:
        while piece := one.recv(65536):
            text += piece
    except ConnectionResetError:
        pass
    return text


def test_half_requests_take_no_descriptor_that_others_need(tmp_path: Path, frugal: Runner) -> None:
    """With more half requests than descriptors, runs go on, and so do commands, page and log."""
    with Service(
        tmp_path / "data", "--listen=localhost:0", "--interval=1", runner=frugal
    ) as service:
        url = str(service.wait_for("listening")["url"]).replace("localhost", "127.0.0.1")
        charm = service.add(cause="goes on")
        charm.perform()
        with half_requests(url, 600):
            for pid in service.worker_pids():
                os.kill(pid, signal.SIGKILL)
            assert "success" == charm.perform()["status"]
            # Healthy or not: six hundred others keep this machine busy.
            assert service.cli("status").returncode in (0, 4)
            with reached_at(service, url).client() as client:
                assert 200 == client.get("/api/status").status_code
            # Upkeep starts processes and opens files.
            before = service.status()["cycles"]
            while service.status()["cycles"] < before + 2:
                charm.perform()
        assert not service.has_ended
        assert service.count("connections_refused") < 50
        assert [] == [line for line in service.lines if line["level"] == "ERROR"]
        assert 0 == service.stop()


def reached_at(service: Service, url: str) -> Reached:
    """Reach a service by an address; no charm is needed for it."""
    return Reached(service, url, None)  # type: ignore[arg-type]


def test_half_a_head_is_not_waited_for(tmp_path: Path) -> None:
    """A request that does not go on ends, the first of a connection or a later one."""
    with reached(tmp_path) as door, closing(connect(door)) as first, closing(connect(door)) as next:
        first.sendall(HALF_HEAD)
        next.sendall(HALF_HEAD + host_of(door) + b"\r\n")
        assert next.recv(65536).startswith(b"HTTP/1.1 200 ")
        next.sendall(HALF_HEAD)
        assert b"" == rest_of(first)
        assert b"HTTP" not in rest_of(next)


def test_a_peer_has_no_more_than_its_share(tmp_path: Path) -> None:
    """Of too many, the one that has waited longest with half a request goes; answers stay."""
    with (
        reached(tmp_path, "--max-per-peer=4") as door,
        closing(connect(door)) as answered,
        ExitStack() as stack,
    ):
        answered.sendall(b"GET /api/events HTTP/1.1\r\n" + host_of(door) + b"\r\n")
        assert answered.recv(4096).startswith(b"HTTP/1.1 200 ")
        waiting = []
        for _ in range(4):
            one = stack.enter_context(closing(connect(door)))
            one.sendall(HALF_HEAD)
            waiting.append(one)
        assert b"" == rest_of(waiting[0])
        with door.client() as client:
            assert 200 == client.get("/api/status").status_code
        door.charm.run()
        assert b"event: run" in read_until(answered, b"event: run")


def test_whoever_has_too_many_answers_under_way_is_refused(tmp_path: Path) -> None:
    """The answer says so; the socket of the data directory has room all the same."""
    with reached(tmp_path, "--max-connections=3") as door, ExitStack() as stack:
        for _ in range(3):
            one = stack.enter_context(closing(connect(door)))
            one.sendall(b"GET /api/events HTTP/1.1\r\n" + host_of(door) + b"\r\n")
            assert one.recv(4096).startswith(b"HTTP/1.1 200 ")
        with closing(connect(door)) as late:
            assert rest_of(late).startswith(b"HTTP/1.1 503 ")
        door.service.wait_for("connections_refused")
        assert door.service.status()["running"]


def read_until(one: socket.socket, wanted: bytes) -> bytes:
    """Read until something has come."""
    text = b""
    while wanted not in text:
        piece = one.recv(65536)
        assert piece, text
        text += piece
    return text
