"""What becomes of the jobs that an earlier supervisor died with.

Each goes back to the queue at no cost, but not for ever: one that ran alone has failed, and one
whose charm was removed is over. Called by the supervisor at start.
"""

from __future__ import annotations

from loguru import logger

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.model import Outcome
from bg_charm_service.storage.contract import Storage
from bg_charm_service.storage.records import SUSPECT_DELIVERIES, Claim
from bg_charm_service.supervisor.completer import Completer, Settled, repeated_death
from bg_charm_service.supervisor.in_flight import InFlight


def recover_claims(storage: Storage, completer: Completer, clock: Clock) -> list[Settled]:
    """End every claim that is left, inside a transaction; gives those that were settled."""
    store, queue = storage.store, storage.queue
    settled = []
    for claim in queue.claimed_jobs():
        charm = store.charms.get(claim.charm_key)
        is_removed = charm is None or charm.removed_at is not None
        is_blamed = not is_removed and claim.job.deliveries > SUSPECT_DELIVERIES
        _log_recovery(claim, is_removed=is_removed, is_blamed=is_blamed)
        if charm is None:
            queue.ack(claim)
        elif is_removed or is_blamed:
            failure = repeated_death(claim.job) if is_blamed else None
            outcome = Outcome(0.0, failure=failure, cancelled=is_removed)
            run = InFlight(claim, charm, is_alone=True)
            settled.append(completer.conclude(run, outcome, worker=0, log=""))
        else:
            queue.rescue(claim, clock.steady())
    return settled


def _log_recovery(claim: Claim, *, is_removed: bool, is_blamed: bool) -> None:
    bound = logger.bind(event="job_rescued", job=claim.job.job_id, charm=claim.job.ref.charm_id)
    if is_blamed:
        bound.error("Job {} was alone when the service died again: its failure", claim.job.job_id)
    elif is_removed:
        bound.info("Job {} was running when the service died; its charm is gone", claim.job.job_id)
    else:
        bound.info("Job {} was running when the service died; it runs again", claim.job.job_id)
