"""Turns stored records into the views that commands give back."""

from __future__ import annotations

from bg_charm_service.domain.model import JobStatus
from bg_charm_service.domain.views import JobView
from bg_charm_service.storage.records import Claim


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
