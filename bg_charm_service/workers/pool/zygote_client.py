"""The supervisor's side of the zygote: starts it with a scrubbed environment, asks it for workers.

Belongs to the pool. Everything here is non-blocking but the start of the zygote itself.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from typing import Protocol

import msgspec

from bg_charm_service.workers.pool.process_usage import Processes
from bg_charm_service.workers.protocol.messages import FromZygote, Spawn, WorkerSettings
from bg_charm_service.workers.protocol.processes import end_group
from bg_charm_service.workers.protocol.python_child import (
    child_options,
    python_command,
    scrubbed_environment,
)

_ZYGOTE = "bg_charm_service.workers.runtime.zygote"
_MESSAGE_BYTES = 65536

#: So many reports are read in one go.
_MOST_READS = 64

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(FromZygote)


def read_reports(control: socket.socket) -> list[FromZygote] | None:
    """Take what a zygote has reported; None when it is gone. One that talks nonsense is left."""
    reports: list[FromZygote] = []
    # The loop calls again for what is left.
    for _ in range(_MOST_READS):
        try:
            data = control.recv(_MESSAGE_BYTES)
        except BlockingIOError:
            return reports
        except OSError:
            data = b""
        if not data:
            return reports or None
        try:
            reports.append(_decoder.decode(data))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            control.shutdown(socket.SHUT_RDWR)
    return reports


class ZygoteLink(Protocol):
    """What the pool needs of a zygote; `control` is readable when it has something to report."""

    control: socket.socket
    processes: Processes

    def spawn(self, worker_no: int, settings: WorkerSettings, fds: list[int]) -> bool:
        """Ask for a worker that gets these descriptors; False when the zygote cannot be reached."""

    def read(self) -> list[FromZygote] | None:
        """Take the reports that have come; None when the zygote is gone."""

    def close(self) -> None:
        """Let the zygote end its workers and itself; closing twice is fine."""


class ZygoteClient:
    """One zygote process; a new one is made when it dies."""

    def __init__(self) -> None:
        self.processes = Processes()
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.setblocking(False)
        with theirs:
            try:
                self._process = self._start(theirs.fileno())
            except OSError:
                self.control.close()
                raise

    def _start(self, control_fd: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            python_command(_ZYGOTE, control_fd),
            pass_fds=[control_fd],
            stdout=subprocess.DEVNULL,
            **child_options(scrubbed_environment(os.environ)),
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def spawn(self, worker_no: int, settings: WorkerSettings, fds: list[int]) -> bool:
        """Ask for a worker that gets these descriptors; False when the zygote cannot be reached."""
        message = _encoder.encode(Spawn(worker_no, settings))
        try:
            socket.send_fds(self.control, [message], fds)
        except OSError:
            return False
        return True

    def read(self) -> list[FromZygote] | None:
        """Take the reports that have come; None when the zygote is gone."""
        return read_reports(self.control)

    def close(self) -> None:
        """Let the zygote end its workers and itself; closing twice is fine."""
        self.control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)
            return
        end_group(self._process.pid)
        self._process.wait()
