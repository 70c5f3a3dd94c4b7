"""The values that cross layers: frozen, comparable, without behaviour beyond their own text form.

Times are float seconds since the epoch unless the name says otherwise; JSON values are
bytes of compact UTF-8 JSON, so that nothing is encoded twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field, make_dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Final, get_type_hints

import msgspec

from bg_charm_service.domain.disclosure import CauseInstead, OpenText
from bg_charm_service.domain.errors import FailureCause, InvalidInput
from bg_charm_service.domain.events.hooks import HookSchema
from bg_charm_service.domain.events.secret_paths import EventSchema
from bg_charm_service.domain.identity import is_did, space_did
from bg_charm_service.domain.items import TouchedItems
from bg_charm_service.domain.limits import LimitChanges
from bg_charm_service.domain.merkle import is_merkle_id
from bg_charm_service.domain.oauth import PLAIN_AUTH
from bg_charm_service.domain.outcomes.refusals import Refusal
from bg_charm_service.domain.outcomes.run_endings import ENDING_WORDS, Ending
from bg_charm_service.domain.schedules.words import NO_WORDS, ScheduleWords
from bg_charm_service.domain.web.requests import HttpRequest

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

#: The streams that a poll may use, in the order in which they are tried.
UPDATER_STREAMS = (
    "bgUpdater",
    "integrationUpdater",
    "updater",
    "googleUpdater",
    "githubUpdater",
    "notionUpdater",
    "calendarUpdater",
    "discordUpdater",
)

#: The event that a poll sends.
POLL_EVENT = b"{}"


class CharmRef(msgspec.Struct, frozen=True, order=True, gc=False):
    """Names one charm: the DID of its space and its merkle id."""

    space: OpenText
    charm_id: OpenText

    @classmethod
    def parse(cls, text: str) -> CharmRef:
        """Read `space/charmId`; raises InvalidInput with the original's wording."""
        space, slash, charm_id = text.strip().partition("/")
        if not (space and slash and charm_id) or "/" in charm_id:
            raise InvalidInput(f"Invalid charm format: {text}. Expected format: space/charmId")
        if not is_did(space):
            raise InvalidInput(f"Invalid space ID: {space}. Must be a valid DID.")
        if not is_merkle_id(charm_id):
            raise InvalidInput(f"Invalid charm ID: {charm_id}. Must be a valid merkle ID.")
        return cls(space, charm_id)

    @classmethod
    def of_names(cls, text: str) -> CharmRef:
        """Read `SPACE/CHARM` as people write it; raises InvalidInput with the original's wording.

        The space may be a name, which may hold slashes; the charm may be the cause that it was
        added for, which then stands where the id belongs: only the service knows causes.
        """
        space, _, charm = text.strip().rpartition("/")
        if not (space and charm):
            raise InvalidInput(f"Invalid charm format: {text}. Expected format: space/charmId")
        return cls(space_did(space), charm)

    @property
    def short_name(self) -> str:
        """`#<last 4 of space>/#<last 4 of charm>`, as the admin page shows it."""
        return f"#{self.space[-4:]}/#{self.charm_id[-4:]}"

    def __str__(self) -> str:
        return f"{self.space}/{self.charm_id}"


class Origin(StrEnum):
    """Who asked for a job."""

    POLL = "poll"  #: the schedule
    SEND = "send"  #: a person or a charm sent an event
    RUN_NOW = "run_now"  #: a person asked for a poll now; its failure is not counted


class Priority(IntEnum):
    """Higher first, then older first."""

    EXECUTE_CHARM = 8
    SCAN_INTEGRATION = 5
    RESET = 3
    CLEANUP = 2
    STATS = 1


