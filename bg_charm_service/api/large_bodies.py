"""Has large bodies of requests read by a process of its own, so that reading holds up nobody.

One process, started with the first large body and kept for a while: bodies are read one after the
other. It is ended when it takes too long; what it uses is bounded (`body_reader`). A thread would
not do: it holds the interpreter all the same. Called by requests, made by the daemon; where there
is none, as in a command while no service runs, bodies are read in place.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from bg_charm_service.api.body_messages import (
    FROM_READER,
    HEADER,
    KINDS,
    BodyKind,
    CharmRead,
    CharmRefused,
    End,
    EventRead,
    FromReader,
    Refused,
    SourceRead,
)
from bg_charm_service.api.requests import GivenCharm, GivenEvent, SourceBody
from bg_charm_service.domain.errors import InvalidInput, ServiceStopping
from bg_charm_service.workers.protocol.processes import end_group
from bg_charm_service.workers.protocol.python_child import (
    child_options,
    python_command,
    scrubbed_environment,
)

#: So many large bodies are in memory at a time; others wait at their door.
_MOST_BODIES = 4

#: To read one body may take so long, in seconds; then its reader is ended.
READ_SECONDS = 30.0

#: A reader that has nothing to do is ended after so long, in seconds.
IDLE_SECONDS = 10.0

_PIECE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class _Reader:
    """The process that reads, and our end of its socket."""

    process: asyncio.subprocess.Process
    incoming: asyncio.StreamReader
    outgoing: asyncio.StreamWriter


class LargeBodies:
    """An async context in which large bodies can be read."""

    def __init__(
        self, read_seconds: float = READ_SECONDS, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        #: Taken by a request whose body turns out to be large, until it is answered.
        self.room = asyncio.Semaphore(_MOST_BODIES)
        #: To read one body may take so long, in seconds.
        self.read_seconds = read_seconds
        self._idle_seconds = idle_seconds
        self._one_at_a_time = asyncio.Lock()
        self._reader: _Reader | None = None
        self._end_of_idleness: asyncio.TimerHandle | None = None
        self._endings: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def __aenter__(self) -> LargeBodies:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_closed = True
        self._end_reader()
        await asyncio.gather(*self._endings)

    @property
    def pid(self) -> int | None:
        """The process that reads; None while there is none."""
        return self._reader.process.pid if self._reader is not None else None

    async def read(self, kind: BodyKind, body: bytes) -> Any:
        """Give what stands for a body where its route takes it; raises InvalidInput.

        An import is a list with a charm, or what is wrong with it, for each of its members.
        """
        async with self._one_at_a_time:
            if self._is_closed:
                raise ServiceStopping("The service is stopping and takes no new work.")
            self._forget_idleness()
            try:
                async with asyncio.timeout(self.read_seconds):
                    found = await self._ask_twice(kind, body)
            except TimeoutError:
                self._end_reader()
                raise InvalidInput(
                    f"The body was not read within {self.read_seconds:g} s."
                ) from None
            except (OSError, EOFError):
                self._end_reader()
                raise InvalidInput(
                    "The body could not be read: the process that read it ended; it may have "
                    "needed too much memory."
                ) from None
            except BaseException:
                # Half an answer would stand before the next one.
                self._end_reader()
                raise
            loop = asyncio.get_running_loop()
            self._end_of_idleness = loop.call_later(self._idle_seconds, self._end_reader)
        if isinstance(found[-1], Refused):
            raise InvalidInput(found[-1].text)
        read = [_value(message) for message in found[:-1]]
        return read if kind == "import" else read[0]

    async def _ask_twice(self, kind: BodyKind, body: bytes) -> list[FromReader]:
        """Ask the reader; one that was ended while it was idle has a successor."""
        if self._reader is not None:
            try:
                return await self._ask(kind, body)
            except (OSError, EOFError):
                self._end_reader()
        return await self._ask(kind, body)

    async def _ask(self, kind: BodyKind, body: bytes) -> list[FromReader]:
        reader = self._reader = self._reader or await self._start()
        reader.outgoing.write(HEADER.pack(KINDS.index(kind), len(body)))
        with memoryview(body) as whole:
            for start in range(0, len(whole), _PIECE_BYTES):
                # All at once it would be moved once for each part that is sent.
                reader.outgoing.write(whole[start : start + _PIECE_BYTES])
                await reader.outgoing.drain()
        decoder = FROM_READER.decoder()
        messages: list[FromReader] = []
        while not messages or not isinstance(messages[-1], (End, Refused)):
            data = await reader.incoming.read(_PIECE_BYTES)
            if not data:
                raise EOFError
            messages += decoder.feed(data)
            # To read what is there already is no pause, and there may be much.
            await asyncio.sleep(0)
        return messages

    async def _start(self) -> _Reader:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                options = child_options(scrubbed_environment(os.environ))
                options["stdin"] = theirs.fileno()
                process = await asyncio.create_subprocess_exec(
                    *python_command("bg_charm_service.api.body_reader"),
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,
                    **options,
                )
                incoming, outgoing = await asyncio.open_connection(sock=ours)
            except BaseException:
                ours.close()
                raise
        return _Reader(process, incoming, outgoing)

    def _end_reader(self) -> None:
        """End the process, whatever it does; it is waited for beside the others."""
        self._forget_idleness()
        reader, self._reader = self._reader, None
        if reader is None:
            return
        reader.outgoing.close()
        if reader.process.returncode is None:
            end_group(reader.process.pid)
        ending = asyncio.create_task(_wait_for(reader.process))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)

    def _forget_idleness(self) -> None:
        if self._end_of_idleness is not None:
            self._end_of_idleness.cancel()
        self._end_of_idleness = None


async def _wait_for(process: asyncio.subprocess.Process) -> None:
    await process.wait()


def _value(message: FromReader) -> Any:
    kinds: dict[type[Any], Callable[[Any], Any]] = {
        CharmRead: lambda read: GivenCharm.of(read.charm),
        CharmRefused: lambda read: InvalidInput(read.text),
        EventRead: lambda read: GivenEvent.of(read.stream, read.event, read.at, read.after),
        SourceRead: lambda read: SourceBody.model_construct(
            source=read.source,
            file_name=read.file_name,
            class_name=read.class_name,
            dry_run=read.dry_run,
        ),
    }
    return kinds[type(message)](message)
