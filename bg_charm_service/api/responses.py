"""The shapes of answers that are not views themselves: pages, lists, acknowledgements, problems.

Plain dataclasses: the routes document and write them, the command line reads them back.
"""

from __future__ import annotations

from dataclasses import dataclass

from bg_charm_service.domain.views import AddedCharm, CharmView, JobView
from bg_charm_service.storage.records import TokenRecord


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request was refused, for the person who made it; `kind` names the class of error."""

    error: str
    kind: str


@dataclass(frozen=True, slots=True)
class Done:
    """A command without data was carried out."""

    message: str = "success"
    success: bool = True


@dataclass(frozen=True, slots=True)
class CharmPage:
    """A page of charms; `next` is the cursor of the page after it, null at the end."""

    charms: tuple[CharmView, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class JobPage:
    """A page of jobs; `next` is the cursor of the page after it, null at the end."""

    jobs: tuple[JobView, ...]
    next: int | None


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
class CharmSource:
    """A charm's source text."""

    source: str


@dataclass(frozen=True, slots=True)
class MadeToken:
    """A token that was made; its text is stored nowhere."""

    token: str
    record: TokenRecord


@dataclass(frozen=True, slots=True)
class LoginLink:
    """A link that signs a browser in, once."""

    url: str
    code: str
    expires_seconds: float
