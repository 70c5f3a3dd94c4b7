"""The values that cross the storage contract: what is asked of an engine, and what it gives back.

Frozen, without SQL and without an engine's types. Times are float seconds since the epoch, those
of jobs and due times by the steady clock; JSON values are bytes. Imported by everything above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from bg_charm_service.domain.model import CharmRef, CharmSchema, Job, Origin
from bg_charm_service.domain.notices import Notice
from bg_charm_service.domain.oauth import OAuthClient, SignInKey
from bg_charm_service.domain.outcomes.run_endings import Waiting

#: So many of the newest finished jobs are kept.
KEEP_DONE = 1000

#: A job handed out this often by supervisors that then died is a suspect, and run alone.
SUSPECT_DELIVERIES = 3

#: So many lives of the service that ended in death are remembered.
KEPT_LIVES = 10

#: A larger value is not part of a snapshot; a run fetches it at first touch. In bytes.
INLINE_BYTES = 64 * 1024

#: What stands for a secret wherever state is shown.
REDACTED = {"$secret": True}

#: A charm is slow when its last run took at least so long, in milliseconds.
SLOW_MS = 1000

#: So many entries of the audit log are kept.
KEPT_AUDIT_ENTRIES = 100_000

#: So many of the things that a finding concerns are named.
NAMED_THINGS = 3


class Claim(msgspec.Struct, frozen=True, gc=False):
    """A job taken for one worker; `fence` in the job proves that it is the newest claim."""

    job: Job
    space_key: int
    charm_key: int
    #: Whose the charm was when the job was queued, where that is noted.
    integration: str = ""
    #: Of a dead letter, what its last attempt failed with, and the cause.
    error: str = ""
    cause: str = ""


class NewJob(msgspec.Struct, frozen=True, gc=False):
    """A job to be queued; a poll is unique, and has the key of its charm for it."""

    space_key: int
    charm_key: int
    ref: CharmRef
    stream: str
    event: bytes
    run_at: float
    origin: Origin = Origin.POLL
    is_held: bool = False
    #: For when a poll is due, by the wall clock.
    scheduled_at: float | None = None
    #: When its charm is due next, as that is kept; stored with the poll's row, or with its end.
    next_due: float | None = None
    #: Whether its charm has an interval: it needs no row while nothing happens to it.
    is_plain: bool = False


class PollEnd(NamedTuple):
    """What is stored with the end of a poll that had no row: its job, and when its charm is due."""

    job_id: int
    due_at: float | None


#: Where each of them had a row.
NO_ENDS: Mapping[int, PollEnd] = MappingProxyType({})

#: So many events of a charm that were given up are kept; then it takes no more.
MOST_DEAD_SENDS = 1000

#: For so long the same key of a sender's gives the same job, in seconds.
KEPT_KEY_SECONDS = 86400.0

#: So many such keys of a charm are kept, the newest ones.
MOST_KEYS_OF_A_CHARM = 10_000


class SentBefore(NamedTuple):
    """What a key of a sender's stands for: the job, and a hash of what was to be sent."""

    job_id: int
    request_hash: bytes


#: The id of a delivery counts once for so long, in seconds, unless its event was given up.
KEPT_DELIVERY_SECONDS = 86400.0

#: So many ids of deliveries to one address are kept, the newest ones.
MOST_DELIVERIES_OF_A_HOOK = 20_000


class HookRecord(msgspec.Struct, frozen=True):
    """The address of a stream of a charm; moments by the wall clock.

    `leased_until` is how long a hub sends to it, 0 for none.
    """

    hook_key: int
    charm_key: int
    stream: str
    made_at: float
    leased_until: float
    address: str = ""


class Delivery(NamedTuple):
    """What came with an id before: the job that it became, and whether that was given up."""

    job_id: int
    is_dead: bool


#: Chooses which of the jobs that are ready are claimed.
JobChoice = Callable[[Sequence[Claim]], Sequence[Claim]]

#: Says of a charm, by the keys of its space and its own, whether it is paused.
IsPaused = Callable[[int, int], bool]


class Pause(NamedTuple):
    """That nothing runs: of one charm, of a whole space (`charm_key` 0), anywhere (both 0)."""

    space_key: int
    charm_key: int
    paused_at: float
    paused_by: str


