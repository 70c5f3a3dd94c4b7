"""The charms of a simulation: what they do when all is well, and in which ways they misbehave.

A charm's class is told by its source, as text; no code of it exists. `Deed` is what one run does,
and says which causes of failure it deserves.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.model import CharmSchema, FieldKind, FieldSchema, Send
from bg_charm_service.workers.protocol.messages import Answer, RunSpec

POST = "post"


class Kind(StrEnum):
    """The classes of charms; each counts its successful runs in `counter`."""

    COUNTER = "Counter"
    MAILBOX = "Mailbox"  #: keeps the events that were posted to it, in `seen`
    SENDER = "Sender"  #: posts an event to a mailbox with each poll


class Deed(StrEnum):
    """What one run does."""

    WELL = "well"
    SLOW = "slow"
    LEAK = "leak"
    LEAK_ON = "leak and go on"  #: with the next run of the batch, as no worker should
    FILES = "leave files"
    LOG = "log"
    EARLY_READY = "ready again"
    LONG_CLAIM = "claims to have taken ages"
    STALE = "says it is stale"
    RAISE = "raise"
    TIMEOUT = "own timeout"
    STUCK = "stuck"
    EXIT = "exit"
    SIGNAL = "signal"
    GARBAGE = "garbage"
    FORGED = "forged answer"
    TWICE = "answers twice"
    OUT_OF_TURN = "answers for the next run"
    STEAL = "takes what lets the next runs begin"
    CLOSE = "closes its socket"
    NOT_JSON = "writes what is no JSON"
    NO_FIELD = "writes no field"
    NO_LINK = "sends through no link"
    GREED = "memory"
    FATAL = "takes the service down"


#: The causes of failure that a deed deserves; what is not named here deserves none.
DESERVED: dict[Deed, set[FailureCause]] = {
    Deed.RAISE: {FailureCause.ERROR},
    Deed.TIMEOUT: {FailureCause.TIMEOUT},
    Deed.STUCK: {FailureCause.TIMEOUT},
    # A service that was held up sees the closed socket before it hears of the death.
    Deed.EXIT: {FailureCause.EXIT, FailureCause.PROTOCOL},
    Deed.SIGNAL: {FailureCause.SIGNAL, FailureCause.PROTOCOL},
    Deed.GARBAGE: {FailureCause.PROTOCOL},
    Deed.FORGED: {FailureCause.PROTOCOL},
    Deed.OUT_OF_TURN: {FailureCause.PROTOCOL},
    Deed.CLOSE: {FailureCause.PROTOCOL},
    Deed.EARLY_READY: {FailureCause.PROTOCOL},
    Deed.LONG_CLAIM: {FailureCause.PROTOCOL},
    Deed.STALE: {FailureCause.PROTOCOL},
    Deed.NOT_JSON: {FailureCause.STATE},
    Deed.NO_FIELD: {FailureCause.STATE},
    Deed.NO_LINK: {FailureCause.STATE},
    Deed.GREED: {FailureCause.MEMORY, FailureCause.TIMEOUT},
}

#: What a worker may do to the run that comes next in it: charms of one space are not protected
#: from each other's malice.
SPOILS_NEXT = {Deed.TWICE}

#: What comes with a good answer.
DONE_WELL = {
    *(Deed.WELL, Deed.SLOW, Deed.LOG, Deed.LEAK, Deed.LEAK_ON, Deed.FILES, Deed.STEAL),
    *SPOILS_NEXT,
}


@dataclass(frozen=True, slots=True)
class Temper:
    """How often a charm misbehaves, and how: `deeds` are drawn from when it does."""

    rate: float
    deeds: tuple[Deed, ...]


def source_of(kind: Kind, version: int) -> str:
    """Give the source of a class of charms."""
    return f"{kind} version {version}"


def schema_of(source: str) -> CharmSchema:
    """Tell what a source declares."""
    kind = Kind(source.partition(" ")[0])
    fields = [
        FieldSchema("counter", FieldKind.VALUE, b"0"),
        FieldSchema("note", FieldKind.VALUE, b'""'),
    ]
    streams = ["bgUpdater"]
    if kind is Kind.MAILBOX:
        fields.append(FieldSchema("seen", FieldKind.VALUE, b"[]"))
        streams.append(POST)
    if kind is Kind.SENDER:
        fields.append(FieldSchema("out", FieldKind.STREAM, None))
    return CharmSchema(kind, kind, "", tuple(fields), tuple(streams))


def payload_of(charm_id: str, count: int) -> str:
    """Name the event that a sender posts with its success of this number."""
    return f"{charm_id[-8:]}/{count}"


def good_answer(spec: RunSpec, seconds: float) -> Answer:
    """What a charm answers that does what it is there for."""
    counter = json.loads(spec.values["counter"]) + 1
    writes = {"counter": json.dumps(counter).encode()}
    reads: tuple[str, ...] = ("counter", "note")
    sends: tuple[Send, ...] = ()
    if spec.stream == POST:
        seen = [*json.loads(spec.values["seen"]), json.loads(spec.event)["n"]]
        writes["seen"] = json.dumps(seen).encode()
        reads = (*reads, "seen")
    if "out" in spec.links:
        event = {"n": payload_of(spec.charm_id, counter)}
        sends = (Send("out", json.dumps(event).encode()),)
    return Answer(spec.run_id, seconds, reads=reads, writes=writes, sends=sends)
