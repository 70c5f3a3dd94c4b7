"""A line to a server on loopback that can be cut: nothing passes any more, and nobody is told.

with CutLine(port_of_the_server) as line:
    ...  # connect to line.port
    line.cut()
"""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress
from types import TracebackType


class CutLine:
    """Passes bytes between whoever connects and a port, in a thread of its own."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        #: Each end, and the one that gets what it sends.
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._is_cut = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> CutLine:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._wake.close()
        self._thread.join()
        for each in (self._listening, self._woken, *self._pairs):
            each.close()

    def cut(self) -> None:
        """Let nothing pass from now on; what is connected stays so, and can connect no more."""
        self._is_cut.set()

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._woken, self._listening, *self._pairs], [], [])
            if self._woken in ready:
                return
            if self._is_cut.is_set():
                # Nothing is read any more: what comes is as good as lost.
                self._woken.recv(1)
                return
            for one in ready:
                if one is self._listening:
                    self._connect()
                elif one in self._pairs:
                    self._pass(one)

    def _connect(self) -> None:
        near, _ = self._listening.accept()
        far = socket.create_connection(("127.0.0.1", self._target))
        self._pairs |= {near: far, far: near}

    def _pass(self, one: socket.socket) -> None:
        other = self._pairs[one]
        with suppress(OSError):
            if piece := one.recv(65536):
                other.sendall(piece)
                return
        for end in (one, other):
            del self._pairs[end]
            end.close()
