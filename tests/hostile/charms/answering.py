"""Talks to the service in the worker's place: garbage, floods, answers for others."""

import os
import pickle
import socket
import stat
import struct
import threading

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.model import Failure
from bg_charm_service.workers.protocol.messages import (
    FROM_WORKER,
    Answer,
    FetchField,
    FromWorker,
    Inspected,
    LogText,
    Ready,
)
from tests.hostile.charms.hostile import Hostile, ends

PLANTED = Failure(FailureCause.COMPILER, "planted")


def connection() -> int:
    """Find the worker's socket among what is open."""
    return next(fd for fd in range(3, 64) if is_socket(fd))


def is_socket(fd: int) -> bool:
    """Whether a descriptor is a socket that belongs to no loop of the charm's own."""
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False


def say(data: bytes) -> object:
    """Write all of it to the service, and give it the time to take it ill."""
    fd = connection()
    while data:
        data = data[os.write(fd, data) :]
    return threading.Event().wait()


def tell(*messages: FromWorker) -> object:
    """Send whole messages."""
    return say(b"".join(FROM_WORKER.encode(message) for message in messages))


@ends("protocol", "protocol")
def garbage(charm: Hostile) -> object:
    """What means nothing."""
    return say(b"\0\0\0\4none")


@ends("protocol", "protocol")
def a_request_of_the_web(charm: Hostile) -> object:
    """What means something to others."""
    return say(b"GET / HTTP/1.1\r\nHost: service\r\n\r\n")


@ends("protocol", "protocol")
def pickle_of_a_bomb(charm: Hostile) -> object:
    """A program for whoever unpickles."""
    data = pickle.dumps(print)
    return say(len(data).to_bytes(4, "big") + data)


@ends("protocol", "protocol")
def frame_without_end(charm: Hostile) -> object:
    """The promise of four gigabytes."""
    return say(b"\xff\xff\xff\xff")


@ends("protocol", "protocol")
def frame_beyond_the_state(charm: Hostile) -> object:
    """The promise of more than any answer of it may hold."""
    return say((60 * 1024 * 1024).to_bytes(4, "big") + b"x" * 1024 * 1024)


@ends("protocol", "protocol")
def nested_frame(charm: Hostile) -> object:
    """Lists in lists, deeper than a reader's stack."""
    data = b"\x91" * 500_000
    return say(len(data).to_bytes(4, "big") + data)


@ends("protocol", "protocol")
def bomb_of_lengths(charm: Hostile) -> object:
    """The promise of a list of four thousand million."""
    data = b"\x82\xa4type\xa6answer\xa6run_id\xdd\xff\xff\xff\xff"
    return say(len(data).to_bytes(4, "big") + data)


@ends("protocol", "protocol")
def flood_of_log(charm: Hostile) -> object:
    """Words without end."""
    text = LogText(charm.context.run_id, "x" * 1000)
    while True:
        os.write(connection(), FROM_WORKER.encode(text) * 100)


@ends("protocol", "protocol")
def flood_of_log_of_none(charm: Hostile) -> object:
    """Words for a run that is none."""
    while True:
        os.write(connection(), FROM_WORKER.encode(LogText("none", "x")) * 1000)


@ends("protocol", "protocol")
def flood_of_questions(charm: Hostile) -> object:
    """One field, asked for again and again."""
    while True:
        os.write(connection(), FROM_WORKER.encode(FetchField(charm.context.run_id, "loot")) * 100)


@ends("protocol", "protocol")
def flood_of_readiness(charm: Hostile) -> object:
    """Ready, and ready, and ready."""
    while True:
        os.write(connection(), FROM_WORKER.encode(Ready()) * 1000)


@ends("protocol", "protocol")
def field_of_no_name(charm: Hostile) -> object:
    """A question for a field that there is not."""
    return tell(FetchField(charm.context.run_id, "secret"))


@ends("protocol", "protocol")
def answer_for_another_run(charm: Hostile) -> object:
    """An answer for a run of somebody else."""
    return tell(Answer(charm.target["run_of_the_neighbour"], 0.001))


@ends("protocol", "protocol")
def answer_for_another_space(charm: Hostile) -> object:
    """An answer for a run of somebody in another space."""
    forged = {"counter": b"1000000"}
    return tell(Answer(charm.target["run_of_the_stranger"], 0.001, writes=forged))


@ends("protocol", "protocol")
def report_about_a_source(charm: Hostile) -> object:
    """The report that somebody waits for who adds a charm."""
    return tell(*(Inspected(number, None, PLANTED) for number in range(1, 100)))


@ends("protocol", "protocol")
def a_descriptor_along(charm: Hostile) -> object:
    """A descriptor of its own, put into the service's hands beside garbage."""
    with socket.socket(fileno=os.dup(connection())) as one:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", 2))
        one.sendmsg([b"\0\0\0\4none"], [rights])
    return threading.Event().wait()
