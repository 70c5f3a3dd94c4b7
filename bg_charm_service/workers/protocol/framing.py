"""Length-prefixed, size-limited msgpack frames: the only way two processes of ours talk.

Four bytes of big-endian length, then one message of a closed union of msgspec structs.
Nothing is ever unpickled, and half a frame never blocks the reader.
Used by the pool and the workers, the zygote, and the scanner.
"""

from __future__ import annotations

import socket
import struct
from types import UnionType
from typing import Any, Generic, TypeVar

import msgspec

from bg_charm_service.domain.errors import FrameError

#: A frame larger than this is refused, in bytes.
DEFAULT_LIMIT_BYTES = 64 * 1024 * 1024

_LENGTH = struct.Struct(">I")
_HEADER_BYTES = _LENGTH.size
_READ_BYTES = 64 * 1024

#: To copy no more than this, in bytes, is quicker than to look at it where it is.
_COPIED_BYTES = 2048

Message = TypeVar("Message", bound=msgspec.Struct)


class FrameDecoder(Generic[Message]):
    """Collects bytes and gives back the whole messages among them.

    `limit_bytes` may be changed between two frames. `problem` is what is wrong with the bytes
    behind the last message, if anything; once set, nothing more is taken in. `taken_bytes` is the
    size of all frames so far.
    """

    def __init__(self, decoder: msgspec.msgpack.Decoder[Any], limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.problem: FrameError | None = None
        self.taken_bytes = 0
        self._decode = decoder.decode
        self._data: bytes | bytearray = b""
        self._start = 0

    @property
    def is_in_frame(self) -> bool:
        """Whether a part of a frame has come, and not yet all of it."""
        return self._start < len(self._data)

    def add(self, data: bytes) -> None:
        """Take in the bytes that arrived."""
        if self._start == len(self._data):
            self._data, self._start = data, 0
            return
        if not isinstance(self._data, bytearray):
            self._data = bytearray(self._data)
        del self._data[: self._start]
        self._start = 0
        self._data += data

    def take(self) -> Message | None:
        """Give the next message; None until more bytes come. Raises FrameError for what is none."""
        if self.problem is not None:
            raise self.problem
        data, start = self._data, self._start + _HEADER_BYTES
        if start > len(data):
            return None
        (length,) = _LENGTH.unpack_from(data, self._start)
        if length > self.limit_bytes:
            raise self._refuse(f"a frame of {length} bytes is over {self.limit_bytes}")
        end = start + length
        if end > len(data):
            return None
        try:
            if length <= _COPIED_BYTES:
                message: Message = self._decode(data[start:end])
            else:
                with memoryview(data)[start:end] as body:
                    message = self._decode(body)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise self._refuse(f"a frame does not decode: {error}") from None
        self._start = end
        if end == len(data):
            # It may have been large, and nothing may come for long.
            self._data, self._start = b"", 0
        self.taken_bytes += _HEADER_BYTES + length
        return message

    def feed(self, data: bytes) -> list[Message]:
        """Take the bytes that arrived; raises FrameError when they cannot be ours.

        Messages in front of such bytes are given first; then `problem` is set.
        """
        messages: list[Message] = []
        if self.problem is None:
            self.add(data)
        try:
            while (message := self.take()) is not None:
                messages.append(message)
        except FrameError:
            if not messages:
                raise
        return messages

    def _refuse(self, reason: str) -> FrameError:
        self._data, self._start = b"", 0
        self.problem = FrameError(reason)
        return self.problem


class FrameCodec(Generic[Message]):
    """Encodes the messages of one protocol and makes decoders for them."""

    def __init__(self, types: UnionType | type[Message], limit_bytes: int = DEFAULT_LIMIT_BYTES):
        self._encode = msgspec.msgpack.Encoder().encode
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(types)
        self._limit_bytes = limit_bytes

    def encode(self, message: msgspec.Struct, limit_bytes: int | None = None) -> bytes:
        """Give the frame of a message; raises FrameError when it is over the limit."""
        body = self._encode(message)
        limit = self._limit_bytes if limit_bytes is None else limit_bytes
        if len(body) > limit:
            raise FrameError(f"a frame of {len(body)} bytes is over {limit}")
        return _LENGTH.pack(len(body)) + body

    def decoder(self) -> FrameDecoder[Message]:
        """Make a decoder, one for each connection."""
        return FrameDecoder(self._decoder, self._limit_bytes)


class FrameReader(Generic[Message]):
    """Reads messages off a blocking socket, one at a time."""

    def __init__(self, connection: socket.socket, codec: FrameCodec[Message]) -> None:
        self.connection = connection
        self._decoder = codec.decoder()

    def read(self) -> Message | None:
        """Wait for the next message; None when the peer has closed."""
        while (message := self._decoder.take()) is None:
            data = self.connection.recv(_READ_BYTES)
            if not data:
                return None
            self._decoder.add(data)
        return message
