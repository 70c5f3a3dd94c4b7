"""Length-prefixed, size-limited msgpack frames: the only way two processes of ours talk.

Four bytes of big-endian length, then one message of a closed union of msgspec structs.
Nothing is ever unpickled, and half a frame never blocks the reader.
Used by the pool and the workers, the zygote, and the scanner.
"""

from __future__ import annotations

import socket
from types import UnionType
from typing import Any, Generic, TypeVar

import msgspec

from bg_charm_service.errors import FrameError

#: A frame larger than this is refused, in bytes.
DEFAULT_LIMIT_BYTES = 64 * 1024 * 1024

_HEADER_BYTES = 4
_READ_BYTES = 256 * 1024

Message = TypeVar("Message", bound=msgspec.Struct)


class FrameDecoder(Generic[Message]):
    """Collects bytes and gives back the whole messages among them.

    `limit_bytes` may be changed between two frames. `problem` is what is wrong with the bytes
    behind the last message, if anything; once set, nothing more is taken in.
    """

    def __init__(self, decoder: msgspec.msgpack.Decoder[Any], limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.problem: FrameError | None = None
        self._decoder = decoder
        self._buffer = bytearray()

    @property
    def is_in_frame(self) -> bool:
        """Whether a part of a frame has come, and not yet all of it."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[Message]:
        """Take the bytes that arrived; raises FrameError when they cannot be ours.

        Messages in front of such bytes are given first; then `problem` is set.
        """
        messages: list[Message] = []
        if self.problem is None:
            try:
                self._take(data, messages)
            except FrameError as error:
                self.problem = error
                self._buffer.clear()
        if self.problem is not None and not messages:
            raise self.problem
        return messages

    def _take(self, data: bytes, messages: list[Message]) -> None:
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= _HEADER_BYTES:
            length = int.from_bytes(buffer[start : start + _HEADER_BYTES], "big")
            if length > self.limit_bytes:
                raise FrameError(f"a frame of {length} bytes is over {self.limit_bytes}")
            end = start + _HEADER_BYTES + length
            if len(buffer) < end:
                break
            try:
                with memoryview(buffer)[start + _HEADER_BYTES : end] as body:
                    messages.append(self._decoder.decode(body))
            except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
                raise FrameError(f"a frame does not decode: {error}") from None
            start = end
        del buffer[:start]


class FrameCodec(Generic[Message]):
    """Encodes the messages of one protocol and makes decoders for them."""

    def __init__(self, types: UnionType | type[Message], limit_bytes: int = DEFAULT_LIMIT_BYTES):
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(types)
        self._limit_bytes = limit_bytes

    def encode(self, message: msgspec.Struct, limit_bytes: int | None = None) -> bytes:
        """Give the frame of a message; raises FrameError when it is over the limit."""
        body = self._encoder.encode(message)
        limit = self._limit_bytes if limit_bytes is None else limit_bytes
        if len(body) > limit:
            raise FrameError(f"a frame of {len(body)} bytes is over {limit}")
        return len(body).to_bytes(_HEADER_BYTES, "big") + body

    def decoder(self) -> FrameDecoder[Message]:
        """Make a decoder, one for each connection."""
        return FrameDecoder(self._decoder, self._limit_bytes)


class FrameReader(Generic[Message]):
    """Reads messages off a blocking socket, one at a time."""

    def __init__(self, connection: socket.socket, codec: FrameCodec[Message]) -> None:
        self._connection = connection
        self._decoder = codec.decoder()
        self._ready: list[Message] = []

    def read(self) -> Message | None:
        """Wait for the next message; None when the peer has closed."""
        while not self._ready:
            data = self._connection.recv(_READ_BYTES)
            if not data:
                return None
            self._ready = self._decoder.feed(data)
        return self._ready.pop(0)
