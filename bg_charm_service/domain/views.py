"""What the service tells about itself: the frozen values that commands give back.

Shown by the CLI, the API and the page alike. Times are float seconds since the epoch, 0 or
null for never; durations say their unit. Texts are shown without a credential where they are
`OpenText` (`domain/disclosure.py`). Built by the commands; the status is in `service.status.views`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from bg_charm_service.domain.disclosure import CauseInstead, Instead, OpenText
from bg_charm_service.domain.model import OWN_STATUSES, RunRecord
from bg_charm_service.domain.outcomes.run_endings import EndingKind, WaitingView, waiting_word
from bg_charm_service.domain.packages.lock import PackageLock


@dataclass(frozen=True, slots=True)
class NewCharm:
    """A request to add a charm: `values` holds JSON, `links` texts `SPACE/CHARM[/path]`."""

    source: str
    file_name: str
    space: str
    class_name: str | None
    values: dict[str, bytes]
    links: dict[str, str]
    writable_links: dict[str, str]
    cause: str | None
    register: bool
    integration: str
    #: Limits of its own, by name; only an operator sets them.
    limits: Mapping[str, object] = field(default_factory=dict)
    #: When it runs, against what its class says: words of a schedule, and an interval in seconds.
    schedule: Mapping[str, str] = field(default_factory=dict)
    interval_seconds: float | None = None
    #: The lock of its packages, where it comes from an export.
    lock: PackageLock | None = None
    #: Whether its source may name any package, and not only those that the operator allows.
    may_name_any: bool = False


@dataclass(frozen=True, slots=True)
class PackageStep:
    """What is being done for the packages of a file now, and since when."""

    space: OpenText
    file: OpenText
    doing: OpenText
    since: float


@dataclass(frozen=True, slots=True)
class AddedCharm:
    """A charm that was added, or was there already."""

    space: OpenText
    charm_id: OpenText
    name: OpenText
    created: bool
    registered: bool
    #: What its class asks for and does not get, a sentence each.
    unmet: tuple[OpenText, ...] = ()
    #: What names of its class mean beside the service's own, a sentence each.
    notes: tuple[OpenText, ...] = ()


@dataclass(frozen=True, slots=True)
class Registered:
    """A charm was registered; `not_done` says what that was not enough for, and what is."""

    message: OpenText = "success"
    success: bool = True
    #: Null where all was done: the answer is then that of the original.
    not_done: tuple[OpenText, ...] | None = None


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """What a new source means for a charm's state; `problems` keep it from being applied.

    `notes` say what names of the class mean beside the service's own. `removed_items` are the
    collections that are lost with their fields, and how many items each has: where they were to be
    kept, nothing is applied.
    """

    applied: bool
    added_fields: tuple[str, ...]
    removed_fields: tuple[str, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()
    removed_items: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CharmView:
    """One charm as shown in lists."""

    space: OpenText
    space_name: OpenText
    charm_id: OpenText
    name: OpenText
    short_name: OpenText
    cause: OpenText
    integration: OpenText | None
    registered: bool
    listed_by: tuple[OpenText, ...]
    enabled: bool
    disabled_by: OpenText | None
    disabled_at: float
    #: What keeps it from running: charm, space or everything, the widest.
    paused: OpenText | None
    paused_at: float
    paused_by: OpenText
    status: Annotated[str, Instead(field="status_word", unless=OWN_STATUSES)]
    created_at: float
    updated_at: float
    registered_at: float
    last_run: float
    last_success: float
    next_due: float | None
    #: How often it is polled; 0 where it has times of its own.
    interval_seconds: float
    #: When it is polled, in words.
    schedule: OpenText
    consecutive_failures: int
    #: So many polls in a row that fail with all their retries disable it.
    disabled_after: int
    last_error: Annotated[str, Instead(field="last_error_cause")]
    last_error_cause: OpenText | None
    last_error_at: float
    executions: int
    successes: int
    failures: int
    #: Runs that ended neither well nor badly: asked to wait, and with a provider that was down.
    waits: int
    downs: int
    skipped_polls: int
    #: Since when its state did not change as often as its class expects; 0 while it does.
    stale_since: float
    #: Its last run took longer than it is from one of its times to the next.
    runs_late: bool
    avg_ms: float
    min_ms: float
    max_ms: float
    last_ms: float
    #: What it waits for, or who has to sign in; null for most charms.
    waiting: WaitingView | None = None

    @property
    def status_word(self) -> str:
        """Its status without a word of its own: what it waits for now, else why it failed last."""
        if self.waiting is None:
            return self.last_error_cause or ""
        return waiting_word(EndingKind(self.waiting.kind), self.waiting.host)


@dataclass(frozen=True, slots=True)
class LinkView:
    """One link of a charm."""

    field: OpenText
    target: OpenText
    writable: bool


@dataclass(frozen=True, slots=True)
class FieldView:
    """One field of a charm's class; `provider` is where a person signs in for it, if at all."""

    name: OpenText
    kind: OpenText
    provider: OpenText = ""


