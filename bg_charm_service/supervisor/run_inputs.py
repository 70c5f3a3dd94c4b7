"""Takes the snapshots that claimed jobs run on: values, versions, links, limits, secrets.

For one job whatever its charm is made of, for many at once where their charms hold plain values.
Reads only; called by the dispatcher, inside the transaction that claims.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec
from loguru import logger
from msgspec.structs import replace

from bg_charm_service.domain.errors import FailureCause, InvalidInput, StorageError
from bg_charm_service.domain.events.hooks import GivenHook, address_in
from bg_charm_service.domain.events.secret_paths import secret_parts
from bg_charm_service.domain.limits import Limits
from bg_charm_service.domain.model import CharmHealth, Failure, FieldKind, Origin
from bg_charm_service.domain.oauth import secrets_of, without_refresh_token
from bg_charm_service.domain.outcomes.run_endings import Ending
from bg_charm_service.domain.redaction import secret_texts
from bg_charm_service.storage.contract import Storage, Store
from bg_charm_service.storage.records import (
    SUSPECT_DELIVERIES,
    CellValue,
    CharmRecord,
    Claim,
    CollectionRecord,
    Link,
)
from bg_charm_service.supervisor import batch_policy
from bg_charm_service.supervisor.events.hook_addresses import HookAddresses
from bg_charm_service.supervisor.events.seals import EventSeals, secret_paths_of
from bg_charm_service.supervisor.in_flight import InFlight, SourceDurations
from bg_charm_service.supervisor.limit_resolver import LimitResolver
from bg_charm_service.supervisor.run_items import RunItems
from bg_charm_service.supervisor.token_gate import (
    Later,
    NoSignIns,
    TokenGate,
    failure_of,
    sign_ins_of,
)
from bg_charm_service.workers.protocol.messages import FoundItems, RunSpec, WantItems

#: Asked of its enum, a member takes many times as long (Python 3.11), and these are for each run.
_POLL: Final = Origin.POLL
_SEND: Final = Origin.SEND

#: The snapshots of so many charms are read at once.
_READ_TOGETHER = 25


class Prepared(msgspec.Struct, frozen=True, gc=False):
    """A claimed job with all that its run is given, ready to go out once the claim is on disk."""

    run: InFlight
    limits: Limits
    source: str = ""
    values: dict[str, bytes] = {}
    large: tuple[str, ...] = ()
    #: Which links the run may write through.
    links: dict[str, bool] = {}
    last_success: float | None = None
    problem: Failure | None = None
    #: How the run ends, which does not even begin; its `problem` says the same.
    ending: Ending | None = None
    #: What the fields named in `large` take, in bytes.
    large_bytes: int = 0
    hooks: dict[str, GivenHook] = {}

    def spec(self, *, with_source: bool) -> RunSpec:
        """What the worker is told."""
        job, charm = self.run.claim.job, self.run.charm
        return RunSpec(
            run_id=job.run_id,
            job_id=job.job_id,
            attempt=job.attempt,
            space=job.ref.space,
            charm_id=job.ref.charm_id,
            source_hash=charm.source_hash,
            source=self.source if with_source else None,
            file_name=charm.file_name,
            class_name=charm.schema.class_name,
            stream=job.stream,
            event=job.event,
            values=self.values,
            large=self.large,
            links=self.links,
            last_success=self.last_success,
            limits=self.limits,
            large_bytes=self.large_bytes,
            scheduled_at=job.scheduled_at,
            previous=self.run.health.last_scheduled or None,
            hooks=self.hooks,
            counts={
                name: one.count
                for name, one in self.run.collections.items()
                # Of another charm's it is not known yet whether it is one.
                if name not in self.run.links
            },
        )


class RunInputs:
    """Reads what runs start from."""

    def __init__(
        self,
        storage: Storage,
        limits: LimitResolver,
        durations: SourceDurations,
        items: RunItems,
        problem_of: Callable[[int], Failure | None] = lambda _: None,
        gate: TokenGate | None = None,
        hooks: HookAddresses | None = None,
    ) -> None:
        self._hooks = hooks
        self._items = items
        self._problem_of = problem_of
        self._gate = gate or NoSignIns()
        self._database = storage.database
        self._store = storage.store
        self._queue = storage.queue
        self._limits = limits
        self._durations = durations
        self._seals = EventSeals(storage.store)

    def choice(self) -> BatchChoice:
        """Begin a choice of what one worker is given together."""
        return BatchChoice(self._store, self._limits, self._durations)

    def take(self, claim: Claim, now: float) -> Prepared | None:
        """Take the snapshot for a claimed job; None when it does not go out now.

        Its charm is gone, and the job too; or its token is being renewed, and it was given back.
        """
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
        run = InFlight(claim, charm, lag_seconds=lag, is_alone=is_alone)
        return Prepared(run, self._limits.of(charm), problem=failure)

    def take_together(
        self, choice: BatchChoice, claims: Sequence[Claim], now: float
    ) -> list[Prepared]:
        """Take the snapshots of jobs that were chosen to go together."""
        changes = self._database.sole_writer.changes
        limits = choice.limits
        sources: dict[str, str] = {}
        prepared = []
        for claim in claims:
            charm_key = claim.charm_key
            charm, health = choice.charms[charm_key], choice.healths[charm_key]
            cells = choice.cells[charm_key]
            if charm.source_hash not in sources:
                sources[charm.source_hash] = self._store.charms.source(charm.source_hash)
            lag_seconds = max(0.0, now - claim.job.run_at)
            versions, sizes, values, large = _taken_apart(cells)
            run = InFlight(
                claim,
                charm,
                versions,
                lag_seconds=lag_seconds,
                sizes=sizes,
                health=health,
                mark=changes.since(charm_key),
            )
            prepared.append(
                Prepared(
                    run,
                    limits,
                    source=sources[charm.source_hash],
                    values=values,
                    large=large,
                    last_success=health.last_success or None,
                    large_bytes=_size_of(large, sizes),
                )
            )
        return prepared

    def field(self, run: InFlight, name: str) -> bytes | None:
        """The value of a large field at the version that a run was promised; None when it moved."""
        if name not in run.versions:
            return None
        link = run.links.get(name)
        try:
            if link is not None:
                target = self._store.charms.get(link.target_key)
                cell = self._store.links.read(target, link) if target else None
            else:
                cell = self._store.cells.read(run.charm, name)
        except InvalidInput:
            return None
        return cell.value if cell is not None and cell.version == run.versions[name] else None

    def items(self, run: InFlight, wanted: WantItems) -> FoundItems:
        """What a run asks for of a collection; raises StorageError."""
        return self._items.answer(run, wanted)

    def _read(
        self, claim: Claim, charm: CharmRecord, lag_seconds: float, *, is_alone: bool
    ) -> Prepared | None:
        links: dict[str, Link] = {}
        ending: Ending | None = None
        job = claim.job
        hidden = secret_paths_of(charm, job.stream, job.event) if job.origin is _SEND else ()
        if hidden:
            event = self._seals.opened(job.ref, job.stream, job.event)
            claim = replace(claim, job=replace(job, event=event))
        if not charm.schema.has_values_only:
            links = {link.field: link for link in self._store.links.of(charm.charm_key)}
            needs = tuple(sign_ins_of(charm, links, self._store.charms.get))
            if needs:
                verdict = self._gate.check(claim, needs, self._limits.of(charm).timeout_seconds)
                if isinstance(verdict, Later):
                    # The wait holds no claim, and no worker.
                    self._queue.release(claim, verdict.until)
                    return None
                ending = verdict
        cells = self._store.cells.snapshot(charm)
        versions, sizes, values, large = _taken_apart(cells)
        # Only of runs by hand: nothing else of a charm that lacks something is claimed.
        problem = self._problem_of(charm.charm_key)
        collections: dict[str, CollectionRecord] = {}
        if problem is not None:
            ending = None
        elif ending is not None:
            problem = failure_of(ending)
        elif links:
            problem = self._read_links(charm, links, versions, values)
        if any(f.kind.is_of_items for f in charm.schema.fields):
            collections = self._items.records(charm, links)
        hooks = self._hooks.of_run(charm) if self._hooks is not None and charm.schema.hooks else {}
        secrets = secret_texts(
            itertools.chain(
                self._secret_values(charm, links, values),
                secret_parts(claim.job.event, hidden),
                # Whoever knows an address may send to it, if nothing that is heard.
                (msgspec.json.encode((one.url, address_in(one.url))) for one in hooks.values()),
            )
        )
        self._cover_sign_ins(charm, versions, values)
        health = self._store.health.get(charm.charm_key)
        mark = self._database.sole_writer.changes.since(charm.charm_key)
        run = InFlight(
            claim,
            charm,
            versions,
            links,
            lag_seconds,
            secrets=secrets,
            is_alone=is_alone,
            sizes=sizes,
            health=health,
            mark=mark,
            collections=collections,
        )
        return Prepared(
            run,
            self._limits.of(charm),
            source=self._store.charms.source(charm.source_hash),
            values=values,
            large=large,
            links={n: link.is_writable or self._is_inside(run, link) for n, link in links.items()},
            last_success=health.last_success or None,
            problem=problem,
            ending=ending,
            large_bytes=_size_of(large, sizes),
            hooks=hooks,
        )

    def _cover_sign_ins(
        self, charm: CharmRecord, versions: dict[str, int], values: dict[str, bytes]
    ) -> None:
        """Take out of a snapshot what no run sees of a sign-in of its charm's own.

        The version too: that a token was renewed makes no run stale.
        """
        for field in charm.schema.fields:
            if field.kind is FieldKind.OAUTH and field.name in versions:
                versions.pop(field.name)
                values[field.name] = without_refresh_token(values[field.name])

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
            if field is None or field.kind not in (FieldKind.CELL, FieldKind.OAUTH):
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
            if field.kind is FieldKind.OAUTH:
                yield from secrets_of(values[field.name])
                continue
            if field.name in links:
                target = self._store.charms.get(links[field.name].target_key)
                path = links[field.name].path
                origin = target.schema.field(path[0]) if target and path else None
                if origin is not None and origin.kind is FieldKind.OAUTH and target is not None:
                    whole = self._store.cells.read(target, origin.name)
                    yield from secrets_of((whole and whole.value) or b"")
                is_secret = origin is not None and origin.kind is FieldKind.SECRET
            if is_secret:
                yield values[field.name]

    def _is_inside(self, run: InFlight, link: Link) -> bool:
        target = self._store.charms.get(link.target_key)
        return target is not None and target.space_key == run.claim.space_key


class BatchChoice:
    """Which of a space's ready jobs go to a worker together, and what was read to find that out."""

    def __init__(self, store: Store, limits: LimitResolver, durations: SourceDurations) -> None:
        self._store = store
        self._limits = limits
        self._durations = durations
        self.limits = Limits()
        self.charms: dict[int, CharmRecord] = {}
        self.healths: dict[int, CharmHealth] = {}
        self.cells: dict[int, dict[str, CellValue]] = {}

    def choose(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        """The first job, alone or with those that are as quick as it is."""
        first = claims[0]
        if len(claims) == 1 or not _is_usual(first):
            return claims[:1]
        self._look_up(claims[:1])
        if not self._is_quick(first):
            return claims[:1]
        self._look_up(claims[1:])
        self.limits = self._limits.of(self.charms[first.charm_key])
        return self._within_bounds([claim for claim in claims if self._goes_along(claim)])

    def _look_up(self, claims: Sequence[Claim]) -> None:
        keys = [claim.charm_key for claim in claims]
        self.charms.update(self._store.charms.get_many(keys))
        self.healths.update(self._store.health.get_many(keys))

    def _goes_along(self, claim: Claim) -> bool:
        if not (_is_usual(claim) and self._is_quick(claim)):
            return False
        # The same object, as long as nobody set others: comparing all of them costs too much.
        return self._limits.of(self.charms[claim.charm_key]) is self.limits

    def _is_quick(self, claim: Claim) -> bool:
        charm, health = self.charms.get(claim.charm_key), self.healths.get(claim.charm_key)
        return (
            charm is not None
            and health is not None
            and charm.removed_at is None
            and charm.schema.has_values_only
            and self._durations.is_short(health, charm.source_hash)
        )

    def _within_bounds(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        """As many as one batch may take, by time and by size; one at least."""
        total_ms, total_bytes = 0.0, 0
        for count, claim in enumerate(claims):
            if count % _READ_TOGETHER == 0:
                ahead = claims[count : count + _READ_TOGETHER]
                charms = [self.charms[one.charm_key] for one in ahead]
                self.cells.update(self._store.cells.snapshots(charms))
            charm, health = self.charms[claim.charm_key], self.healths[claim.charm_key]
            total_ms += self._durations.expected_ms(health, charm.source_hash)
            total_bytes += sum(cell.size_bytes for cell in self.cells[claim.charm_key].values())
            is_over = (
                total_ms > batch_policy.MOST_SECONDS * 1000 or total_bytes > batch_policy.MOST_BYTES
            )
            if is_over and count:
                return claims[:count]
        return claims


def _is_usual(claim: Claim) -> bool:
    """Whether a job is a poll that nothing has happened to."""
    job = claim.job
    return job.origin is _POLL and job.deliveries == 1 and job.attempt == 1


def _size_of(names: tuple[str, ...], sizes: dict[str, int]) -> int:
    return sum([sizes[name] for name in names]) if names else 0


def _taken_apart(
    cells: dict[str, CellValue],
) -> tuple[dict[str, int], dict[str, int], dict[str, bytes], tuple[str, ...]]:
    """Versions, sizes and values of cells, and the names of those whose values are left out."""
    versions, sizes, values, large = {}, {}, {}, []
    for name, cell in cells.items():
        versions[name], sizes[name] = cell.version, cell.size_bytes
        if cell.value is None:
            large.append(name)
        else:
            values[name] = cell.value
    return versions, sizes, values, tuple(large)
