"""The charms of a simulation: what they do when all is well, and in which ways they misbehave.

A charm's class is told by its source, as text; no code of it exists. `Deed` is what one run does,
and says which causes of failure it deserves.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.events.hooks import HookSchema, Scheme
from bg_charm_service.domain.items import SeenRange, TouchedItems
from bg_charm_service.domain.model import (
    CharmSchema,
    Failure,
    FieldKind,
    FieldSchema,
    Remind,
    Send,
)
from bg_charm_service.domain.outcomes.policy import RunStatus
from bg_charm_service.domain.outcomes.run_endings import Ending, EndingKind
from bg_charm_service.workers.protocol.messages import Answer, FoundItems, RunSpec, WantItems

POST = "post"

#: The collections of a hub, and the one of a taker that names its successful runs.
SIDES = ("left", "right")
DONE = "done"

#: The field with what hooks share with their senders.
SHARED = "shared"

#: The field that is a sign-in, and at whom.
AUTH = "auth"
PROVIDER = "microsoft"


class Kind(StrEnum):
    """The classes of charms; each counts its successful runs in `counter`."""

    COUNTER = "Counter"
    #: Keeps the events that were posted to it, in `seen`; with each poll it asks for a reminder.
    MAILBOX = "Mailbox"
    SENDER = "Sender"  #: posts an event to a mailbox with each poll
    #: Has two collections, of which one at least is always empty: takers see to that.
    HUB = "Hub"
    #: Adds to one side of a hub where the other is empty, else takes from there; notes each run.
    TAKER = "Taker"
    #: Signs in at a provider.
    SIGNED = "Signed"
    #: Has the sign-in of another charm by a link.
    READER = "Reader"
    #: Has people told of each success.
    TELLER = "Teller"
    #: A mailbox that senders outside deliver to, and poke.
    HOOKED = "Hooked"


#: Those that need a sign-in.
SIGN_IN = (Kind.SIGNED, Kind.READER)


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
    AGAIN = "names its next run"
    WAIT = "asks to wait"
    DOWN = "finds its provider down"
    NO_HOST = "finds a provider down that it does not name"
    SIGN_IN = "needs a sign-in"
    STOP = "is done for good"


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
    Deed.NO_HOST: {FailureCause.ERROR},
}

#: As what a run is recorded that ends neither well nor badly.
NEITHER: dict[Deed, RunStatus] = {
    Deed.WAIT: RunStatus.WAITING,
    Deed.DOWN: RunStatus.DOWN,
    Deed.SIGN_IN: RunStatus.SIGN_IN,
    Deed.STOP: RunStatus.STOPPED,
}

#: How far away the times are that charms name, in seconds.
NAMED_SECONDS = (60.0, 3600.0, 172_800.0)

#: The providers that charms ask, each its own.
HOSTS = tuple(f"api{number}.example.org" for number in range(3))

#: What a worker may do to the run that comes next in it: charms of one space are not protected
#: from each other's malice.
SPOILS_NEXT = {Deed.TWICE}

#: What comes with a good answer.
DONE_WELL = {
    *(Deed.WELL, Deed.SLOW, Deed.LOG, Deed.LEAK, Deed.LEAK_ON, Deed.FILES, Deed.STEAL, Deed.AGAIN),
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
    if kind in (Kind.MAILBOX, Kind.HOOKED):
        fields.append(FieldSchema("seen", FieldKind.VALUE, b"[]"))
        streams.append(POST)
    hooks = {}
    if kind is Kind.HOOKED:
        fields.append(FieldSchema(SHARED, FieldKind.SECRET, b'"shared"'))
        hooks[POST] = HookSchema(Scheme.TOKEN, SHARED)
        hooks["bgUpdater"] = HookSchema(Scheme.TOKEN, SHARED, is_poke=True)
    if kind is Kind.HUB:
        fields += [FieldSchema(side, FieldKind.ITEMS, None) for side in SIDES]
    if kind is Kind.TAKER:
        fields += [FieldSchema(side, FieldKind.ITEMS_CELL, None) for side in SIDES]
        fields.append(FieldSchema(DONE, FieldKind.ITEMS, None))
    if kind in SIGN_IN:
        fields.append(FieldSchema(AUTH, FieldKind.OAUTH, None, PROVIDER))
    if kind is Kind.SENDER:
        fields.append(FieldSchema("out", FieldKind.STREAM, None))
    return CharmSchema(kind, kind, "", tuple(fields), tuple(streams), hooks=hooks)


def host_of(charm_id: str) -> str:
    """Name the provider of a charm."""
    return HOSTS[sum(charm_id.encode()) % len(HOSTS)]


def neither(spec: RunSpec, deed: Deed, seconds: float, named: float) -> Answer:
    """What a charm answers that ends neither well nor badly; `named` is the time that it names."""
    kinds = {
        Deed.WAIT: (FailureCause.WAIT, Ending(EndingKind.WAIT, named, "later")),
        Deed.DOWN: (
            FailureCause.DOWN,
            Ending(EndingKind.DOWN, None, "refused", host_of(spec.charm_id)),
        ),
        Deed.NO_HOST: (FailureCause.DOWN, Ending(EndingKind.DOWN, None, "refused")),
        Deed.SIGN_IN: (FailureCause.SIGN_IN, Ending(EndingKind.SIGN_IN, None, "revoked")),
        Deed.STOP: (FailureCause.STOP, Ending(EndingKind.STOP, None, "done")),
    }
    cause, ending = kinds[deed]
    return Answer(spec.run_id, seconds, failure=Failure(cause, ending.why), ending=ending)


#: How a run is recorded that ended so.
STATUSES = {
    EndingKind.WAIT: "waiting",
    EndingKind.DOWN: "down",
    EndingKind.SIGN_IN: "sign_in",
}


def answer_without_token(spec: RunSpec, seconds: float, ending: Ending) -> Answer:
    """What a charm answers whose token was refused, and could not be renewed."""
    causes = {
        EndingKind.WAIT: FailureCause.WAIT,
        EndingKind.DOWN: FailureCause.DOWN,
        EndingKind.SIGN_IN: FailureCause.SIGN_IN,
    }
    failure = Failure(causes[ending.kind], ending.why)
    return Answer(spec.run_id, seconds, failure=failure, ending=ending)


def payload_of(charm_id: str, count: int) -> str:
    """Name the event that a sender posts with its success of this number."""
    return f"{charm_id[-8:]}/{count}"


def reminder_of(run_id: str) -> str:
    """Name the event that a mailbox asks to be reminded of with a poll."""
    return f"later {run_id}"


def questions_of(spec: RunSpec) -> list[WantItems]:
    """What a run looks into before it does anything: a taker into one side, and for its own run."""
    if SIDES[0] not in spec.links:
        return []
    side = SIDES[sum(spec.run_id.encode()) % 2]
    return [
        WantItems(spec.run_id, side),
        WantItems(spec.run_id, side, limit=2),
        WantItems(spec.run_id, DONE, keys=(spec.run_id,)),
    ]


def touched_by(spec: RunSpec, found: Sequence[FoundItems]) -> list[TouchedItems]:
    """What a taker saw and wrote, by the answers to its questions."""
    if not found:
        return []
    count, page, own = found
    looked, *_ = (wanted.field for wanted in questions_of(spec))
    (other,) = {*SIDES} - {looked}
    upto = "" if page.is_end else page.items[-1].key
    seen = SeenRange("", upto, len(page.items), page.version)
    taken: dict[str, bytes | None] = {item.key: None for item in page.items}
    added: dict[str, bytes | None] = {} if page.items else {spec.run_id: b'""'}
    versions = {spec.run_id: own.items[0].version if own.items else 0}
    return [
        TouchedItems(looked, counts=(count.count,), ranges=(seen,), writes=taken),
        TouchedItems(other, writes=added),
        TouchedItems(DONE, seen=versions, writes={spec.run_id: b"1"}),
    ]


def good_answer(spec: RunSpec, seconds: float) -> Answer:
    """What a charm answers that does what it is there for."""
    counter = json.loads(spec.values["counter"]) + 1
    writes = {"counter": json.dumps(counter).encode()}
    reads: tuple[str, ...] = ("counter", "note")
    sends: tuple[Send, ...] = ()
    if AUTH in spec.values:
        reads = (*reads, AUTH)
    if spec.stream == POST:
        seen = [*json.loads(spec.values["seen"]), json.loads(spec.event)["n"]]
        writes["seen"] = json.dumps(seen).encode()
        reads = (*reads, "seen")
    if "out" in spec.links:
        event = {"n": payload_of(spec.charm_id, counter)}
        sends = (Send("out", json.dumps(event).encode()),)
    reminds: tuple[Remind, ...] = ()
    if "seen" in spec.values and spec.stream != POST:
        later = json.dumps({"n": reminder_of(spec.run_id)}).encode()
        # Some replace the one before, some stand by themselves, some are taken back at once.
        name = ["", "", "same", "gone"][counter % 4]
        reminds = (Remind(name, POST, later, after=float(counter % 7) * 20),)
        reminds += (Remind("gone"),) if name == "gone" else ()
    notices: tuple[str, ...] = ()
    if spec.class_name == Kind.TELLER:
        notices = (f"success {counter} of {spec.charm_id[-8:]}",)
    return Answer(
        spec.run_id,
        seconds,
        reads=reads,
        writes=writes,
        sends=sends,
        reminds=reminds,
        notices=notices,
    )
