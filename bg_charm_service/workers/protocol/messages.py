"""The messages between the supervisor, its zygote and its workers; nothing else crosses.

A worker is not trusted: what it says is bounded here, and by the pool; whatever it answers is
checked again where it is settled.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from bg_charm_service.domain.limits import Limits
from bg_charm_service.domain.model import CharmSchema, Failure, Send
from bg_charm_service.workers.protocol.framing import FrameCodec

#: No frame is larger than this, in bytes; what comes from a worker is bounded by its run.
_LARGEST_BYTES = 1024 * 1024 * 1024

#: One inspection checks no more sets of values.
MOST_SETS: Final = 1000

#: An answer may be larger than the state that it writes by this, in bytes.
_ANSWER_SLACK_BYTES = 1024 * 1024

# A small frame can hold very many small things, each of which costs far more once decoded.
_Names = Annotated[tuple[str, ...], Meta(max_length=10_000)]
_Values = Annotated[dict[str, bytes], Meta(max_length=10_000)]
_Texts = Annotated[dict[str, str], Meta(max_length=10_000)]
_Seconds = Annotated[float, Meta(ge=0.0, le=1e9)]


def answer_limit_bytes(limits: Limits) -> int:
    """How large the answer of a run may be."""
    return limits.state_bytes + _ANSWER_SLACK_BYTES


class WorkerSettings(msgspec.Struct, frozen=True):
    """What a worker is started with, before it knows whom it serves.

    `scratch` is the path of its scratch directory. With `has_walls` it is sandboxed before it is
    ready. One that holds more than `retire_bytes` after a run asks to be replaced; 0 for never.
    `missing_walls` are those that this machine cannot have; without any other it must not live.
    """

    scratch: str = ""
    has_walls: bool = False
    retire_bytes: int = 0
    missing_walls: tuple[str, ...] = ()


class RunSpec(msgspec.Struct, frozen=True, tag="run", array_like=True):
    """One attempt to make: the charm, the event, and the values it starts from.

    `source` is left out when this worker has been sent that `source_hash` before. `large`
    names fields that are fetched at first touch. `links` says for each link whether it is writable.
    """

    run_id: str
    job_id: int
    attempt: int
    space: str
    charm_id: str
    source_hash: str
    source: str | None
    file_name: str
    class_name: str
    stream: str
    event: bytes
    values: dict[str, bytes]
    large: tuple[str, ...]
    links: dict[str, bool]
    last_success: float | None
    limits: Limits


class FieldValue(msgspec.Struct, frozen=True, tag="field", array_like=True):
    """A large field that a run asked for; None when it moved meanwhile, and the run is stale.

    The pool fills in which run asked.
    """

    field: str
    value: bytes | None
    run_id: str = ""


class GoOn(msgspec.Struct, frozen=True, tag="go on", array_like=True):
    """What the last run left behind is dealt with: the worker may begin the next one."""


class Inspect(msgspec.Struct, frozen=True, tag="inspect", array_like=True):
    """A source to load and describe, and sets of values to check against its fields."""

    request_id: int
    source: str
    file_name: str
    class_name: str | None
    values: tuple[dict[str, bytes], ...]
    limits: Limits


class Ready(msgspec.Struct, frozen=True, tag="ready", array_like=True):
    """The worker has booted."""


class FetchField(msgspec.Struct, frozen=True, tag="fetch", array_like=True):
    """The run touched a large field."""

    run_id: str
    field: str


class LogText(msgspec.Struct, frozen=True, tag="log", array_like=True):
    """Something that the charm printed or logged."""

    run_id: str
    text: str


class Answer(msgspec.Struct, frozen=True, tag="answer", array_like=True):
    """The result of one run; `leak` says what outlived it, so that the worker is retired.

    A worker that `pauses` begins nothing before it is told to go on: the run has left files or
    raw output behind, or something for which the worker is not to make another run.
    """

    run_id: str
    duration_seconds: _Seconds
    failure: Failure | None = None
    reads: _Names = ()
    writes: _Values = {}
    sends: Annotated[tuple[Send, ...], Meta(max_length=10_000)] = ()
    stale: bool = False
    leak: str = ""
    pauses: bool = False


class Inspected(msgspec.Struct, frozen=True, tag="inspected", array_like=True):
    """What loading a source showed: its description, or why it does not compile.

    For each set of values, `values` has them normalised, and `problems` what does not fit.
    """

    request_id: int
    schema: CharmSchema | None = None
    error: str = ""
    values: Annotated[tuple[_Values, ...], Meta(max_length=MOST_SETS)] = ()
    problems: Annotated[tuple[_Texts, ...], Meta(max_length=MOST_SETS)] = ()


ToWorker = RunSpec | FieldValue | Inspect | GoOn
FromWorker = Ready | FetchField | LogText | Answer | Inspected

TO_WORKER: FrameCodec[ToWorker] = FrameCodec(ToWorker, _LARGEST_BYTES)
FROM_WORKER: FrameCodec[FromWorker] = FrameCodec(FromWorker, _LARGEST_BYTES)


class Spawn(msgspec.Struct, frozen=True, tag="spawn"):
    """Fork one worker; its socket, its two output pipes and its ticket box come along."""

    worker_no: int
    settings: WorkerSettings


class Spawned(msgspec.Struct, frozen=True, tag="spawned"):
    """A worker was forked."""

    worker_no: int
    pid: int


class Exited(msgspec.Struct, frozen=True, tag="exited"):
    """A worker is gone: its exit code, or minus the signal that ended it."""

    worker_no: int
    exit_code: int


FromZygote = Spawned | Exited
