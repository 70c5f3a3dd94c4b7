"""What the supervisor asks of a worker, in the worker: requests by their tickets, fields, a word.

Requests of a batch lie here, or in the socket, until their turn; one whose ticket was taken back
is passed over. Used by the worker.
"""

from __future__ import annotations

import select
import socket
from collections import deque

from bg_charm_service.workers.protocol.framing import FrameReader
from bg_charm_service.workers.protocol.messages import (
    TO_WORKER,
    FieldValue,
    FoundItems,
    GoOn,
    Inspect,
    RunSpec,
    TokenGiven,
    ToWorker,
)
from bg_charm_service.workers.protocol.start_tickets import take_ticket

Request = RunSpec | Inspect


class Requests:
    """The worker's ends of its socket and of its ticket box, for reading."""

    def __init__(self, connection: socket.socket, tickets: socket.socket) -> None:
        self._reader = FrameReader(connection, TO_WORKER)
        self._tickets = tickets
        #: Read already, while something else was waited for.
        self._ahead: deque[Request] = deque()
        self._number = 0
        #: Tokens that were renewed for the run under way, and not taken yet.
        self._renewed: dict[tuple[str, str], TokenGiven] = {}
        #: The sources that came along, by their hashes.
        self.sources: dict[str, str] = {}

    def wait(self) -> None:
        """Wait until there is a ticket to be had, or the supervisor is gone; takes none."""
        poller = select.poll()
        poller.register(self._tickets, select.POLLIN)
        poller.poll()

    def next(self) -> Request | None:
        """Wait for a request that may begin now; None when the supervisor is gone."""
        # First of all: from here on the request has begun, whatever reading it does to us.
        wanted = take_ticket(self._tickets)
        while wanted is not None:
            request = self._ahead.popleft() if self._ahead else self._reader.read()
            if isinstance(request, RunSpec):
                if request.source is not None:
                    # Of one that is passed over too: it is sent once.
                    self.sources[request.source_hash] = request.source
            elif request is None:
                return None
            elif not isinstance(request, Inspect):
                # A field, or a token, that came too late for its run.
                continue
            self._number += 1
            if self._number == wanted:
                return request
        return None

    def field(self, run_id: str, name: str) -> bytes | None:
        """Wait for a field that a run asked for; None when it moved, or the supervisor is gone."""
        while (message := self._reader.read()) is not None:
            if not isinstance(message, FieldValue):
                self._keep(message)
            elif (message.run_id, message.field) == (run_id, name):
                return message.value
        return None

    def items(self, run_id: str) -> FoundItems | None:
        """Wait for the items that a run asked for; None when the supervisor is gone."""
        while (message := self._reader.read()) is not None:
            if not isinstance(message, FoundItems):
                self._keep(message)
            elif message.run_id == run_id:
                return message
        return None

    def kept_token(self, run_id: str, field: str) -> TokenGiven | None:
        """Take a token that has come for a run; None while none has."""
        return self._renewed.pop((run_id, field), None)

    def read_ready(self) -> None:
        """Read one message that has come, or is coming, and keep it for whom it is."""
        poller = select.poll()
        poller.register(self._reader.connection, select.POLLIN)
        # Whoever else was waiting may have been quicker.
        if poller.poll(0):
            message = self._reader.read()
            if message is not None:
                self._keep(message)

    def wait_to_go_on(self) -> None:
        """Wait until the supervisor lets this worker go on, or is gone."""
        while (message := self._reader.read()) is not None and not isinstance(message, GoOn):
            self._keep(message)

    def _keep(self, message: ToWorker) -> None:
        if isinstance(message, Request):
            self._ahead.append(message)
        elif isinstance(message, TokenGiven):
            self._renewed[message.run_id, message.field] = message
