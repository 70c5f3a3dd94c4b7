"""Answers for its own run before that is over, with what no run could have come to."""

import math
import os
import stat
import threading
from typing import Any

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.model import Failure, Send
from bg_charm_service.workers.protocol.messages import FROM_WORKER, Answer
from tests.hostile.charms.hostile import Hostile, ends


def answer(charm: Hostile, **given: Any) -> object:
    """Answer in the worker's place, and be still."""
    forged = Answer(charm.context.run_id, given.pop("duration_seconds", 0.001), **given)
    frame = FROM_WORKER.encode(forged)
    for fd in range(3, 64):
        if is_socket(fd):
            while frame:
                frame = frame[os.write(fd, frame) :]
    return threading.Event().wait()


def is_socket(fd: int) -> bool:
    """Whether a descriptor is a socket."""
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False


@ends("state", "planted")
def writes_of_no_field(charm: Hostile) -> object:
    """A value for a field that its class has not."""
    return answer(charm, writes={"planted": b"1"})


@ends("success")
def reads_of_no_field(charm: Hostile) -> object:
    """The claim to have read such a field: it means nothing."""
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


@ends("state_size", "may leave 1M")
def writes_of_too_much(charm: Hostile) -> object:
    """More than a state may be."""
    return answer(charm, writes={"loot": b'["' + b"x" * 1_200_000 + b'"]'})


@ends("state", "no link")
def sends_without_a_link(charm: Hostile) -> object:
    """An event for somebody whom it has no link to."""
    return answer(charm, sends=(Send("loot", b"{}"),))


@ends("protocol", "does not decode")
def sends_very_many(charm: Hostile) -> object:
    """Events, more than anybody can take."""
    return answer(charm, sends=tuple(Send("planted", b"{}") for _ in range(30_000)))


@ends("protocol", "")
def time_that_is_no_number(charm: Hostile) -> object:
    """A duration with which no sum can be made."""
    return answer(charm, duration_seconds=math.nan)


@ends("error", "planted")
def failure_with_a_long_text(charm: Hostile) -> object:
    """A failure of its own, told at length."""
    text = "planted " * 100_000
    return answer(charm, failure=Failure(FailureCause.ERROR, text, text))