class JobStatus(StrEnum):
    """A job's status as people see it."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


class Job(msgspec.Struct, frozen=True, gc=False):
    """A durable request to run one stream of one charm.

    `attempt` counts from 1; `deliveries` counts how often this attempt was handed out;
    `fence` is the number of the newest claim, 0 before the first.
    """

    job_id: int
    ref: CharmRef
    stream: str
    event: bytes
    origin: Origin
    priority: int
    run_at: float
    attempt: int
    deliveries: int
    fence: int
    created_at: float
    #: For when a poll was due, by the wall clock: the same for all its attempts; else None.
    scheduled_at: float | None = None

    @property
    def run_id(self) -> str:
        """Names the attempt: unchanged by redelivery and stale re-runs, new for a retry."""
        return f"{self.job_id}.{self.attempt}"


class FieldKind(StrEnum):
    """What a field of a charm holds."""

    VALUE = "value"
    SECRET = "secret"  #: encrypted at rest, redacted wherever state is shown
    CELL = "cell"  #: a link to a cell elsewhere
    STREAM = "stream"  #: a link to a stream elsewhere
    ITEMS = "items"  #: a collection, with a row for each key
    ITEMS_CELL = "items_cell"  #: a link to a collection elsewhere
    OAUTH = "oauth"  #: a sign-in at a provider, which the service owns; or a link to one

    @property
    def is_link(self) -> bool:
        """Whether a person sets it, by a link."""
        return self in (FieldKind.CELL, FieldKind.STREAM, FieldKind.ITEMS_CELL)

    @property
    def is_of_items(self) -> bool:
        """Whether it is a collection, its charm's own or another's."""
        return self in (FieldKind.ITEMS, FieldKind.ITEMS_CELL)


#: Asked of its enum, a member takes many times as long (Python 3.11), and this is for each run.
_VALUE: Final = FieldKind.VALUE


@dataclass(frozen=True, slots=True)
class FieldSchema:
    """One typed field of a charm class; `default` is None when a value must be given.

    `provider` and `scopes` say where one has to sign in, and for what.
    """

    name: str
    kind: FieldKind
    default: bytes | None
    provider: str = ""
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CharmSchema:
    """What a worker learned by loading a charm's source."""

    class_name: str
    name: str
    doc: str
    fields: tuple[FieldSchema, ...]
    streams: tuple[str, ...]
    #: The limits that its class asks for; what it says of the network is its `ports`.
    asks: LimitChanges = field(default_factory=LimitChanges)
    #: What it says of when it runs.
    schedule: ScheduleWords = NO_WORDS
    #: Fields that should change, and after how many seconds they are stale; empty for any field.
    expects: dict[str, float] = field(default_factory=dict)
    #: Streams whose event has a type, and what that says.
    events: dict[str, EventSchema] = field(default_factory=dict)
    #: Streams that senders outside reach, and how these prove who they are.
    hooks: dict[str, HookSchema] = field(default_factory=dict)
    #: Of its collections, the members of an item that a table shows, with their titles.
    columns: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)

    @property
    def updater(self) -> str | None:
        """The stream a poll sends to: the first well-known name that the charm has."""
        return next((name for name in UPDATER_STREAMS if name in self.streams), None)

    @property
    def has_values_only(self) -> bool:
        """Whether it has no links, secrets, collections, nor what may be the original's `auth`."""
        return all(field.kind is _VALUE and field.name != PLAIN_AUTH for field in self.fields)

    def field(self, name: str) -> FieldSchema | None:
        """Find a field by its name."""
        for one in self.fields:
            if one.name == name:
                return one
        return None


class Send(msgspec.Struct, frozen=True):
    """An event that a run sent through one of its stream links."""

    field: str
    event: bytes


class Remind(msgspec.Struct, frozen=True):
    """What a run asked to be reminded of: an event, to a stream of its own charm, later.

    `at` is a moment in seconds since the epoch; else it is `after` so many seconds. Without a
    `stream` the reminder of that name is taken back. `name` is empty where none was given.
    """

    name: str
    stream: str = ""
    event: bytes = b""
    at: float | None = None
    after: float = 0.0


