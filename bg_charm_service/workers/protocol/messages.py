"""The messages between the supervisor, its zygote and its workers; nothing else crosses.

A worker is not trusted: what it says is bounded here, and by the pool; whatever it answers is
checked again where it is settled.
"""

from __future__ import annotations

import os
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from bg_charm_service.domain.class_words import Said
from bg_charm_service.domain.events.hooks import GivenHook
from bg_charm_service.domain.items import (
    LONGEST_KEY_BYTES,
    MOST_TOGETHER,
    StoredItem,
    TouchedItems,
)
from bg_charm_service.domain.limits import Limits
from bg_charm_service.domain.model import CharmSchema, Failure, Remind, Send
from bg_charm_service.domain.outcomes.refusals import Refusal
from bg_charm_service.domain.outcomes.run_endings import Ending
from bg_charm_service.domain.text_limits import MOST_NOTICES, NOTICE_CHARACTERS
from bg_charm_service.domain.web.requests import MOST_REQUESTS, HttpRequest
from bg_charm_service.workers.protocol.framing import FrameCodec

#: No frame is larger than this, in bytes; what comes from a worker is bounded by its run.
_LARGEST_BYTES = 1024 * 1024 * 1024

#: With this a worker ends that has begun nothing, and in which nothing else is to run: it is
#: replaced, at no cost for any charm.
UNFIT_EXIT_CODE: Final = os.EX_TEMPFAIL

#: One inspection checks no more sets of values.
MOST_SETS: Final = 1000

#: One run asks no more often for tokens to be renewed.
MOST_RENEWALS: Final = 20

#: One run tells no more often of requests that go out and come back; its answer tells of all.
MOST_TOLD_REQUESTS: Final = 20_000

#: An answer says no more of what was refused to a run.
MOST_REFUSED: Final = 5

#: A run that waits longer for what it asked the service for does not pay for that time.
FORGIVEN_SECONDS: Final = 1.0

#: An answer may be larger than the state that it writes by this, in bytes.
_ANSWER_SLACK_BYTES = 1024 * 1024

# A small frame can hold very many small things, each of which costs far more once decoded.
_Names = Annotated[tuple[str, ...], Meta(max_length=10_000)]
_Values = Annotated[dict[str, bytes], Meta(max_length=10_000)]
_Texts = Annotated[dict[str, str], Meta(max_length=10_000)]
_Said = Annotated[dict[str, Said], Meta(max_length=100)]
_Seconds = Annotated[float, Meta(ge=0.0, le=1e9)]


def answer_limit_bytes(limits: Limits) -> int:
    """How large the answer of a run may be."""
    return limits.state_bytes + _ANSWER_SLACK_BYTES


class WorkerSettings(msgspec.Struct, frozen=True):
    """What a worker is started with, before it knows whom it serves.

    `scratch` is the path of its scratch directory. With `has_walls` it is sandboxed before it is
    ready. One that holds more than `retire_bytes` after a run asks to be replaced; 0 for never.
    `missing_walls` are those that this machine cannot have; without any other it must not live.
    Under `packages_root` lie the folders of packages, of which it may be bound to one.
    """

    scratch: str = ""
    has_walls: bool = False
    retire_bytes: int = 0
    missing_walls: tuple[str, ...] = ()
    packages_root: str = ""


class RunSpec(msgspec.Struct, frozen=True, tag="run", array_like=True, gc=False):
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
    #: What the large fields take that did not come along, in bytes.
    large_bytes: int = 0
    #: For when a poll was due, and the same of the last one that succeeded, by the wall clock.
    scheduled_at: float | None = None
    previous: float | None = None
    #: Where senders outside reach streams of it; of most runs nothing.
    hooks: dict[str, GivenHook] = {}
    #: How many items the charm's own collections have.
    counts: dict[str, int] = {}


class FieldValue(msgspec.Struct, frozen=True, tag="field", array_like=True):
    """A large field that a run asked for; None when it moved meanwhile, and the run is stale.

    The pool fills in which run asked.
    """

    field: str
    value: bytes | None
    run_id: str = ""


class FoundItems(msgspec.Struct, frozen=True, tag="items", array_like=True):
    """What a run asked for of a collection, which is at `version` and has `count` items.

    With a `problem` there is nothing to be had, for a reason that is the charm's to know; one that
    `is_lost` was not to be read now, for none of the charm's, and the run is stale.
    """

    run_id: str
    items: tuple[StoredItem, ...] = ()
    version: int = 0
    count: int = 0
    is_end: bool = False
    problem: str = ""
    is_lost: bool = False


