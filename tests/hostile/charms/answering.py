"""Talks to the service in the worker's place: garbage, floods, forged answers."""

import math
import os
import pickle
import stat
import threading

from bg_charm_service.errors import FailureCause
from bg_charm_service.wire import (
    FROM_WORKER,
    Answer,
    FailureSpec,
    FetchField,
    FromWorker,
    Inspected,
    LogText,
    Ready,
    SendSpec,
)
from tests.hostile.charms.hostile import Hostile, ends


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


def answer(charm: Hostile, **given: object) -> object:
    """Answer for this run before it is over."""
    return tell(Answer(charm.context.run_id, 0.001, **given))  # type: ignore[arg-type]


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
def half_a_frame(charm: Hostile) -> object:
    """The promise of a little, never kept."""
    return say(b"\0\0\1\0half")


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
    return tell(*(Inspected(number, None, "planted") for number in range(1, 100)))


@ends("protocol", "")
def writes_of_no_field(charm: Hostile) -> object:
    """A value for a field that its class has not."""
    return answer(charm, writes={"planted": b"1"})


@ends("protocol", "")
def reads_of_no_field(charm: Hostile) -> object:
    """The claim to have read such a field."""
    return answer(charm, reads=("planted",))


@ends("state", "loot")
def writes_of_no_json(charm: Hostile) -> object:
    """A value that nobody could read again."""
    return answer(charm, writes={"loot": b"not json"})


@ends("state", "loot")
def writes_of_two_values(charm: Hostile) -> object:
    """Two values in the place of one."""
    return answer(charm, writes={"loot": b'[] , "$stream": true'})


@ends("state", "loot")
def writes_of_deep_json(charm: Hostile) -> object:
    """A value in which whoever reads it is lost."""
    return answer(charm, writes={"loot": b"[" * 200_000 + b"]" * 200_000})


@ends("state", "loot")
def writes_of_no_text(charm: Hostile) -> object:
    """A value that is not even text."""
    return answer(charm, writes={"loot": b'"\xff\xfe"'})


@ends("state_size", "state")
def writes_of_too_much(charm: Hostile) -> object:
    """More than a state may be."""
    return answer(charm, writes={"loot": b'["' + b"x" * 1_200_000 + b'"]'})


@ends("protocol", "")
def sends_without_a_link(charm: Hostile) -> object:
    """An event for somebody whom it has no link to."""
    return answer(charm, sends=(SendSpec("loot", b"{}"),))


@ends("protocol", "")
def sends_very_many(charm: Hostile) -> object:
    """Events, more than anybody can take."""
    return answer(charm, sends=tuple(SendSpec("planted", b"{}") for _ in range(30_000)))


@ends("protocol", "")
def time_that_is_no_number(charm: Hostile) -> object:
    """A duration with which no sum can be made."""
    return tell(Answer(charm.context.run_id, math.nan))


@ends("error", "planted")
def failure_with_a_long_text(charm: Hostile) -> object:
    """A failure of its own, told at length."""
    text = "planted " * 100_000
    return answer(charm, failure=FailureSpec(FailureCause.ERROR, text, text))
