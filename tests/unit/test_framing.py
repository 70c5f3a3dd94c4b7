"""Frames: whole messages out of any pieces, and nothing else."""

from __future__ import annotations

import socket
import tracemalloc
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bg_charm_service.domain.errors import FrameError
from bg_charm_service.workers.protocol.framing import FrameCodec, FrameReader


class Ask(msgspec.Struct, frozen=True, tag=True):
    """A question."""

    text: str
    body: bytes = b""


class Reply(msgspec.Struct, frozen=True, tag=True):
    """An answer."""

    number: int


Message = Ask | Reply
CODEC: FrameCodec[Message] = FrameCodec(Message)
SMALL: FrameCodec[Message] = FrameCodec(Message, limit_bytes=64)

texts = st.text(max_size=20)
messages = st.builds(Ask, texts, st.binary(max_size=50)) | st.builds(
    Reply, st.integers(-(2**63), 2**63 - 1)
)


@given(st.lists(messages, max_size=6), st.data())
def test_messages_survive_any_split(sent: list[Message], data: st.DataObject) -> None:
    """However the bytes arrive, the same messages come out in the same order."""
    stream = b"".join(CODEC.encode(message) for message in sent)
    decoder, got = CODEC.decoder(), []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        got += decoder.feed(stream[:cut])
        stream = stream[cut:]
    assert sent == got


def test_message_comes_as_soon_as_it_is_whole() -> None:
    """No message waits for the one behind it, and none comes early."""
    frame = CODEC.encode(Ask("hello", b"x" * 100))
    decoder = CODEC.decoder()
    assert [] == decoder.feed(frame[:-1])
    assert [Ask("hello", b"x" * 100)] == decoder.feed(frame[-1:] + frame[:3])
    assert [Ask("hello", b"x" * 100)] == decoder.feed(frame[3:])


def test_nothing_is_kept_of_what_was_taken() -> None:
    """A large message takes memory while somebody has it, and no longer."""
    frame = CODEC.encode(Ask("large", bytes(10_000_000)))
    tracemalloc.start()
    try:
        decoder = CODEC.decoder()
        for start in range(0, len(frame), 1_000_000):
            decoder.add(frame[start : start + 1_000_000])
        assert decoder.take() is not None
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()


def test_body_is_the_receivers_own() -> None:
    """A received value stays what it was when more bytes arrive."""
    decoder = CODEC.decoder()
    (first,) = decoder.feed(CODEC.encode(Ask("a", b"first")))
    decoder.feed(CODEC.encode(Ask("b", b"other")) * 50)
    assert Ask("a", b"first") == first


def test_too_large_a_message_is_not_sent() -> None:
    """The sender is told before a byte leaves."""
    with pytest.raises(FrameError, match="is over 64"):
        SMALL.encode(Ask("", b"x" * 100))


def test_too_large_a_frame_is_refused_by_its_header() -> None:
    """A receiver does not collect what it would refuse: four bytes are enough to know."""
    with pytest.raises(FrameError, match="is over 64"):
        SMALL.decoder().feed(CODEC.encode(Ask("", b"x" * 100))[:4])


class Stranger(msgspec.Struct, frozen=True, tag=True):
    """A message of another protocol."""

    text: str


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x80",
        b"\x93\x01\x02",
        msgspec.msgpack.encode(Stranger("hello")),
        msgspec.msgpack.encode({"type": "Reply", "number": "seven"}),
        b"\x91" * 5000 + b"\x00",
        b"\x82\xa4type\xa3Ask\xa4text\xa2\xff\xfe",
    ],
    ids=["empty", "no code", "no tag", "cut", "stranger", "type", "deep", "not utf-8"],
)
def test_foreign_bytes_are_refused(body: bytes) -> None:
    """A frame that is no message of the protocol is an error of the peer, whatever is in it."""
    with pytest.raises(FrameError, match="does not decode"):
        CODEC.decoder().feed(len(body).to_bytes(4, "big") + body)


@given(st.binary(max_size=200))
def test_noise_gives_messages_or_a_frame_error(noise: bytes) -> None:
    """No bytes at all make the decoder fail in another way."""
    with suppress(FrameError):
        assert all(isinstance(got, Message) for got in SMALL.decoder().feed(noise))


def test_reader_gives_one_message_at_a_time_until_the_end() -> None:
    """A blocking reader gives what came before the peer closed, then None; half a frame is lost."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(CODEC.encode(Reply(1)) + CODEC.encode(Reply(2)))
            theirs.sendall(CODEC.encode(Reply(3))[:-1])
        reader = FrameReader(ours, CODEC)
        assert [Reply(1), Reply(2), None] == [reader.read() for _ in range(3)]