@dataclass(frozen=True, slots=True)
class ListedJob:
    """A job of the list of all jobs; `run_at` is its time, which may be to come.

    `waits_for` is empty unless it is pending: resume, enable, sign-in, earlier event, its time,
    its packages, a worker, or that its charm's host is down.
    """

    job_id: int
    space: OpenText
    charm_id: OpenText
    stream: OpenText
    origin: OpenText
    status: OpenText
    attempt: int
    run_at: float
    created_at: float
    waits_for: OpenText


@dataclass(frozen=True, slots=True)
class ReminderView:
    """An event that is to be sent to a stream of a charm; `name` may be a number behind a #."""

    name: str
    stream: OpenText
    remind_at: float
    created_at: float
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PauseView:
    """What is paused: everything, or a space, or a charm of one; by whom, and since when."""

    space: OpenText | None
    space_name: OpenText
    charm_id: OpenText | None
    paused_at: float
    paused_by: OpenText


@dataclass(frozen=True, slots=True)
class ExpectationView:
    """How often a field should change, and when it is stale; `field` is empty for any of them."""

    field: OpenText
    seconds: float
    stale_at: float


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job that was given up; `error` is what its last attempt failed with.

    `status` is the original's word. `event` is JSON without its secrets, cut where it is long;
    empty for a poll.
    """

    job_id: int
    space: OpenText
    charm_id: OpenText
    stream: OpenText
    origin: OpenText
    status: OpenText
    attempt: int
    run_at: float
    created_at: float
    cause: OpenText
    error: CauseInstead
    event: str


@dataclass(frozen=True, slots=True)
class HookView:
    """A hook of a charm; `url` is only its path where the service takes nothing from outside.

    `sign` is how a sender proves who it is, with what the field `secret_field` holds. With
    `is_poke` nothing is kept, and the charm is polled. `leased_until` is how long a hub sends.
    """

    stream: OpenText
    url: str
    sign: OpenText
    secret_field: OpenText
    is_poke: bool
    is_taken: bool
    made_at: float
    leased_until: float


@dataclass(frozen=True, slots=True)
class SendReport:
    """The job that stands for an event; `is_repeated` where an earlier one with its key does."""

    job_id: int
    is_repeated: bool = False


@dataclass(frozen=True, slots=True)
class LettersReport:
    """What became of dead letters: the jobs made anew, and how many were dropped or stay.

    Those of polls stay while their charm has a live poll.
    """

    requeued: tuple[int, ...] = ()
    dropped: int = 0
    left: int = 0


@dataclass(frozen=True, slots=True)
class LimitView:
    """One limit as it counts; `value` is written the way it is set.

    `set_by` is service, space, charm or class: whose word counts.
    """

    name: OpenText
    value: OpenText
    set_by: OpenText
    about: OpenText


@dataclass(frozen=True, slots=True)
class LimitsView:
    """All limits of a charm or a space; `unmet` says what a class asks for and does not get.

    `notes` say that a space is not there yet, or was made.
    """

    limits: tuple[LimitView, ...]
    unmet: tuple[OpenText, ...] = ()
    notes: tuple[OpenText, ...] = ()


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """When a charm runs: in words, and as it is set; `set_by` is service, class or operator.

    `every_seconds` is null where `cron` has an expression, and `cron` is empty where it has none.
    `next_times` begins with the next one, and is empty while the charm is not polled; `unmet` says
    what its class asks for and does not get.
    """

    words: OpenText
    set_by: OpenText
    cron: OpenText
    every_seconds: float | None
    time_zone: OpenText
    quiet: OpenText
    missed: OpenText
    next_times: tuple[float, ...] = ()
    unmet: tuple[OpenText, ...] = ()


@dataclass(frozen=True, slots=True)
class CharmDetail:
    """One charm with all that is known of it but its state and logs."""

    charm: CharmView
    file_name: OpenText
    doc: str
    streams: tuple[OpenText, ...]
    updater: OpenText | None
    fields: tuple[FieldView, ...]
    links: tuple[LinkView, ...]
    limits: LimitsView
    schedule: ScheduleView
    expects: tuple[ExpectationView, ...]
    #: The oldest ones, and how many there are in all.
    dead_letters: tuple[DeadLetter, ...]
    dead_letter_count: int
    waiting_jobs: int
    #: The next ones, and how many there are in all.
    reminders: tuple[ReminderView, ...]
    reminders_waiting: int
    history: tuple[RunRecord, ...]
    #: The packages of its lock, with their versions; empty where its source names none.
    packages: tuple[OpenText, ...] = ()


@dataclass(frozen=True, slots=True)
class ClientView:
    """A provider that people can sign in at, and the redirect address to register there."""

    provider: OpenText
    name: OpenText
    redirect_uri: str


@dataclass(frozen=True, slots=True)
class SignInLink:
    """Where a person signs in at a provider, for which field of which charm, and how long."""

    url: str
    space: OpenText
    charm_id: OpenText
    field: OpenText
    expires_seconds: float


@dataclass(frozen=True, slots=True)
class SignInView:
    """A sign-in, or one that a charm wants; times in seconds since the epoch, 0 for none.

    `user` is who has signed in, as far as the provider says; `problem` why that has to be done
    again.
    """

    space: OpenText
    space_name: OpenText
    charm_id: OpenText
    charm_name: OpenText
    field: OpenText
    provider: OpenText
    is_signed_in: bool = False
    user: str = ""
    scopes: tuple[str, ...] = ()
    expires_at: float = 0.0
    obtained_at: float = 0.0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class TargetView:
    """Where notices go: its masked address, of which space (empty for none), what it is told.

    `waiting` are messages that it has not taken yet, and `problem` why.
    """

    name: OpenText
    shown: OpenText
    space: OpenText
    space_name: OpenText
    kinds: tuple[OpenText, ...]
    down_after_seconds: float
    is_given: bool = False
    last_sent_at: float = 0.0
    waiting: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class AddedTarget:
    """A target that was added, and what may surprise about its address."""

    target: TargetView
    note: OpenText = ""


@dataclass(frozen=True, slots=True)
class MessageView:
    """What was sent to a target, or is to be; `status` is a `MessageStatus`."""

    message_id: int
    target: OpenText
    shown: OpenText
    title: str
    text: str
    count: int
    status: OpenText
    tries: int
    created_at: float
    tried_at: float
    problem: str = ""


@dataclass(frozen=True, slots=True)
class PendingSignIn:
    """A sign-in that a provider has agreed to and that its person has not confirmed yet.

    `actor` is who began it.
    """

    space: str
    space_name: str
    charm_id: str
    charm_name: str
    field: str
    provider: str
    actor: str
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunReport:
    """What one run-now did: its record, the values it wrote, and whether it joined a live poll."""

    run: RunRecord
    writes: dict[str, Any]
    attached: bool


@dataclass(frozen=True, slots=True)
class SpaceView:
    """A space and who owns it."""

    did: OpenText
    name: OpenText
    owners: tuple[OpenText, ...]
    created_at: float
    #: Since when it is paused as a whole; 0 while it is not.
    paused_at: float = 0.0


@dataclass(frozen=True, slots=True)
class SessionView:
    """A browser's session; `token` is the name of the one that began it, null for a login link."""

    token: str | None
    began_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class IntegrationView:
    """An integration: whether this service runs it, and its last scan."""

    integration_id: OpenText
    name: OpenText
    active: bool
    initialised: bool
    cell_id: OpenText
    charms: int
    executions: int
    success_rate: float | None
    last_scan_at: float
    last_scan_error: Annotated[str, Instead(words="It failed; a credential shows why.")]


@dataclass(frozen=True, slots=True)
class Bulletin:
    """What operators tell each other on every page."""

    title: OpenText = "Background charms"
    notice: OpenText = ""
