"""What the pool reports: runs that are over, fields that are wanted, inspections, workers' ends.

Used by the pool, the supervisor, and whoever listens for idle deaths.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from loguru import logger

from bg_charm_service.domain.items import TouchedItems
from bg_charm_service.domain.model import Failure
from bg_charm_service.domain.outcomes.run_endings import Ending
from bg_charm_service.domain.web.requests import HttpRequest
from bg_charm_service.workers.protocol.messages import (
    Answer,
    Inspected,
    RunSpec,
    TokenWanted,
    WantItems,
)


class RunFinished(msgspec.Struct, frozen=True, gc=False):
    """A run is over: answered, or its worker died.

    Without an answer, `death` says what the charm pays for; None when it pays nothing and the
    job goes back to the queue.
    """

    run: RunSpec
    worker_pid: int
    log: str
    answer: Answer | None = None
    death: Failure | None = None
    #: How it ended, where it did not even begin, and not for a fault of its charm's.
    ending: Ending | None = None
    is_cancelled: bool = False
    #: The workers' parent died: nobody can tell whose fault that was.
    is_orphaned: bool = False
    #: How long it kept its worker at most, measured from outside: what a worker says is checked by
    #: it. No second is counted for two runs.
    seconds: float = 0.0
    #: What the run did that its worker is replaced for; empty where it makes other runs.
    retired: str = ""
    #: What the run touched of collections.
    items: tuple[TouchedItems, ...] = ()
    #: The requests that it had told of, where there is no answer that says all of them.
    told_requests: tuple[HttpRequest, ...] = ()

    @property
    def requests(self) -> tuple[HttpRequest, ...]:
        """The requests that it is known to have made."""
        return self.told_requests if self.answer is None else self.answer.requests


@dataclass(frozen=True, slots=True)
class FieldWanted:
    """A run touched a large field and waits for it."""

    run_id: str
    field: str


class ItemsWanted(msgspec.Struct, frozen=True):
    """A run looks into a collection and waits for what it finds."""

    wanted: WantItems


@dataclass(frozen=True, slots=True)
class RenewalWanted:
    """A provider refused a token to a run, which waits for another one."""

    wanted: TokenWanted


@dataclass(frozen=True, slots=True)
class InspectFinished:
    """A source was inspected; None when its worker died over it, and `death` says how."""

    request_id: int
    inspected: Inspected | None
    death: Failure | None = None


@dataclass(frozen=True, slots=True)
class IdleDeath:
    """A worker ended when no run had begun in it; nobody pays.

    `detail` says what made the pool end it, empty when it ended by itself; `after_run` which run
    it made last.
    """

    pid: int
    exit_code: int | None
    detail: str = ""
    after_run: str = ""


@dataclass(frozen=True, slots=True)
class WorkerSpent:
    """A worker was replaced for what its last run did, which showed after that had ended."""

    run: RunSpec
    worker_pid: int
    why: str


PoolEvent = RunFinished | FieldWanted | ItemsWanted | RenewalWanted | InspectFinished | WorkerSpent


def given_back(run: RunSpec, *, is_cancelled: bool = False) -> RunFinished:
    """The end of a run that was never begun, and never will be: it costs nothing."""
    return RunFinished(run, worker_pid=0, log="", is_cancelled=is_cancelled)


def log_idle_death(death: IdleDeath) -> None:
    """Tell of a worker that ended between runs."""
    logger.bind(event="worker_died_idle", worker=death.pid, run=death.after_run).warning(
        "Worker {} {} between runs; no charm is blamed. Its last run was {}",
        death.pid,
        f"was ended ({death.detail})" if death.detail else f"died (exit code {death.exit_code})",
        death.after_run or "none",
    )
