"""The service's side of one scan process: starting it, asking it, ending it with all its children.

Knows no integration and no limit of time; whoever asks gives up by cancelling, and then kills.
Called by the scanner.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from typing import TypeVar, cast

from loguru import logger
from msgspec.structs import replace

from bg_charm_service.domain.errors import FrameError, ServiceError
from bg_charm_service.domain.redaction import mask
from bg_charm_service.scanning.protocol import (
    TO_CHILD,
    TO_SERVICE,
    CellValue,
    Checked,
    Failed,
    Found,
    Listed,
    ReadCell,
    Request,
)
from bg_charm_service.workers.protocol.python_child import (
    child_options,
    operator_environment,
    python_command,
)

#: Gives the JSON of a cell, named by space and id; None when nothing is stored.
ReadCellCallback = Callable[[str, str], bytes | None]

#: A line of output longer than this is cut.
MAX_LINE_BYTES = 2_000

#: Of more lines than this during one request only the number is told.
MAX_LINES = 200

#: So many cells may be asked for during one request.
MAX_CELLS = 10_000

_READ_BYTES = 256 * 1024

_SCAN_PROCESS = "bg_charm_service.scanning.scan_process"

Expected = TypeVar("Expected")


class ScanError(ServiceError):
    """An integration could not be asked, or failed to answer."""


class ChildGone(ScanError):
    """The scan process ended before it answered."""


class ScanChild:
    """One scan process, which answers one request at a time."""

    def __init__(
        self,
        transport: asyncio.SubprocessTransport,
        process: _ProcessProtocol,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        read_cell: ReadCellCallback,
    ) -> None:
        self._transport = transport
        self._process = process
        self._reader, self._writer = streams
        self._read_cell = read_cell
        self._decoder = TO_SERVICE.decoder()

    @classmethod
    async def start(cls, label: str, read_cell: ReadCellCallback) -> ScanChild:
        """Start a process whose output is logged under this label; raises ScanError."""
        try:
            return await cls._start(label, read_cell)
        except OSError as error:
            # The system gives no process or descriptor now; it may later.
            raise ScanError(f"no process can be started for it: {error.strerror}") from None

    @classmethod
    async def _start(cls, label: str, read_cell: ReadCellCallback) -> ScanChild:
        ours, theirs = socket.socketpair()
        try:
            reader, writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()
            theirs.close()
            raise
        command = python_command(_SCAN_PROCESS, theirs.fileno(), os.getpid(), is_unbuffered=True)
        try:
            transport, process = await asyncio.get_running_loop().subprocess_exec(
                lambda: _ProcessProtocol(_Output(label), writer),
                *command,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=(theirs.fileno(),),
                **child_options(operator_environment(os.environ)),
            )
        except BaseException:
            writer.close()
            raise
        finally:
            theirs.close()
        return cls(transport, process, (reader, writer), read_cell)

    @property
    def is_alive(self) -> bool:
        """Tell whether the process can be asked."""
        return not self._writer.is_closing()

    async def ask(self, request: Request, expected: type[Expected]) -> Expected:
        """Ask and wait; raises ScanError with the integration's reason, or ChildGone.

        When it raises anything else, or is cancelled, the process must be killed.
        """
        await self._send(request)
        cells = 0
        while True:
            messages = self._decoder.feed(await self._received())
            for message in messages:
                if isinstance(message, ReadCell):
                    cells += 1
                    if cells > MAX_CELLS:
                        raise FrameError(f"it asks for more than {MAX_CELLS} cells")
                    await self._send(self._cell(message))
                    continue
                self._process.output.end_request()
                if message is not messages[-1] or self._decoder.is_in_frame:
                    # What follows would be taken for the answer to the next request.
                    raise FrameError("it goes on after its answer")
                if isinstance(message, Failed):
                    raise ScanError(mask(message.reason))
                if not isinstance(message, expected):
                    raise FrameError(f"expected {expected.__name__}, got {type(message).__name__}")
                return _masked(message)

    def kill(self) -> None:
        """Kill the process and its children at once; does nothing when it is gone."""
        self._process.kill_group()

    async def wait_closed(self) -> None:
        """Wait until nothing of the process is left; `kill` comes first."""
        await asyncio.shield(self._process.exited)
        self._transport.close()
        await asyncio.shield(self._process.closed)
        self._process.output.end_request()

    async def _send(self, message: Request | CellValue) -> None:
        try:
            self._writer.write(TO_CHILD.encode(message))
            await self._writer.drain()
        except OSError:
            raise await self._gone_error() from None

    async def _received(self) -> bytes:
        try:
            data = await self._reader.read(_READ_BYTES)
        except OSError:
            data = b""
        if not data:
            raise await self._gone_error()
        return data

    async def _gone_error(self) -> ChildGone:
        self.kill()
        await asyncio.shield(self._process.exited)
        code = self._transport.get_returncode() or 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        return ChildGone(f"its process {how}")

    def _cell(self, question: ReadCell) -> CellValue:
        try:
            return CellValue(self._read_cell(question.space, question.cell_id))
        except Exception as error:  # told to the integration, whose answer says what came of it
            return CellValue(None, refused=f"The cell cannot be read: {error}")


def _masked(message: Expected) -> Expected:
    """Mask what an integration, or a library that it uses, says is wrong."""
    if isinstance(message, Found | Listed | Checked) and message.problems:
        return cast("Expected", replace(message, problems=tuple(map(mask, message.problems))))
    return message


class _ProcessProtocol(asyncio.SubprocessProtocol):
    """Sees what the process writes, and its end."""

    def __init__(self, output: _Output, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        self.output = output
        self.exited = loop.create_future()
        self.closed = loop.create_future()
        self._writer = writer
        self._pid = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._pid = cast("asyncio.SubprocessTransport", transport).get_pid()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.output.receive(data)

    def process_exited(self) -> None:
        # Its children may hold the socket open, so that its end would never be seen there.
        self.kill_group()
        self.exited.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set_result(None)

    def kill_group(self) -> None:
        """Kill whatever is left of the process and its children."""
        if not self.exited.done():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)
        # Not close(), which first waits for somebody to read what is left to send.
        self._writer.transport.abort()


class _Output:
    """Logs lines of output, up to a limit for each request."""

    def __init__(self, label: str) -> None:
        self._log = logger.bind(event="integration_output", integration=label)
        self._partial = b""
        self._lines = 0
        self._unlogged = 0

    def receive(self, data: bytes) -> None:
        """Take bytes as they come; lines past the limit are only counted."""
        if self._lines >= MAX_LINES:
            self._unlogged += data.count(b"\n")
            return
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = self._partial + lines[0]
            self._partial = b""
        self._partial = (self._partial + rest)[:MAX_LINE_BYTES]
        room = MAX_LINES - self._lines
        self._unlogged += len(lines[room:])
        for line in lines[:room]:
            self._log_line(line)

    def end_request(self) -> None:
        """Tell what is left, and start the count anew."""
        if self._partial:
            self._log_line(self._partial)
            self._partial = b""
        if self._unlogged:
            self._log.info("… and {} more lines of output", self._unlogged)
        self._lines = self._unlogged = 0

    def _log_line(self, line: bytes) -> None:
        self._lines += 1
        text = line[:MAX_LINE_BYTES].decode("utf-8", "replace").rstrip()
        if text:
            self._log.info("{}", text)