class Reminder(NamedTuple):
    """An event that a charm, or a person, wants sent to a stream of that charm at a moment.

    `remind_at` is by the wall clock; a `name` is given by the charm, None by nobody.
    """

    reminder_id: int
    charm_key: int
    name: str | None
    stream: str
    event: bytes
    remind_at: float
    created_at: float

    @property
    def shown_name(self) -> str:
        """Its name, or its number behind a #."""
        return self.name if self.name is not None else f"#{self.reminder_id}"


@dataclass(frozen=True, slots=True)
class Pausing:
    """What of one space is paused: all of it, or some of its charms. Runs by hand pass."""

    is_whole: bool = False
    charm_keys: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        return self.is_whole or bool(self.charm_keys)


#: What counts for nearly every space.
NOTHING_PAUSED = Pausing()


class QueuedJob(msgspec.Struct, frozen=True):
    """A job as a list shows it, without its event; `status` is a `JobStatus`.

    `is_held` says that it waits for another job of its charm, or for its charm to be enabled.
    """

    job_id: int
    ref: CharmRef
    stream: str
    origin: Origin
    status: str
    attempt: int
    run_at: float
    created_at: float
    is_held: bool
    space_key: int
    charm_key: int


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """What a database takes on disk, in bytes: the data, and the log of what was committed last."""

    data_bytes: int
    log_bytes: int


@dataclass(frozen=True, slots=True)
class Space:
    """A container of charms."""

    space_key: int
    did: str
    name: str
    created_at: float


class OwnedSpace(NamedTuple):
    """A space and the DIDs of its owners, the creator first."""

    space: Space
    owners: list[str]


class CharmRecord(msgspec.Struct, frozen=True):
    """One charm as stored."""

    charm_key: int
    space_key: int
    ref: CharmRef
    cause: str
    file_name: str
    source_hash: str
    schema: CharmSchema
    name: str
    updater: str | None
    created_at: float
    updated_at: float
    removed_at: float | None


class CharmOrder(StrEnum):
    """In which order charms are listed."""

    ADDED = "added"  #: the oldest first
    NAME = "name"
    LAST_RUN = "last_run"  #: the newest run first
    DURATION = "duration"  #: the longest last run first
    FAILURES = "failures"  #: the most failures in a row first


class Standing(StrEnum):
    """Which charms are listed."""

    FAILING = "failing"  #: the last poll failed with all its retries
    DISABLED = "disabled"  #: by failures, by hand, or held
    WAITING = "waiting"  #: asked to wait, or its provider is down
    SIGN_IN = "sign_in"  #: a person has to sign in again
    STOPPED = "stopped"  #: said that it is done
    SLOW = "slow"
    UNREGISTERED = "unregistered"
    STALE = "stale"  #: its state did not change as often as its class says it should
    PAUSED = "paused"  #: alone, with its space or with everything


@dataclass(frozen=True, slots=True)
class CharmFilter:
    """What listed charms have in common; `listed` are keys of charms an integration lists."""

    text: str = ""
    standing: Standing | None = None
    space_key: int | None = None
    integration: str | None = None
    listed: frozenset[int] = frozenset()
    #: When somebody asks, in seconds since the epoch: what is stale depends on it.
    now: float = 0.0


class CellValue(msgspec.Struct, frozen=True, gc=False):
    """A field's JSON at a version; `value` is None when it is large and was left out.

    `size_bytes` is what it takes on disk, in a snapshot.
    """

    version: int
    value: bytes | None
    size_bytes: int = 0


class CollectionRecord(msgspec.Struct, frozen=True):
    """A collection of a charm: its version, how many items it has, and what they count."""

    version: int = 0
    count: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """One link; `path` is the target's field or stream and the way inside; empty for the whole."""

    field: str
    target_key: int
    path: tuple[str, ...]
    is_writable: bool


class ScheduleEntry(msgspec.Struct, frozen=True, gc=False):
    """When a charm is due, and its own interval; None for the service's."""

    charm_key: int
    due_at: float | None
    interval_seconds: float | None
    is_enabled: bool = True


class ScheduledCharm(NamedTuple):
    """A registered charm as the schedule needs it when a service starts."""

    charm_key: int
    space: str
    due_at: float | None
    interval_seconds: float | None
    disabled_by: str | None
    consecutive_failures: int


