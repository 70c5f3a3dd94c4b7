"""The scan process: runs the code of one integration, away from the service.

Reads requests off its socket one at a time, in the main thread; a thread of its own watches the
socket, so that the process and its children end with the service even while a fetch blocks.
Must not touch the database, and never writes to anything but its socket and its output pipe.
"""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NoReturn

from loguru import logger

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.scanning.charm_list import MAX_PROBLEMS, read_listed
from bg_charm_service.scanning.discovery import find_sources, load_integration, reason_of
from bg_charm_service.scanning.integration import (
    CellAddress,
    Integration,
    IntegrationCellConfig,
    NotInitialised,
    cell_access,
    initialize_cell,
)
from bg_charm_service.scanning.protocol import (
    TO_CHILD,
    TO_SERVICE,
    CellValue,
    CellWrite,
    Check,
    Checked,
    Failed,
    Fetch,
    Find,
    Found,
    Initialize,
    Initialized,
    IntegrationInfo,
    Listed,
    Load,
    Loaded,
    ReadCell,
    Request,
    Response,
)
from bg_charm_service.sdk.cells import Cell
from bg_charm_service.workers.protocol.framing import FrameReader
from bg_charm_service.workers.protocol.processes import leave_signals_to_main

_PR_SET_PDEATHSIG = 1


def main(descriptor: int, parent: int) -> NoReturn:
    """Serve the service that started this process, until it is gone."""
    leave_signals_to_main()
    _end_with_parent(parent)
    _log_to_output()
    channel = _Channel(socket.socket(fileno=descriptor))
    with cell_access(channel), asyncio.Runner() as runner:
        requests = _Requests(channel, runner)
        while True:
            channel.answer(requests.answer(channel.next_request()))


class _Channel:
    """The socket: requests in, answers out, and cells asked for in between."""

    def __init__(self, connection: socket.socket) -> None:
        connection.set_inheritable(False)
        self._connection = connection
        self._requests: SimpleQueue[Request] = SimpleQueue()
        self._values: SimpleQueue[CellValue] = SimpleQueue()
        self._one_read_at_a_time = threading.Lock()
        self._read: dict[CellAddress, bytes | None] = {}
        self.writes: dict[CellAddress, CellWrite] = {}
        threading.Thread(target=self._receive, name="service", daemon=True).start()

    def next_request(self) -> Request:
        """Wait for what the service asks next."""
        request = self._requests.get()
        self._read.clear()
        self.writes.clear()
        return request

    def answer(self, answer: Response) -> None:
        """Send the answer to the request."""
        self._connection.sendall(TO_SERVICE.encode(answer))

    def read(self, address: CellAddress) -> bytes | None:
        """Ask the service for a cell; a write made during this request is seen."""
        if address in self.writes:
            return self.writes[address].value
        with self._one_read_at_a_time:
            question = ReadCell(space=address.space, cell_id=address.cell_id)
            self._connection.sendall(TO_SERVICE.encode(question))
            value = self._values.get()
        if value.refused:
            raise InvalidInput(value.refused)
        self._read[address] = value.value
        return value.value

    def write(self, address: CellAddress, value: bytes) -> None:
        """Keep a write for the answer, bound to what was read before it."""
        known = self._read[address] if address in self._read else self.read(address)
        self.writes[address] = CellWrite(address.space, address.cell_id, value, known)

    def _receive(self) -> None:
        reader = FrameReader(self._connection, TO_CHILD)
        try:
            while (message := reader.read()) is not None:
                if isinstance(message, CellValue):
                    self._values.put(message)
                else:
                    self._requests.put(message)
        finally:
            _end_group()


class _Requests:
    """Answers requests by running the integration's code."""

    def __init__(self, channel: _Channel, runner: asyncio.Runner) -> None:
        self._channel = channel
        self._runner = runner
        self._integration: Integration | None = None

    def answer(self, request: Request) -> Response:
        """Do what is asked; whatever the integration raises becomes an answer too."""
        try:
            match request:
                case Find(directory):
                    sources, problems = find_sources(Path(directory) if directory else None)
                    return Found(tuple(sources), tuple(problems))
                case Load():
                    return self._load(request)
                case Initialize():
                    return self._initialize()
                case Fetch():
                    return self._fetch()
                case Check(charms):
                    return self._check(charms)
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            return Failed(reason_of(error))

    def _load(self, request: Load) -> Loaded:
        self._integration = integration = load_integration(request.source)
        config = self._config()
        address = config.address()
        info = IntegrationInfo(
            id=integration.id,
            name=integration.name,
            source=str(request.source),
            space=address.space if address else None,
            cell=address.cell_id if address else None,
            checks_charms=config.is_valid_integration_charm is not None,
        )
        return Loaded(info)

    def _initialize(self) -> Initialized:
        self._awaited(self._loaded().initialize())
        address = self._config().address()
        if address:
            # An `initialize` of the author's own need not know about the cell.
            initialize_cell(address)
        return Initialized(tuple(self._channel.writes.values()))

    def _fetch(self) -> Listed:
        try:
            items = self._awaited(self._config().fetch_charms())
        except NotInitialised as error:
            return Listed(charms=(), problems=(str(error),), initialised=False)
        found = read_listed(items)
        return Listed(
            charms=tuple((ref.space, ref.charm_id) for ref in found.refs),
            problems=tuple(found.problems),
            initialised=True,
            described=tuple(found.described.values()),
            sources=tuple(found.sources),
        )

    def _check(self, charms: tuple[bytes, ...]) -> Checked:
        check = self._config().is_valid_integration_charm
        valid: list[bool] = []
        problems: list[str] = []
        for charm in charms:
            try:
                cell = Cell(json.loads(charm), writable=False)
                valid.append(check is None or bool(self._awaited(check(cell))))
            except Exception as error:
                valid.append(False)
                problems.append(f"is_valid_integration_charm: {reason_of(error)}")
        return Checked(tuple(valid), tuple(dict.fromkeys(problems))[:MAX_PROBLEMS])

    def _loaded(self) -> Integration:
        if self._integration is None:
            raise InvalidInput("No integration was loaded.")
        return self._integration

    def _config(self) -> IntegrationCellConfig:
        config = self._awaited(self._loaded().get_integration_config())
        if not isinstance(config, IntegrationCellConfig):
            raise InvalidInput(
                "get_integration_config() must give an IntegrationCellConfig, "
                f"not {type(config).__name__}."
            )
        return config

    def _awaited(self, result: Any) -> Any:
        # One loop for the life of the process: what an author keeps open stays bound to it.
        return self._runner.run(_outcome(result)) if inspect.isawaitable(result) else result


async def _outcome(result: Awaitable[Any]) -> Any:
    return await result


def _end_with_parent(parent: int) -> None:
    # The thread that watches the socket kills the whole group, which the kernel would not. Should
    # it get no turn, because foreign code holds the interpreter, the kernel's signal still ends
    # this process: libc's `alarm` as the handler of signal number 5 means an alarm in 5 seconds.
    # That is a signal which nobody sends to a whole service, as they do number 1.
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
        libc.signal.restype = ctypes.c_void_p
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        libc.signal(signal.SIGTRAP, ctypes.cast(libc.alarm, ctypes.c_void_p))
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTRAP, 0, 0, 0)
    if os.getppid() != parent:
        _end_group()


def _end_group() -> NoReturn:
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _log_to_output() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    logger.remove()
    logger.add(sys.stderr, level="INFO", format="{level} {message}", colorize=False)
