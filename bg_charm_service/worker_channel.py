"""The way to one worker: a socket for frames, a pipe for its raw output. Bytes in, bytes out.

What comes from a worker is untrusted: it is taken only up to an allowance, and what goes beyond
it, or is no frame, is named as a breach. Nothing here blocks. Belongs to a worker's handle.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from bg_charm_service.errors import FrameError
from bg_charm_service.wire import FROM_WORKER, FromWorker

_READ_BYTES = 256 * 1024

#: So often the socket and the pipe are read in one go: more than a buffer holds.
_READS_A_LOOK = 16


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a worker may say until it is given the next one: in a frame, in all, and how often."""

    frame_bytes: int
    total_bytes: int
    messages: int


#: Until it has something to do, a worker may say that it is ready.
BOOT_ALLOWANCE = Allowance(frame_bytes=1024, total_bytes=1024, messages=1)


@dataclass(slots=True)
class Received:
    """What has come: messages, then maybe the end of the socket, or a breach of the protocol."""

    messages: list[FromWorker] = field(default_factory=list)
    is_over: bool = False
    breach: str = ""


class WorkerChannel:
    """Our ends, and the worker's until it has them."""

    def __init__(self) -> None:
        self.connection, self._their_connection = socket.socketpair()
        self._out_fd, self._their_out_fd = os.pipe()
        self.connection.setblocking(False)
        os.set_blocking(self._out_fd, False)
        #: The worker was gone before it had read all that it was sent.
        self.is_unread = False
        self._decoder = FROM_WORKER.decoder()
        self._unsent: deque[memoryview] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.allow(BOOT_ALLOWANCE)

    @property
    def their_fds(self) -> list[int]:
        """The descriptors that the worker gets: its socket, its stdout, its stderr."""
        return [self._their_connection.fileno(), self._their_out_fd, self._their_out_fd]

    def listen(self, on_messages: Callable[[], None], on_output: Callable[[], None]) -> None:
        """Let the running loop call back when something comes."""
        self._close_their_ends()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.connection.fileno(), on_messages)
        self._loop.add_reader(self._out_fd, on_output)

    def stop_listening(self) -> None:
        """Be called back no more; what is there may still be read."""
        if self._loop is None:
            return
        if self.connection.fileno() >= 0:
            self._loop.remove_reader(self.connection.fileno())
            self._loop.remove_writer(self.connection.fileno())
        if self._out_fd >= 0:
            self._loop.remove_reader(self._out_fd)

    def allow(self, allowance: Allowance) -> None:
        """Take so much from now on."""
        self._bytes_left = allowance.total_bytes
        self._messages_left = allowance.messages
        self._decoder.limit_bytes = allowance.frame_bytes

    def send(self, frame: bytes) -> None:
        """Send a frame without ever blocking."""
        self._unsent.append(memoryview(frame))
        self._flush()

    @property
    def has_unsent(self) -> bool:
        """Whether the worker has not yet taken all that it was sent."""
        return bool(self._unsent)

    @property
    def is_in_frame(self) -> bool:
        """Whether the worker has said a part of something."""
        return self._decoder.is_in_frame

    def receive(self) -> Received:
        """Take what has come, up to what is allowed."""
        got = Received()
        # The loop calls again for what is left: nobody is held up by one that never stops talking.
        for _ in range(_READS_A_LOOK):
            if got.breach or got.is_over:
                break
            try:
                data = self.connection.recv(_READ_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                self.is_unread |= isinstance(error, ConnectionResetError)
                data = b""
            if data:
                self._decode(data, got)
            else:
                got.is_over = True
        return got

    def read_to_end(self) -> None:
        """Learn from the rest of the socket of a worker that is gone whether it had read all."""
        for _ in range(_READS_A_LOOK):
            try:
                if not self.connection.recv(_READ_BYTES):
                    return
            except OSError as error:
                self.is_unread |= isinstance(error, ConnectionResetError)
                return

    def read_output(self) -> list[bytes]:
        """Take what was written to the pipe."""
        pieces: list[bytes] = []
        for _ in range(_READS_A_LOOK):
            if self._out_fd < 0:
                break
            try:
                data = os.read(self._out_fd, _READ_BYTES)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if data:
                pieces.append(data)
            else:
                self._close_pipe()
        return pieces

    def close(self) -> None:
        """Close our ends; closing twice is fine."""
        self._close_their_ends()
        self.stop_listening()
        self.connection.close()
        self._close_pipe()
        self._unsent.clear()

    def _decode(self, data: bytes, got: Received) -> None:
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            got.breach = "it said more than one run may"
            return
        try:
            messages = self._decoder.feed(data)
        except FrameError as error:
            got.breach = str(error)
            return
        got.messages += messages[: self._messages_left]
        self._messages_left -= len(messages)
        if self._messages_left < 0:
            got.breach = "it sent more messages than one run may"
        elif self._decoder.problem is not None:
            got.breach = str(self._decoder.problem)

    def _flush(self) -> None:
        """Send what waits; the loop goes on with it where the socket is full."""
        fd = self.connection.fileno()
        while self._unsent and fd >= 0:
            data = self._unsent.popleft()
            try:
                sent = self.connection.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                # The worker is gone; the zygote tells why.
                self.is_unread = True
                self._unsent.clear()
                break
            if sent < len(data):
                self._unsent.appendleft(data[sent:])
                self._when_writable(fd, self._flush)
                return
        self._when_writable(fd, None)

    def _when_writable(self, fd: int, call: Callable[[], None] | None) -> None:
        if self._loop is None or fd < 0:
            return
        if call is None:
            self._loop.remove_writer(fd)
        else:
            self._loop.add_writer(fd, call)

    def _close_their_ends(self) -> None:
        self._their_connection.close()
        if self._their_out_fd >= 0:
            os.close(self._their_out_fd)
            self._their_out_fd = -1

    def _close_pipe(self) -> None:
        if self._out_fd >= 0:
            if self._loop is not None:
                self._loop.remove_reader(self._out_fd)
            os.close(self._out_fd)
            self._out_fd = -1
