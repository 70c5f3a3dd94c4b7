"""The shapes of answers that are not views themselves: pages, lists, acknowledgements, problems.

Plain dataclasses: the routes document and write them, the command line reads them back.
"""

from __future__ import annotations

from dataclasses import dataclass

from bg_charm_service.domain.disclosure import OpenText
from bg_charm_service.domain.model import RunRecord
from bg_charm_service.domain.views import (
    AddedCharm,
    CharmView,
    DeadLetter,
    ListedJob,
    ReminderView,
)
from bg_charm_service.storage.records import TokenRecord


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request was refused, for the person who made it; `kind` names the class of error."""

    error: str
    kind: str


@dataclass(frozen=True, slots=True)
class Done:
    """A command without data was carried out."""

    message: OpenText = "success"
    success: bool = True


@dataclass(frozen=True, slots=True)
class CharmPage:
    """A page of charms; `next` is the cursor of the page after it, null at the end."""

    charms: tuple[CharmView, ...]
    next: OpenText | None


@dataclass(frozen=True, slots=True)
class JobPage:
    """A page of dead letters; `next` is the cursor of the page after it, null at the end."""

    jobs: tuple[DeadLetter, ...]
    next: int | None


@dataclass(frozen=True, slots=True)
class ListedJobs:
    """A page of jobs, which may be empty; `next` is the next one's cursor, null at the end."""

    jobs: tuple[ListedJob, ...]
    next: int | None


@dataclass(frozen=True, slots=True)
class Purged:
    """How many events and reminders were deleted."""

    purged: int


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one charm of an import: the charm, or the error."""

    charm: AddedCharm | None
    error: str | None


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """The job that stands for a request."""

    job_id: int


@dataclass(frozen=True, slots=True)
class SentEvent:
    """What stands for an event: its job, or the reminder that sends it when its time comes.

    `is_repeated` where it is the job of an event that came before with the same key. `waits_for` is
    what the job waits for that does not come by itself: enable, resume, sign-in, its packages.
    `run` is the run that it ended with, for whoever waited for that.
    """

    job_id: int | None
    reminder: ReminderView | None = None
    is_repeated: bool = False
    waits_for: OpenText = ""
    run: RunRecord | None = None


@dataclass(frozen=True, slots=True)
class CharmSource:
    """A charm's source text."""

    source: str


@dataclass(frozen=True, slots=True)
class MadeToken:
    """A token that was made; its text is stored nowhere."""

    token: str
    record: TokenRecord


@dataclass(frozen=True, slots=True)
class CallerView:
    """Who a caller is to the service; `expires_at` is when its credential ends, null for never.

    `spaces` are the DIDs that it is limited to, null for no limit.
    """

    name: OpenText
    kind: OpenText
    may_read: bool
    may_change: bool
    spaces: tuple[OpenText, ...] | None
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class Rotated:
    """The operator has another identity: the DIDs before and after."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class EndedSessions:
    """How many sessions were ended."""

    ended: int


@dataclass(frozen=True, slots=True)
class LoginLink:
    """A link that signs a browser in, once."""

    url: str
    code: str
    expires_seconds: float