class Failure(msgspec.Struct, frozen=True):
    """Why and how an attempt failed; `refusal` says what was refused to it, and is not stored."""

    cause: FailureCause
    message: str
    traceback: str = ""
    refusal: Refusal | None = None


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """The one result type of an attempt.

    `writes` names fields of the charm; a linked field stands for the linked value.
    `items` is what the run touched of collections, `notices` what it says to people. `stale` says
    that a value moved under the run, which is then run again. `ending` is there for a run that
    ended in another way than well or badly; what it says is in `failure` then too.
    """

    duration_seconds: float
    failure: Failure | None = None
    writes: dict[str, bytes] = {}
    sends: tuple[Send, ...] = ()
    reminds: tuple[Remind, ...] = ()
    stale: bool = False
    cancelled: bool = False
    ending: Ending | None = None
    items: tuple[TouchedItems, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def written(self) -> set[str]:
        """The fields that it wrote to, collections with the others."""
        return {*self.writes, *(one.field for one in self.items if one.writes)}

    @property
    def success(self) -> bool:
        return self.failure is None and not self.stale and not self.cancelled


class RunRecord(msgspec.Struct, frozen=True, gc=False):
    """One recorded run; `status` is one of `outcome_policy.RunStatus`.

    `retired` says for what the run did its worker was replaced; empty where it was not.
    `requests` are those that it made by `self.http`, the first and the last ones.
    """

    number: int
    run_id: OpenText
    job_id: int
    attempt: int
    stream: OpenText
    origin: OpenText
    status: OpenText
    cause: OpenText | None
    error: CauseInstead
    traceback: str
    finished_at: float
    duration_ms: float
    lag_ms: float
    worker: int
    writes: tuple[OpenText, ...]
    log: str
    retired: str = ""
    requests: tuple[HttpRequest, ...] = ()

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Let the API document and write it as the dataclass that it would be.

        One is made with every run, and a frozen dataclass takes six times as long to make.
        """
        from pydantic_core import core_schema

        hints = get_type_hints(cls).items()
        shape = make_dataclass(cls.__name__, hints, namespace={"__doc__": cls.__doc__})
        written = core_schema.plain_serializer_function_ser_schema(
            lambda run: shape(**msgspec.structs.asdict(run)),
            return_schema=handler.generate_schema(shape),
        )
        return core_schema.is_instance_schema(cls, serialization=written)


class DisabledBy(StrEnum):
    """Why a charm is not polled."""

    FAILURES = "failures"  #: comes back after a day
    HAND = "hand"  #: stays until a person enables it
    SERVICE = "service"  #: ended the service twice; stays until a person enables it
    SIGN_IN = "sign_in"  #: comes back when the charm, its secret or a linked credential changes
    STOPPED = "stopped"  #: said itself that it is done; stays until enabled, updated or registered


#: What a charm's status says in words of the service's own; any other is the text of an error.
ADDED_STATUS = "Initializing"
ADDED_AGAIN_STATUS = "Re-initializing"
ENABLED_STATUS = "Re-enabled"
ENABLED_BY_TIME_STATUS = "Re-enabled by time"
DISABLED_STATUS = "Disabled by hand"
DISABLED_ON_PAGE_STATUS = "Disabled via UI"
HELD_STATUS = "Held: it ended the service again; only `charm enable` frees it"
SUCCESS_STATUS = "Success"
SIGNED_IN_STATUS = "Signed in again"
UPDATED_STATUS = "Updated"
OWN_STATUSES = frozenset(
    {
        ADDED_STATUS,
        ADDED_AGAIN_STATUS,
        ENABLED_STATUS,
        ENABLED_BY_TIME_STATUS,
        DISABLED_STATUS,
        DISABLED_ON_PAGE_STATUS,
        HELD_STATUS,
        SUCCESS_STATUS,
        SIGNED_IN_STATUS,
        UPDATED_STATUS,
        *ENDING_WORDS.values(),
    }
)


@dataclass(frozen=True, slots=True)
class Registration:
    """The entry that makes the service poll a charm; times in float seconds, 0 for never."""

    ref: CharmRef
    integration: str
    created_at: float
    updated_at: float


class CharmHealth(msgspec.Struct, frozen=True, gc=False):
    """What the service remembers of a charm's runs; durations in milliseconds."""

    status: str = ""
    disabled_at: float = 0.0
    disabled_by: DisabledBy | None = None
    last_run: float = 0.0
    last_success: float = 0.0
    consecutive_failures: int = 0
    last_error: str = ""
    last_error_cause: FailureCause | None = None
    last_error_at: float = 0.0
    executions: int = 0
    successes: int = 0
    failures: int = 0
    stale_streak: int = 0
    skipped_polls: int = 0
    runs_recorded: int = 0
    total_ms: float = 0.0
    min_ms: float = 0.0
    max_ms: float = 0.0
    last_ms: float = 0.0
    #: How often it was proven to have ended the service, since a person enabled it last.
    service_deaths: int = 0
    #: For when the last poll that succeeded was due, by the wall clock; 0 for never.
    last_scheduled: float = 0.0
    #: Runs that ended neither well nor badly: asked to wait, and with a provider that was down.
    waits: int = 0
    downs: int = 0

    @property
    def is_enabled(self) -> bool:
        return self.disabled_by is None