class WaitingCharm(NamedTuple):
    """A charm that waits, and what for."""

    charm_key: int
    space_key: int
    waiting: Waiting


class FailureStreak(NamedTuple):
    """A charm's failures in a row, and the last of them."""

    charm_key: int
    consecutive_failures: int
    last_error: str
    last_error_cause: str | None


class LockRecord(NamedTuple):
    """A lock of packages as it is written, and what its packages took where it was made."""

    lock: bytes
    size_bytes: int


class SignInRecord(msgspec.Struct, frozen=True):
    """What is known of a sign-in beside its tokens; moments by the wall clock.

    `expires_at` is 0 for a token without an end. `refresh_hash` tells which refresh token this is
    about: what is said of another one counts no more. `asked_at` is since when it is not known what
    a provider made of the last request to renew it, 0 where it is known. `problem` is why a person
    has to sign in again, empty for nothing.
    """

    key: SignInKey
    provider: str
    expires_at: float
    obtained_at: float
    refresh_hash: str = ""
    asked_at: float = 0.0
    problem: str = ""


class StoredClient(msgspec.Struct, frozen=True):
    """A client at a provider; `description` is that provider's, JSON, empty for a shipped one."""

    provider: str
    description: bytes
    client: OAuthClient


class WaitingNotice(NamedTuple):
    """A notice that waits: when it happened last, by the wall clock, and how often since told."""

    notice_id: int
    notice: Notice
    happened_at: float
    times: int


class RunOutcome(NamedTuple):
    """How one recorded run ended, and how long it took in milliseconds."""

    status: str
    duration_ms: float


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A token without its secret; `space` is the DID that it is limited to."""

    token_id: int
    name: str
    space: str | None
    read_only: bool
    made_by: str
    created_at: float
    expires_at: float | None
    last_used_at: float
    revoked_at: float | None

    def is_valid(self, now: float) -> bool:
        """Whether it was neither revoked nor has expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session; `token_id` names the token that it was begun with, None for a login code."""

    token_id: int | None
    created_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change; `space` and `charm_id` are empty where it concerns none."""

    entry_id: int
    at: float
    caller: str
    action: str
    space: str
    charm_id: str
    detail: str


class Severity(StrEnum):
    """How bad it is; the order is that of the exit codes."""

    NOTE = "note"  #: fine, but worth knowing
    WARNING = "warning"  #: works, and will not for ever
    ERROR = "error"  #: something that must always hold does not


@dataclass(frozen=True, slots=True)
class Finding:
    """What is told of a trouble; `repairable` means that --repair mends it."""

    check: str
    severity: Severity
    text: str
    repairable: bool
    repaired: bool = False


@dataclass(slots=True)
class Trouble:
    """One kind of thing that is wrong, with all that it concerns."""

    check: str
    severity: Severity
    #: What is wrong; after the noun of the things that it concerns, if it has one.
    text: str
    things: str = ""
    keys: tuple[Any, ...] = ()
    names: tuple[str, ...] = ()
    #: Puts one of the things right; how it is called is between an engine and its checks.
    mend: Callable[..., None] | None = None
    #: Puts all of it right without the database.
    amend: Callable[[], None] | None = None

    @property
    def is_mendable(self) -> bool:
        return self.mend is not None or self.amend is not None

    def finding(self, *, is_repaired: bool = False) -> Finding:
        """Give what is told of it."""
        text = self.text
        if self.things:
            named = ", ".join((self.names or tuple(map(str, self.keys)))[:NAMED_THINGS])
            more = ", …" if len(self.keys) > NAMED_THINGS else ""
            text = f"{self.things} {text}: {len(self.keys)} ({named}{more})"
        return Finding(self.check, self.severity, text, self.is_mendable, is_repaired)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a slice of pruning came to; `is_over` when there is nothing more to look at."""

    deleted: int
    is_over: bool


@dataclass(frozen=True, slots=True)
class BroughtNear:
    """What a slice of `bring_near` came to; `is_over` when there is nothing more to look at."""

    moved: int
    is_over: bool


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a file is: whether one of ours, its schema, and what is wrong with it."""

    is_ours: bool
    schema_version: int
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did: the database now, where the one before it lies, and the doctor's word."""

    database: str
    kept_aside: str | None
    findings: tuple[Finding, ...]
