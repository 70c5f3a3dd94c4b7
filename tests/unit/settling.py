"""Settled runs, as those who listen for them get them, without a database or a worker."""

from __future__ import annotations

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.model import (
    CharmHealth,
    CharmRef,
    CharmSchema,
    Failure,
    Job,
    Origin,
    Outcome,
    RunRecord,
)
from bg_charm_service.domain.outcomes.policy import Decision, RunStatus, Step
from bg_charm_service.storage.records import CharmRecord, Claim
from bg_charm_service.supervisor.completer import Settled
from bg_charm_service.supervisor.in_flight import InFlight

NOW = 1_790_000_000.0
REF = CharmRef("did:key:space", "charm")
_CHARM = CharmRecord(
    charm_key=1,
    space_key=1,
    ref=REF,
    cause="cause",
    file_name="some.py",
    source_hash="hash",
    schema=CharmSchema("Some", "Some", "", (), ("bgUpdater",)),
    name="Some",
    updater="bgUpdater",
    created_at=NOW,
    updated_at=NOW,
    removed_at=None,
)


def settled(
    status: RunStatus = RunStatus.SUCCESS,
    cause: FailureCause | None = None,
    *,
    charm_key: int = 1,
    seconds: float = 0.0,
    lag_seconds: float = 0.0,
    run_at: float = NOW,
    job_id: int = 1,
    error: str = "a text of the charm",
) -> Settled:
    """Make a run that ended so at NOW, was due at `run_at`, and took so long."""
    job = Job(job_id, REF, "bgUpdater", b"{}", Origin.POLL, 0, run_at, 1, 1, 1, NOW)
    run = InFlight(Claim(job, 1, charm_key), _CHARM, lag_seconds=lag_seconds)
    failure = Failure(cause, error) if cause is not None else None
    outcome = Outcome(
        seconds,
        failure=failure,
        stale=status is RunStatus.STALE,
        cancelled=status is RunStatus.CANCELLED,
    )
    record = RunRecord(
        number=1,
        run_id=job.run_id,
        job_id=job_id,
        attempt=1,
        stream=job.stream,
        origin=job.origin,
        status=status,
        cause=cause,
        error=failure.message if failure else "",
        traceback="",
        finished_at=NOW,
        duration_ms=seconds * 1000,
        lag_ms=lag_seconds * 1000,
        worker=4711,
        writes=(),
        log="",
    )
    return Settled(run, outcome, Decision(Step.DONE, CharmHealth(), status), record)
