"""Hands jobs to workers: claims fairly across spaces, takes the snapshot, sends it out.

Claims are durable before a run goes out, so a supervisor that dies knows what it had started.
Called by the supervisor; holds the runs in flight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field as made_by

from loguru import logger

from bg_charm_service.clock import Clock
from bg_charm_service.database import Database
from bg_charm_service.errors import FailureCause, FrameError, InvalidInput, StorageError
from bg_charm_service.fairness import Caps, FairShare
from bg_charm_service.in_flight import InFlight, RunsInFlight
from bg_charm_service.job_queue import SUSPECT_DELIVERIES, Claim, JobQueue
from bg_charm_service.limits import Limits
from bg_charm_service.model import Failure, FieldKind
from bg_charm_service.pool_contract import WorkerPool
from bg_charm_service.pool_events import FieldWanted, RunFinished
from bg_charm_service.redaction import secret_texts
from bg_charm_service.run_limits import RunLimits
from bg_charm_service.store import Store
from bg_charm_service.store.charms import CharmRecord
from bg_charm_service.store.links import Link
from bg_charm_service.turns import Turns
from bg_charm_service.wire import FieldValue, RunSpec


@dataclass(frozen=True, slots=True)
class Prepared:
    """A claimed job with all that its run is given, ready to go out once the claim is on disk."""

    run: InFlight
    limits: Limits
    source: str = ""
    values: dict[str, bytes] = made_by(default_factory=dict)
    large: tuple[str, ...] = ()
    #: Which links the run may write through.
    links: dict[str, bool] = made_by(default_factory=dict)
    last_success: float | None = None
    problem: Failure | None = None


class Dispatcher:
    """Claims and sends."""

    def __init__(
        self,
        database: Database,
        store: Store,
        queue: JobQueue,
        pool: WorkerPool,
        clock: Clock,
        limits: RunLimits,
        caps: Caps,
    ) -> None:
        self._database = database
        self._store = store
        self._queue = queue
        self._pool = pool
        self._clock = clock
        self._limits = limits
        self._caps = caps
        self.runs = RunsInFlight()
        self.share = FairShare()

    def wants_to_claim(self, now: float) -> bool:
        """Whether a space may have a job that a worker is free for; moves workers where not."""
        # Asked first in any case: a hint that nobody takes up would keep the loop from sleeping.
        turns = self._turns(now)
        hot = self._queue.hot_spaces(now, without=turns.full_integrations)
        if not hot or self.runs.is_exclusive:
            return False
        needy = [key for key in hot if turns.may_have_more(key)]
        self._pool.rebalance(self.share.by_need(needy, now))
        turns = self._turns(now)
        return any(turns.has_worker(space_key) for space_key in needy)

    def move_workers(self, now: float) -> None:
        """Move workers to spaces that still have work, as far as others can spare them.

        After each step: nothing else would wake the loop when a space has just run out of work.
        """
        hot = self._queue.spaces_left_hot()
        if hot and not self.runs.is_exclusive:
            self._pool.rebalance(self.share.by_need(hot, now))

    def claim(self, now: float) -> list[Prepared]:
        """Claim a job for each free worker, the least served space first; in a transaction.

        Nothing has gone out yet: call `send` once the transaction is on disk.
        """
        if self.runs.is_exclusive:
            return []
        if self._queue.has_suspect(now):
            # It runs alone. Nothing new goes out before it, or on a busy day it never would.
            suspect = None if self.runs else self._queue.claim_suspect(now)
            found = self._prepare(suspect, now) if suspect else None
            return [found] if found else []
        prepared: list[Prepared] = []
        turns = self._turns(now)
        hot = self._queue.hot_spaces(now, without=turns.full_integrations)
        waiting = [need.space_key for need in self.share.by_need(hot, now)]
        # Rounds of one job a space, so that a space with many jobs gets what others leave.
        while waiting and not turns.are_over:
            served = []
            for space_key in waiting:
                if not turns.has_worker(space_key):
                    continue
                full = turns.full_integrations
                for claim in self._queue.claim(space_key, 1, now, without=full):
                    served.append(space_key)
                    found = self._prepare(claim, now)
                    if found is not None:
                        turns.take(found.run)
                        prepared.append(found)
            waiting = served
        return prepared

    def claim_job(self, job_id: int, now: float) -> Prepared | None:
        """Claim one job by its id; None when it does not wait any more. In a transaction."""
        if self.runs.is_exclusive:
            return None
        claim = self._queue.claim_job(job_id, is_alone=not self.runs)
        return self._prepare(claim, now) if claim is not None else None

    def send(self, prepared: Prepared) -> RunFinished | None:
        """Give a claimed run to a worker; the end of the run when it cannot even start.

        Reads nothing: what a claim needs was read in its transaction, or it was not claimed.
        """
        run, job = prepared.run, prepared.run.claim.job
        self.runs.add(run, self._clock.steady())
        charm = run.charm
        space_key, limits = run.claim.space_key, prepared.limits
        is_known = self._pool.knows_source(space_key, limits.walls, charm.source_hash)
        spec = RunSpec(
            run_id=job.run_id,
            job_id=job.job_id,
            attempt=job.attempt,
            space=job.ref.space,
            charm_id=job.ref.charm_id,
            source_hash=charm.source_hash,
            source=None if is_known else prepared.source,
            file_name=charm.file_name,
            class_name=charm.schema.class_name,
            stream=job.stream,
            event=job.event,
            values=prepared.values,
            large=prepared.large,
            links=prepared.links,
            last_success=prepared.last_success,
            limits=limits,
        )
        if prepared.problem is not None:
            return RunFinished(spec, 0, "", death=prepared.problem)
        try:
            if not self._pool.dispatch(space_key, [spec]):
                return RunFinished(spec, 0, "")
        except FrameError as error:
            text = f"Its state is too large to run with: {error}."
            return RunFinished(spec, 0, "", death=Failure(FailureCause.STATE_SIZE, text))
        return None

    def field(self, wanted: FieldWanted) -> FieldValue:
        """Answer a run that touched a large field, at the version it was promised."""
        run = self.runs.find(wanted.run_id)
        if run is None or wanted.field not in run.versions:
            return FieldValue(wanted.field, None)
        link = run.links.get(wanted.field)
        try:
            if link is not None:
                target = self._store.charms.get(link.target_key)
                cell = self._store.links.read(target, link) if target else None
            else:
                cell = self._store.cells.read(run.charm, wanted.field)
        except InvalidInput:
            cell = None
        if cell is None or cell.version != run.versions[wanted.field]:
            return FieldValue(wanted.field, None)
        return FieldValue(wanted.field, cell.value)

    def finished(self, run: InFlight, seconds: float) -> None:
        """Forget a run that is settled, and charge its space for it."""
        self.runs.drop(run)
        self.share.charge(run.claim.space_key, seconds, self._clock.steady())

    def _turns(self, now: float) -> Turns:
        return Turns(self._pool.free_workers(), self.runs, self.share, self._caps, now)

    def _prepare(self, claim: Claim, now: float) -> Prepared | None:
        """Take the snapshot for a claimed job; None when its charm is gone, and the job too."""
        charm = self._store.charms.get(claim.charm_key)
        if charm is None or charm.removed_at is not None:
            self._queue.ack(claim)
            return None
        lag = max(0.0, now - claim.job.run_at)
        is_alone = claim.job.deliveries > SUSPECT_DELIVERIES
        try:
            with self._database.savepoint():
                return self._read(claim, charm, lag, is_alone=is_alone)
        except StorageError:
            raise
        except Exception:
            # One charm's unreadable state must not hold up the others.
            logger.bind(event="prepare_failed", job=claim.job.job_id).exception(
                "The state of {} cannot be read; its run counts as failed", charm.ref
            )
        failure = Failure(FailureCause.STATE, "Its state cannot be read; see the service's log.")
        run = InFlight(claim, charm, {}, {}, lag, is_alone=is_alone)
        return Prepared(run, self._limits.of(charm), problem=failure)

    def _read(
        self, claim: Claim, charm: CharmRecord, lag_seconds: float, *, is_alone: bool
    ) -> Prepared:
        cells = self._store.cells.snapshot(charm)
        versions = {name: cell.version for name, cell in cells.items()}
        values = {name: cell.value for name, cell in cells.items() if cell.value is not None}
        large = tuple(name for name, cell in cells.items() if cell.value is None)
        links: dict[str, Link] = {}
        problem = None
        if any(f.kind in (FieldKind.CELL, FieldKind.STREAM) for f in charm.schema.fields):
            links = {link.field: link for link in self._store.links.of(charm.charm_key)}
            problem = self._read_links(charm, links, versions, values)
        secrets = secret_texts(self._secret_values(charm, links, values))
        sizes = {name: cell.size_bytes for name, cell in cells.items()}
        run = InFlight(claim, charm, versions, links, lag_seconds, secrets, is_alone, sizes)
        return Prepared(
            run,
            self._limits.of(charm),
            source=self._store.charms.source(charm.source_hash),
            values=values,
            large=large,
            links={n: link.is_writable or self._is_inside(run, link) for n, link in links.items()},
            last_success=self._store.health.get(charm.charm_key).last_success or None,
            problem=problem,
        )

    def _read_links(
        self,
        charm: CharmRecord,
        links: dict[str, Link],
        versions: dict[str, int],
        values: dict[str, bytes],
    ) -> Failure | None:
        """Add the linked values to a snapshot; a failure when one is not to be had."""
        for name, link in links.items():
            field = charm.schema.field(name)
            if field is None or field.kind is not FieldKind.CELL:
                continue
            target = self._store.charms.get(link.target_key)
            try:
                if target is None:
                    raise InvalidInput(f"Field {name!r} links to a charm that does not exist.")
                cell = self._store.links.read(target, link)
            except InvalidInput as error:
                return Failure(FailureCause.STATE, str(error))
            versions[name] = cell.version
            if cell.value is not None:
                values[name] = cell.value
        return None

    def _secret_values(
        self, charm: CharmRecord, links: dict[str, Link], values: dict[str, bytes]
    ) -> Iterator[bytes]:
        """The values of a snapshot that are secret, its own and those it links to."""
        for field in charm.schema.fields:
            if field.name not in values:
                continue
            is_secret = field.kind is FieldKind.SECRET
            if field.name in links:
                target = self._store.charms.get(links[field.name].target_key)
                path = links[field.name].path
                origin = target.schema.field(path[0]) if target and path else None
                is_secret = origin is not None and origin.kind is FieldKind.SECRET
            if is_secret:
                yield values[field.name]

    def _is_inside(self, run: InFlight, link: Link) -> bool:
        target = self._store.charms.get(link.target_key)
        return target is not None and target.space_key == run.claim.space_key
