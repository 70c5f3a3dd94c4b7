"""Turns stored records into the views that commands give back."""

from __future__ import annotations

from bg_charm_service.domain.model import JobStatus
from bg_charm_service.domain.views import JobView, RunView
from bg_charm_service.storage.sqlite.job_queue import Claim
from bg_charm_service.storage.sqlite.store.runs import RunRecord


def run_view(run: RunRecord) -> RunView:
    """Show a recorded run."""
    return RunView(**{name: getattr(run, name) for name in RunView.__dataclass_fields__})


def job_view(claim: Claim, status: JobStatus) -> JobView:
    """Show a job."""
    job = claim.job
    return JobView(
        job_id=job.job_id,
        space=job.ref.space,
        charm_id=job.ref.charm_id,
        stream=job.stream,
        origin=job.origin,
        status=status,
        attempt=job.attempt,
        run_at=job.run_at,
        created_at=job.created_at,
    )