class TokenGiven(msgspec.Struct, frozen=True, tag="token", array_like=True):
    """A sign-in, renewed: what the run may see of it, JSON; None where there is none to be had.

    Then `ending` says how the run has to end.
    """

    field: str
    value: bytes | None
    ending: Ending | None = None
    run_id: str = ""


class GoOn(msgspec.Struct, frozen=True, tag="go on", array_like=True):
    """What the last run left behind is dealt with: the worker may begin the next one."""


class Inspect(msgspec.Struct, frozen=True, tag="inspect", array_like=True):
    """A source to load and describe, and sets of values to check against its fields.

    An event too, against the type of the handler of its `stream`.
    """

    request_id: int
    source: str
    file_name: str
    class_name: str | None
    values: tuple[dict[str, bytes], ...]
    limits: Limits
    stream: str = ""
    event: bytes = b""


class _FromWorker(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A message with nothing behind its members: how deep that may be differs by Python."""


class Ready(_FromWorker, frozen=True, tag="ready"):
    """The worker has booted."""


class FetchField(_FromWorker, frozen=True, tag="fetch"):
    """The run touched a large field."""

    run_id: str
    field: str


class WantItems(_FromWorker, frozen=True, tag="want items"):
    """The run looks into a collection: for keys, or for up to `limit` items behind a key.

    Neither keys nor a limit asks for the length alone. A worker waits for what it asked for before
    it says anything else.
    """

    run_id: str
    field: str
    keys: Annotated[
        tuple[Annotated[str, Meta(max_length=LONGEST_KEY_BYTES)], ...],
        Meta(max_length=MOST_TOGETHER),
    ] = ()
    after: Annotated[str, Meta(max_length=LONGEST_KEY_BYTES)] = ""
    limit: Annotated[int, Meta(ge=0, le=MOST_TOGETHER)] = 0
    has_values: bool = False


class ItemsTouched(_FromWorker, frozen=True, tag="touched"):
    """A part of what a run touched of its collections; all of them come before its answer."""

    run_id: str
    touched: TouchedItems


class TokenWanted(_FromWorker, frozen=True, tag="renew"):
    """A provider refused the token of a sign-in; `seen` is the fingerprint of that token."""

    run_id: str
    field: str
    seen: str


class RequestTold(_FromWorker, frozen=True, tag="request"):
    """A request of the run goes out, or is over: what is known of it if no answer comes."""

    run_id: str
    request: HttpRequest


class LogText(_FromWorker, frozen=True, tag="log"):
    """Something that the charm printed or logged."""

    run_id: str
    text: str


class Answer(_FromWorker, frozen=True, tag="answer", gc=False):
    """The result of one run; `leak` says what outlived it, so that the worker is retired.

    With an `ending` that is no success, `failure` has its text and its traceback.
    `refused` is what was refused to the run beside that, which no exception may have shown.
    `requests` are those that went out by the client of the service, `notices` what it says to
    people.
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
    reminds: Annotated[tuple[Remind, ...], Meta(max_length=10_000)] = ()
    ending: Ending | None = None
    refused: Annotated[tuple[Refusal, ...], Meta(max_length=MOST_REFUSED)] = ()
    requests: Annotated[tuple[HttpRequest, ...], Meta(max_length=MOST_REQUESTS)] = ()
    notices: Annotated[
        tuple[Annotated[str, Meta(max_length=NOTICE_CHARACTERS)], ...],
        Meta(max_length=MOST_NOTICES),
    ] = ()


class Inspected(_FromWorker, frozen=True, tag="inspected"):
    """What loading a source showed: its description, or the failure that kept it from loading.

    For each set of values, `values` has them normalised, and `problems` what does not fit.
    `said` are the words of the class, as they stand there; `hidden` and `withheld` are names, as
    `domain.class_words` tells of them. `event_problem` is why the event does not fit.
    """

    request_id: int
    schema: CharmSchema | None = None
    failure: Failure | None = None
    values: Annotated[tuple[_Values, ...], Meta(max_length=MOST_SETS)] = ()
    problems: Annotated[tuple[_Texts, ...], Meta(max_length=MOST_SETS)] = ()
    said: _Said = {}
    hidden: _Names = ()
    withheld: _Names = ()
    event_problem: str = ""


ToWorker = RunSpec | FieldValue | FoundItems | TokenGiven | Inspect | GoOn
FromWorker = (
    Ready
    | FetchField
    | WantItems
    | ItemsTouched
    | TokenWanted
    | RequestTold
    | LogText
    | Answer
    | Inspected
)

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
