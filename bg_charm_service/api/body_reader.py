"""The process that reads large bodies: JSON and its check, with the classes of the routes.

It gets bodies on its standard input, a socket, and answers there, one after the other, until the
service closes it. Its memory is bounded: what would take more ends it, or is refused. Started by
`large_bodies`; nothing else calls this.
"""

from __future__ import annotations

import json
import os
import resource
import socket
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from pydantic import ValidationError

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
from bg_charm_service.api.requests import (
    Body,
    CharmBody,
    SendBody,
    SourceBody,
    check_import,
    first_problem,
    read_charm,
)
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.quantities import size_text

#: A body of small values takes many times its size once it is read.
MEMORY_BYTES = 1024 * 1024 * 1024

#: The service itself goes first.
_NICENESS = 10

_Kind = TypeVar("_Kind", bound=Body)


def main() -> None:
    """Read bodies until the service has no more."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(_NICENESS)
    with socket.socket(fileno=0) as connection:
        while (body := _receive(connection)) is not None:
            for message in messages_of(*body):
                connection.sendall(FROM_READER.encode(message))
            del body


def messages_of(kind: BodyKind, body: bytes | bytearray) -> Iterator[FromReader]:
    """Give what a body holds, and its end; or why it is refused."""
    try:
        yield from _READERS[kind](body)
    except InvalidInput as error:
        yield Refused(str(error))
    except MemoryError:
        yield Refused(f"To read it takes more than {size_text(MEMORY_BYTES)} of memory.")
    else:
        yield End()


def _read_charm(body: bytes | bytearray) -> Iterator[FromReader]:
    yield CharmRead(_read(CharmBody, body).to_charm())


def _read_import(body: bytes | bytearray) -> Iterator[FromReader]:
    for value in check_import(_json(body)):
        try:
            charm = read_charm(value)
        except InvalidInput as error:
            yield CharmRefused(str(error))
        else:
            yield CharmRead(charm)


def _read_source(body: bytes | bytearray) -> Iterator[FromReader]:
    read = _read(SourceBody, body)
    yield SourceRead(read.source, read.file_name, read.class_name, read.dry_run)


def _read_event(body: bytes | bytearray) -> Iterator[FromReader]:
    read = _read(SendBody, body)
    yield EventRead(read.stream, read.event_json(), read.at, read.after)


_READERS: dict[BodyKind, Callable[[bytes | bytearray], Iterator[FromReader]]] = {
    "charm": _read_charm,
    "import": _read_import,
    "source": _read_source,
    "event": _read_event,
}


def _read(kind: type[_Kind], body: bytes | bytearray) -> _Kind:
    try:
        return kind.model_validate(_json(body))
    except ValidationError as error:
        raise InvalidInput(first_problem(error.errors())) from None


def _json(body: bytes | bytearray) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidInput("The body is not JSON.") from None


def _receive(connection: socket.socket) -> tuple[BodyKind, bytearray] | None:
    """Wait for a body; None when the service has closed."""
    header = _receive_exactly(connection, HEADER.size)
    if header is None:
        return None
    kind, length = HEADER.unpack(header)
    body = _receive_exactly(connection, length)
    return None if body is None else (KINDS[kind], body)


def _receive_exactly(connection: socket.socket, length: int) -> bytearray | None:
    data = bytearray(length)
    with memoryview(data) as left:
        place = 0
        while place < length:
            count = connection.recv_into(left[place:])
            if not count:
                return None
            place += count
    return data
