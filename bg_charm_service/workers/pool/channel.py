"""The way to one worker: a socket for frames, a pipe for its raw output, a box for its tickets.

What comes from a worker is untrusted: it is taken only up to an allowance, and what goes beyond
it, or is no frame, is named as a breach. Nothing here blocks. Belongs to a `WorkerProcess`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from bg_charm_service.domain.errors import FrameError
from bg_charm_service.domain.limits import Limits
from bg_charm_service.workers.protocol.messages import FROM_WORKER, FromWorker, answer_limit_bytes
from bg_charm_service.workers.protocol.start_tickets import TicketBox

_READ_BYTES = 64 * 1024

#: So often the socket and the pipe are read in one go: more than a buffer holds.
_MOST_READS = 64


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a worker may say until it is given the next one: in a frame, in all, and how often."""

    frame_bytes: int
    total_bytes: int
    messages: int


#: Messages of a run beyond one for each byte of its log and each field that it may ask for.
_MORE_MESSAGES = 64

#: Until it has something to do, a worker may say that it is ready.
BOOT_ALLOWANCE = Allowance(frame_bytes=1024, total_bytes=1024, messages=1)


def run_allowance(limits: Limits) -> Allowance:
    """What a run with these limits may say, besides what it asks for."""
    answer = answer_limit_bytes(limits)
    messages = limits.log_bytes + _MORE_MESSAGES
    return Allowance(answer, answer + limits.flood_bytes, messages)


class WorkerChannel:
    """Our ends, and the worker's until it has them."""

    def __init__(self) -> None:
        self.connection, self._their_connection = socket.socketpair()
        self.connection.setblocking(False)
        self.tickets = TicketBox()
        # The last, so that it is not open when there is no room for the others: it is but numbers.
        self._out_fd, self._their_out_fd = os.pipe()
        os.set_blocking(self._out_fd, False)
        #: The worker has closed its socket, or is gone.
        self.is_over = False
        #: Whether there is probably more to receive.
        self.has_more = False
        #: What is wrong with what came behind the last message; empty when nothing is.
        self.breach = ""
        self._decoder = FROM_WORKER.decoder()
        self._unsent: deque[memoryview] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_listening = False
        self.allow(BOOT_ALLOWANCE)

    @property
    def their_fds(self) -> list[int]:
        """The descriptors that the worker gets: its socket, stdout, stderr, its tickets."""
        out = self._their_out_fd
        return [self._their_connection.fileno(), out, out, self.tickets.their_fd]

    def listen(self, on_messages: Callable[[], object], on_output: Callable[[], object]) -> None:
        """Let the running loop call back when something comes."""
        self._close_their_ends()
        self._loop = asyncio.get_running_loop()
        self._on_messages, self._on_output = on_messages, on_output
        self.resume_listening()

    def resume_listening(self) -> None:
        """Be called back again, after `pause_listening`; twice is fine."""
        if self._loop is None or self._is_listening:
            return
        self._is_listening = True
        if self.connection.fileno() >= 0:
            self._loop.add_reader(self.connection.fileno(), self._on_messages)
        if self._out_fd >= 0:
            self._loop.add_reader(self._out_fd, self._on_output)

    def pause_listening(self) -> None:
        """Be called back no more when something comes: somebody asks again and again."""
        if self._loop is None or not self._is_listening:
            return
        self._is_listening = False
        if self.connection.fileno() >= 0:
            self._loop.remove_reader(self.connection.fileno())
        if self._out_fd >= 0:
            self._loop.remove_reader(self._out_fd)

    def stop_listening(self) -> None:
        """Be called back no more; what is there may still be read."""
        self.pause_listening()
        if self._loop is not None and self.connection.fileno() >= 0:
            self._loop.remove_writer(self.connection.fileno())
        self._loop = None

    def allow(self, allowance: Allowance, more_messages: int = 0) -> None:
        """Take so much of what comes behind the last message."""
        self._last_byte = self._decoder.taken_bytes + allowance.total_bytes
        self._messages_left = allowance.messages + more_messages
        self._decoder.limit_bytes = allowance.frame_bytes

    def allow_more(self, more_bytes: int) -> None:
        """Take one message more, and so much with it, than was allowed."""
        self._last_byte += more_bytes
        self._messages_left += 1

    def send(self, frames: bytes) -> None:
        """Send one or more frames without ever blocking."""
        if self._unsent:
            self._unsent.append(memoryview(frames))
            return
        try:
            sent = self.connection.send(frames)
        except BlockingIOError:
            sent = 0
        except OSError:
            # The worker is gone; the zygote tells why.
            return
        if sent < len(frames):
            self._unsent.append(memoryview(frames)[sent:])
            self._when_writable(self._flush)

    @property
    def has_unsent(self) -> bool:
        """Whether the worker has not yet made room for all that it is sent."""
        return bool(self._unsent)

    @property
    def is_in_frame(self) -> bool:
        """Whether the worker has said a part of something."""
        return self._decoder.is_in_frame

    def receive(self) -> bool:
        """Read once what has come, for `next_message`; False for nothing, or when it is over."""
        if self.is_over or self.breach:
            return False
        try:
            data = self.connection.recv(_READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        self.is_over = not data
        self.has_more = len(data) == _READ_BYTES
        self._decoder.add(data)
        return bool(data)

    def next_message(self) -> FromWorker | None:
        """Give the next message; None until more is received, or after a breach."""
        if self.breach:
            return None
        try:
            message = self._decoder.take()
        except FrameError as error:
            self.breach = str(error)
            return None
        if self._decoder.taken_bytes > self._last_byte:
            self.breach = "it said more than one run may"
            return None
        if message is not None:
            self._messages_left -= 1
            if self._messages_left < 0:
                self.breach = "it sent more messages than one run may"
                return None
        return message

    def read_output(self) -> list[bytes]:
        """Take what was written to the pipe."""
        pieces: list[bytes] = []
        for _ in range(_MOST_READS):
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
        self.tickets.close()
        self._close_pipe()
        self._unsent.clear()

    def _flush(self) -> None:
        """Send what waits; the loop goes on with it where the socket is full."""
        while self._unsent:
            data = self._unsent.popleft()
            try:
                sent = self.connection.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._unsent.clear()
                break
            if sent < len(data):
                self._unsent.appendleft(data[sent:])
                return
        self._when_writable(None)

    def _when_writable(self, call: Callable[[], None] | None) -> None:
        fd = self.connection.fileno()
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
