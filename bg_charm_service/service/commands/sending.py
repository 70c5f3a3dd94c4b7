"""Commands about sending events: once for each key of a sender's, checked, and waited for.

A worker checks an event against the type of its handler before it is sent; from there on its way is
the queue's.
"""

from __future__ import annotations

import asyncio
import hashlib

from bg_charm_service.domain.errors import Conflict, InvalidInput, NotFound, ServiceStopping
from bg_charm_service.domain.model import CharmRef, JobStatus, RunRecord
from bg_charm_service.domain.outcomes.policy import Step
from bg_charm_service.domain.views import SendReport
from bg_charm_service.service.charm_packages import CharmPackages
from bg_charm_service.service.commands.context import CommandContext
from bg_charm_service.service.commands.jobs import JobCommands
from bg_charm_service.service.commands.polling import PollingCommands, need_stream
from bg_charm_service.supervisor.limit_resolver import LimitResolver

#: A key of a sender's has no more characters.
MOST_KEY_CHARACTERS = 255

#: How often it is looked whether a job that somebody waits for is held back meanwhile, in seconds.
_LOOK_SECONDS = 1.0

#: A job that waits for one of these does not run by itself, and nobody is kept waiting for it.
_FOR_A_PERSON = ("resume", "enable", "sign-in", "its packages")

#: Runs of a charm that are looked through for the last one of a job.
_LAST_RUNS = 100


class SendCommands:
    """What sends events on behalf of people."""

    def __init__(
        self,
        context: CommandContext,
        polling: PollingCommands,
        jobs: JobCommands,
        limits: LimitResolver,
        packages: CharmPackages,
        *,
        is_polling: bool,
    ) -> None:
        self._context = context
        self._supervisor = context.supervisor
        self._parts = context.parts
        self._store = context.store
        self._polling = polling
        self._jobs = jobs
        self._limits = limits
        self._packages = packages
        self._is_polling = is_polling

    async def send(
        self, ref: CharmRef, stream: str | None, event: bytes, *, key: str = ""
    ) -> SendReport:
        """Send an event, unless one was sent with the same key within a day: then that counts.

        Raises InvalidInput for an event that does not fit the type of its handler, and Conflict for
        a key that something else was sent with.
        """
        charm = self._context.owned_charm(ref)
        name = need_stream(charm, stream)
        hashes = _hashes(key, name, event) if key else None
        known = self._sent_before(charm.charm_key, hashes)
        if known is not None:
            return SendReport(known, is_repeated=True)
        if name in charm.schema.events:
            await self._check(ref, name, event)
        # While it was checked, the same may have come once more.
        with self._parts.database.transaction():
            known = self._sent_before(charm.charm_key, hashes)
            if known is not None:
                return SendReport(known, is_repeated=True)
            job_id = self._polling.send(ref, name, event)
            if hashes is not None:
                key_hash, request_hash = hashes
                steady = self._parts.clock.steady()
                self._store.idempotency_keys.put(
                    charm.charm_key, key_hash, request_hash, job_id, steady
                )
        return SendReport(job_id)

    def waits_for(self, job_id: int) -> str:
        """Say what a job waits for that does not come by itself; empty for nothing."""
        try:
            job = self._jobs.find(job_id)
        except NotFound:
            return ""
        return job.waits_for if job.waits_for in _FOR_A_PERSON else ""

    async def end_of(self, ref: CharmRef, job_id: int) -> RunRecord | None:
        """Wait for the run that a job ends with, or that has it wait for its provider; give it.

        None where it waits for a person, and where no service runs that would bring it on.
        """
        while True:
            try:
                job = self._jobs.find(job_id)
            except NotFound:
                return self._last_run(ref, job_id)
            if job.status in (JobStatus.COMPLETED, JobStatus.FAILED):
                return self._last_run(ref, job_id)
            if job.waits_for in _FOR_A_PERSON:
                return None
            if not self._is_polling:
                if job.waits_for == "earlier event":
                    return None
                self._supervisor.run_job(job_id, self._context.charm(ref).space_key)
            settlement = self._supervisor.settlement_of(job_id)
            await asyncio.wait([settlement], timeout=_LOOK_SECONDS)
            if not settlement.done():
                continue
            settled = settlement.result()
            if settled is None:
                if self._supervisor.ended_by is not None or self._supervisor.is_draining:
                    raise ServiceStopping("The service stopped first; the event is kept.")
                raise Conflict(f"Job {job_id} was taken back before it ended.")
            if settled.decision.step is not Step.RETRY:
                return settled.record

    async def _check(self, ref: CharmRef, stream: str, event: bytes) -> None:
        charm = self._context.charm(ref)
        self._packages.check(charm.charm_key)
        problem = await self._parts.inspections.check_event(
            charm,
            self._store.charms.source(charm.source_hash),
            stream,
            event,
            limits=self._limits.of(charm),
        )
        if problem:
            raise InvalidInput(
                f"That is no event for {stream} of {charm.name}: {problem}. Nothing was sent."
            )

    def _sent_before(self, charm_key: int, hashes: tuple[bytes, bytes] | None) -> int | None:
        """The job of an event that was sent with the same key."""
        if hashes is None:
            return None
        key_hash, request_hash = hashes
        keys = self._store.idempotency_keys
        # By the steady clock: to set the other one makes nobody send twice.
        known = keys.find(charm_key, key_hash, self._parts.clock.steady())
        if known is None:
            return None
        if known.request_hash != request_hash:
            raise Conflict(
                f"Another event was sent with this Idempotency-Key, as job {known.job_id}: give "
                "each event a key of its own. Nothing was sent."
            )
        return known.job_id

    def _last_run(self, ref: CharmRef, job_id: int) -> RunRecord | None:
        charm_key = self._context.charm(ref).charm_key
        runs = self._store.runs.of(charm_key, before=None, limit=_LAST_RUNS)
        return next((run for run in runs if run.job_id == job_id), None)


def check_key(key: str) -> str:
    """Give a key of a sender's; raises InvalidInput for what is none."""
    if not 0 < len(key) <= MOST_KEY_CHARACTERS or not key.isprintable():
        raise InvalidInput(
            f"Idempotency-Key: It has 1 to {MOST_KEY_CHARACTERS} characters that can be printed."
        )
    return key


def _hashes(key: str, stream: str, event: bytes) -> tuple[bytes, bytes]:
    """Hashes of a key, and of all that was sent with it, which tells nothing without the key."""
    key_hash = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
    request = hashlib.sha256(key.encode("utf-8", "surrogatepass") + b"\0")
    request.update(stream.encode("utf-8", "surrogatepass") + b"\0" + event)
    return key_hash, request.digest()
