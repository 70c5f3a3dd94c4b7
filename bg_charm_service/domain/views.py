"""What the service tells about itself: the frozen values that commands give back.

Shown by the CLI, the API and the page alike. Times are float seconds since the epoch, 0 or
null for never; durations say their unit. Built by the commands; the status is in
`service.status.views`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bg_charm_service.domain.model import RunRecord


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


@dataclass(frozen=True, slots=True)
class AddedCharm:
    """A charm that was added, or was there already."""

    space: str
    charm_id: str
    name: str
    created: bool
    registered: bool
    #: What its class asks for and does not get, a sentence each.
    unmet: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """What a new source means for a charm's state; `problems` keep it from being applied."""

    applied: bool
    added_fields: tuple[str, ...]
    removed_fields: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CharmView:
    """One charm as shown in lists."""

    space: str
    space_name: str
    charm_id: str
    name: str
    short_name: str
    cause: str
    integration: str | None
    registered: bool
    listed_by: tuple[str, ...]
    enabled: bool
    disabled_by: str | None
    disabled_at: float
    status: str
    created_at: float
    updated_at: float
    registered_at: float
    last_run: float
    last_success: float
    next_due: float | None
    interval_seconds: float
    consecutive_failures: int
    last_error: str
    last_error_cause: str | None
    last_error_at: float
    executions: int
    successes: int
    failures: int
    skipped_polls: int
    avg_ms: float
    min_ms: float
    max_ms: float
    last_ms: float


@dataclass(frozen=True, slots=True)
class LinkView:
    """One link of a charm."""

    field: str
    target: str
    writable: bool


@dataclass(frozen=True, slots=True)
class FieldView:
    """One field of a charm's class."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class JobView:
    """A job that waits, runs, or lies as a dead letter; `status` is the original's word."""

    job_id: int
    space: str
    charm_id: str
    stream: str
    origin: str
    status: str
    attempt: int
    run_at: float
    created_at: float


@dataclass(frozen=True, slots=True)
class LimitView:
    """One limit as it counts; `value` is written the way it is set.

    `set_by` is service, space, charm or class: whose word counts.
    """

    name: str
    value: str
    set_by: str
    about: str


@dataclass(frozen=True, slots=True)
class LimitsView:
    """All limits of a charm or a space; `unmet` says what a class asks for and does not get."""

    limits: tuple[LimitView, ...]
    unmet: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CharmDetail:
    """One charm with all that is known of it but its state and logs."""

    charm: CharmView
    file_name: str
    doc: str
    streams: tuple[str, ...]
    updater: str | None
    fields: tuple[FieldView, ...]
    links: tuple[LinkView, ...]
    limits: LimitsView
    dead_letter: JobView | None
    waiting_jobs: int
    history: tuple[RunRecord, ...]


@dataclass(frozen=True, slots=True)
class RunReport:
    """What one run-now did: its record, the values it wrote, and whether it joined a live poll."""

    run: RunRecord
    writes: dict[str, Any]
    attached: bool


@dataclass(frozen=True, slots=True)
class SpaceView:
    """A space and who owns it."""

    did: str
    name: str
    owners: tuple[str, ...]
    created_at: float


@dataclass(frozen=True, slots=True)
class IntegrationView:
    """An integration: whether this service runs it, and its last scan."""

    integration_id: str
    name: str
    active: bool
    initialised: bool
    cell_id: str
    charms: int
    executions: int
    success_rate: float | None
    last_scan_at: float
    last_scan_error: str


@dataclass(frozen=True, slots=True)
class Bulletin:
    """What operators tell each other on every page."""

    title: str = "Background charms"
    notice: str = ""
