"""Commands that only look: lists, details, state, history, status, and the audit log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import msgspec

from bg_charm_service.domain.errors import AuthorizationError, InvalidInput, NotFound
from bg_charm_service.domain.events.secret_paths import COVERED
from bg_charm_service.domain.identity import SYSTEM_SPACE_NAME, space_did
from bg_charm_service.domain.limits import write_limits
from bg_charm_service.domain.model import (
    CharmHealth,
    CharmRef,
    FieldKind,
    JobStatus,
    Origin,
    RunRecord,
)
from bg_charm_service.domain.schedules.schedule import seconds_between
from bg_charm_service.domain.text_limits import LETTER_EVENT_CHARACTERS, cut
from bg_charm_service.domain.views import (
    Bulletin,
    CharmDetail,
    CharmView,
    DeadLetter,
    ExpectationView,
    FieldView,
    LinkView,
    PackageStep,
    PauseView,
)
from bg_charm_service.service.charm_packages import CharmPackages
from bg_charm_service.service.commands.context import CommandContext
from bg_charm_service.service.commands.reminders import reminder_view
from bg_charm_service.service.state_reader import StateReader
from bg_charm_service.service.status.board import StatusBoard
from bg_charm_service.service.status.views import ServiceStatus
from bg_charm_service.storage.records import (
    AuditEntry,
    CharmFilter,
    CharmOrder,
    CharmRecord,
    Claim,
    Pause,
    RunOutcome,
    ScheduleEntry,
    Space,
    Standing,
)
from bg_charm_service.supervisor.events.seals import EventSeals, secret_paths_of
from bg_charm_service.supervisor.limit_resolver import LimitResolver
from bg_charm_service.supervisor.planning.polled_charms import PolledCharms

_EXPORT_PAGE = 200

#: Items of a collection that one exported line has, at most.
_EXPORT_ITEMS = 500

#: Of those of a charm so many are shown with it, the next ones.
_SHOWN_REMINDERS = 20

#: Dead letters that are shown with their charm.
_SHOWN_LETTERS = 10

#: A larger event with secrets is not opened to be shown, in bytes.
_LARGEST_OPENED_BYTES = 64 * 1024

_COVERED = msgspec.json.encode(COVERED).decode()

#: A longer title or notice is not shown on pages, in bytes.
_BULLETIN_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class CharmQuery:
    """Which charms a page lists, in which order, from behind which cursor.

    `text` is a part of a name or cause, an id, or a short name; `space` a name or DID.
    """

    text: str = ""
    space: str | None = None
    integration: str | None = None
    standing: Standing | None = None
    order: CharmOrder = CharmOrder.ADDED
    cursor: str = ""
    limit: int = 100


class Queries:
    """What the service tells."""

    def __init__(
        self,
        context: CommandContext,
        polled_charms: PolledCharms,
        limits: LimitResolver,
        states: StateReader,
        board: StatusBoard,
        packages: CharmPackages,
        interval_seconds: float,
        max_failures: int,
    ) -> None:
        self._context = context
        self._parts = context.parts
        self._store = context.store
        self._polled_charms = polled_charms
        self._limits = limits
        self._states = states
        self._board = board
        self._packages = packages
        self._interval_seconds = interval_seconds
        self._max_failures = max_failures

    def resolve(self, space: str, text: str) -> CharmRef:
        """Read a charm's address, whose second half may be the cause that it was added for."""
        return self._context.resolve(space, text)

    def has_charm_for(self, space: str, cause: str) -> bool:
        """Whether a space, by name or DID, has a charm that was added for a cause."""
        found = self.space(space)
        return found is not None and bool(self._store.charms.find_by_cause(found.space_key, cause))

    def space(self, name_or_did: str) -> Space | None:
        """Find a space by name or DID."""
        return self._context.space(name_or_did)

    def list_charms(self, query: CharmQuery) -> tuple[list[CharmView], str | None]:
        """A page of charms, and the cursor of the next one; None at the end."""
        space_key = None
        if query.space is not None:
            space = self._store.spaces.find(space_did(query.space))
            if space is None:
                return [], None
            space_key = space.space_key
        listed = self._polled_charms.listed_only(query.integration) if query.integration else ()
        wanted = CharmFilter(
            text=query.text,
            standing=query.standing,
            space_key=space_key,
            integration=query.integration,
            listed=frozenset(listed),
            now=self._parts.clock.now(),
        )
        charms, more = self._store.charm_lists.page(wanted, query.order, query.cursor, query.limit)
        return self._views(charms), more

    def bulletin(self) -> Bulletin:
        """What the admin charm of the system space says on top of every page."""
        space = self._context.space(SYSTEM_SPACE_NAME)
        charm = self._store.charms.find_by_cause(space.space_key, "admin") if space else None
        if charm is None:
            return Bulletin()
        state = msgspec.json.decode(self._states.redacted_state(charm), type=dict[str, msgspec.Raw])
        # Every page asks: what else the charm keeps, however much, is not read.
        said = {
            name: msgspec.json.decode(state[name])
            for name in ("title", "notice")
            if name in state and len(bytes(state[name])) <= _BULLETIN_BYTES
        }
        return Bulletin(**{name: text for name, text in said.items() if isinstance(text, str)})

    def recent_outcomes(self, ref: CharmRef, limit: int) -> list[RunOutcome]:
        """How a charm's newest runs ended, the oldest first."""
        key = self._store.charms.key_of(ref)
        # Without one, this says so.
        return self._store.runs.outcomes(key or self._context.charm(ref).charm_key, limit)

    def run(self, ref: CharmRef, number: int) -> RunRecord:
        """One recorded run of a charm by its number."""
        record = self._store.runs.numbered(self._context.charm(ref).charm_key, number)
        if record is None:
            raise NotFound(f"Run {number} of {ref} is not kept any more.")
        return record

    def show_charm(self, ref: CharmRef) -> CharmDetail:
        """All that is known of a charm but its state and logs."""
        charm = self._context.charm(ref)
        planner = self._parts.planner
        entry = self._store.health.entry(charm.charm_key)
        letters = self._parts.queue.dead_letters_of(charm.charm_key, limit=_SHOWN_LETTERS)
        reminders = self._store.reminders.of(charm.charm_key)
        (shown,) = self._views([charm])
        return CharmDetail(
            charm=shown,
            file_name=charm.file_name,
            doc=charm.schema.doc,
            streams=charm.schema.streams,
            updater=charm.updater,
            fields=tuple(
                FieldView(field.name, field.kind, field.provider) for field in charm.schema.fields
            ),
            links=tuple(self._links(charm)),
            limits=self._limits.shown_for_charm(charm),
            packages=self._packages_of(charm.charm_key),
            schedule=planner.schedules.shown(charm, entry.interval_seconds, shown.next_due),
            expects=tuple(self._expectations(charm)),
            dead_letters=tuple(map(self._letter_view, letters)),
            dead_letter_count=self._parts.queue.count_dead_letters(charm.charm_key),
            waiting_jobs=self._parts.queue.waiting(charm.charm_key),
            reminders=tuple(map(reminder_view, reminders[:_SHOWN_REMINDERS])),
            reminders_waiting=len(reminders),
            history=tuple(self.runs(ref, before=None, limit=10)),
        )

    def package_steps(self, space: str) -> list[PackageStep]:
        """What is being done for the packages of a space now."""
        return self._packages.steps(space_did(space))

    def state(self, ref: CharmRef) -> bytes:
        """A charm's whole state as one JSON object, secrets redacted."""
        return self._states.redacted_state(self._context.charm(ref))

    def field(self, ref: CharmRef, name: str) -> bytes:
        """One field's JSON; a secret is redacted, a link gives the value it leads to."""
        charm = self._context.charm(ref)
        for link in self._store.links.of(charm.charm_key):
            target = self._store.charms.get(link.target_key)
            there = target.schema.field(link.path[0]) if target and link.path else None
            if link.field == name and target is not None and there is not None:
                inner = self.field(target.ref, link.path[0])
                if there.kind is FieldKind.ITEMS:
                    return inner
                is_secret = inner == msgspec.json.encode({"$secret": True})
                value = self._store.links.read(target, link).value
                return inner if is_secret or value is None else value
        state = msgspec.json.decode(self._states.redacted_state(charm), type=dict[str, msgspec.Raw])
        if name not in state:
            names = ", ".join(field.name for field in charm.schema.fields) or "none"
            raise NotFound(f"{charm.name} has no field {name}; it has {names}.")
        return bytes(state[name])

    def source(self, ref: CharmRef) -> str:
        """A charm's source text."""
        return self._store.charms.source(self._context.charm(ref).source_hash)

    def runs(self, ref: CharmRef, before: int | None, limit: int) -> list[RunRecord]:
        """A charm's recorded runs, newest first; of a removed charm too, while they are kept."""
        charm = self._store.charms.find(ref) or self._store.charms.find_removed(ref)
        if charm is None:
            charm = self._context.charm(ref)
        return self._store.runs.of(charm.charm_key, before=before, limit=limit)

    def dead_letters(self, after: int, limit: int) -> list[DeadLetter]:
        """The dead letters of all charms, oldest first."""
        letters = self._parts.queue.dead_letters(after, limit)
        return [self._letter_view(letter) for letter in letters]

    def _letter_view(self, letter: Claim) -> DeadLetter:
        job = letter.job
        return DeadLetter(
            job_id=job.job_id,
            space=job.ref.space,
            charm_id=job.ref.charm_id,
            stream=job.stream,
            origin=job.origin,
            status=JobStatus.FAILED,
            attempt=job.attempt,
            run_at=job.run_at,
            created_at=job.created_at,
            cause=letter.cause,
            error=letter.error,
            event=self._event_text(letter) if job.origin is Origin.SEND else "",
        )

    def _event_text(self, letter: Claim) -> str:
        """The event of a dead letter as people may see it."""
        job = letter.job
        charm = self._store.charms.get(letter.charm_key)
        if charm is None:
            return _COVERED
        if len(job.event) > _LARGEST_OPENED_BYTES and secret_paths_of(charm, job.stream, job.event):
            return _COVERED
        try:
            shown = EventSeals(self._store).shown(charm, job.stream, job.event)
        except (InvalidInput, AuthorizationError):
            return _COVERED
        text = shown[: 4 * LETTER_EVENT_CHARACTERS].decode(errors="replace")
        return cut(text, LETTER_EVENT_CHARACTERS)

    def paused_all(self) -> Pause | None:
        """The pause of everything, if there is one."""
        return self._store.pauses.at()

    def paused(self, limit: int) -> list[PauseView]:
        """What is paused, the widest first."""
        shown = []
        for pause in self._store.pauses.all()[:limit]:
            charm = self._store.charms.get(pause.charm_key) if pause.charm_key else None
            space = self._store.spaces.get(pause.space_key) if pause.space_key else None
            shown.append(
                PauseView(
                    space=space.did if space is not None else None,
                    space_name=space.name if space is not None else "",
                    charm_id=charm.ref.charm_id if charm is not None else None,
                    paused_at=pause.paused_at,
                    paused_by=pause.paused_by,
                )
            )
        return shown

    def status(self) -> ServiceStatus:
        """The snapshot of the service."""
        return self._board.snapshot()

    def audit(self, before: int | None, limit: int) -> list[AuditEntry]:
        """Who changed what, the newest first."""
        return self._store.audit.newest(before, limit)

    def export(self) -> Iterator[bytes]:
        """All charms, a JSON object each, in the form that import takes; secrets are left out.

        Items of collections follow their charm, in objects of their own.
        """
        after = 0
        while charms := self._store.charms.page(space=None, after=after, limit=_EXPORT_PAGE):
            for charm in charms:
                yield self._exported(charm)
                yield from self._exported_items(charm)
            after = charms[-1].charm_key

    def _exported(self, charm: CharmRecord) -> bytes:
        registration = self._store.registrations.find(charm.charm_key, charm.ref)
        state = self._store.cells.state(charm)
        kept = [field.name for field in charm.schema.fields if field.kind is FieldKind.VALUE]
        links = {link.field: link.target for link in self._links(charm) if not link.writable}
        writable = {link.field: link.target for link in self._links(charm) if link.writable}
        space = self._store.spaces.find(charm.ref.space)
        limits = write_limits(self._store.limits.of_charm(charm.charm_key))
        said = self._store.schedules.of_charm(charm.charm_key)
        schedule = {name: word for name, word in asdict(said).items() if word is not None}
        interval_seconds = self._store.health.entry(charm.charm_key).interval_seconds
        lock = self._packages.lock_of(charm.charm_key)
        return msgspec.json.encode(
            {
                "source": self._store.charms.source(charm.source_hash),
                "file": charm.file_name,
                "class": charm.schema.class_name,
                "space": (space.name if space else "") or charm.ref.space,
                "cause": charm.cause,
                "set": {name: state[name] for name in kept if name in state},
                "links": links,
                "writable_links": writable,
                "register": registration is not None,
                "integration": registration.integration if registration else "",
                **({"limits": limits} if limits else {}),
                **({"schedule": schedule} if schedule else {}),
                **({"interval": interval_seconds} if interval_seconds else {}),
                **({"lock": lock} if lock is not None else {}),
            }
        )

    def _exported_items(self, charm: CharmRecord) -> Iterator[bytes]:
        space = self._store.spaces.find(charm.ref.space)
        place = {"space": (space.name if space else "") or charm.ref.space, "cause": charm.cause}
        for field in charm.schema.fields:
            after, is_end = "", field.kind is not FieldKind.ITEMS
            while not is_end:
                page = self._store.items.page(
                    charm.charm_key, field.name, after, _EXPORT_ITEMS, has_values=True
                )
                items = {item.key: msgspec.Raw(item.value or b"null") for item in page.items}
                if items:
                    after = page.items[-1].key
                    yield msgspec.json.encode({**place, "items": {field.name: items}})
                is_end = page.is_end

    def _packages_of(self, charm_key: int) -> tuple[str, ...]:
        lock = self._packages.lock_of(charm_key)
        return tuple(map(str, lock.packages)) if lock is not None else ()

    def expectations(self, shown: CharmView) -> tuple[ExpectationView, ...]:
        """How often a charm's state should change."""
        charm = self._context.charm(CharmRef(shown.space, shown.charm_id))
        return tuple(self._expectations(charm))

    def _expectations(self, charm: CharmRecord) -> Iterator[ExpectationView]:
        stale_at = self._store.freshness.of(charm.charm_key)
        for field, seconds in charm.schema.expects.items():
            yield ExpectationView(field, seconds, stale_at.get(field, 0.0))

    def _links(self, charm: CharmRecord) -> list[LinkView]:
        shown = []
        for link in self._store.links.of(charm.charm_key):
            target = self._store.charms.get(link.target_key)
            if target is not None:
                path = "/".join([str(target.ref), *link.path])
                shown.append(LinkView(link.field, path, link.is_writable))
        return shown

    def _views(self, charms: Sequence[CharmRecord]) -> list[CharmView]:
        """Show charms, with one look at each table for all of them."""
        keys = [charm.charm_key for charm in charms]
        health = self._store.health.get_many(keys)
        entries = self._store.health.entries(keys)
        registered_at = self._store.registrations.times(keys)
        stale_at = self._store.freshness.first(keys)
        names = self._store.spaces.names({charm.space_key for charm in charms})
        return [
            self._view(
                charm,
                health[charm.charm_key],
                names.get(charm.space_key, ""),
                registered_at.get(charm.charm_key),
                entries[charm.charm_key],
                stale_at.get(charm.charm_key),
            )
            for charm in charms
        ]

    def _view(
        self,
        charm: CharmRecord,
        health: CharmHealth,
        space_name: str,
        registered_at: float | None,
        entry: ScheduleEntry,
        stale_at: float | None,
    ) -> CharmView:
        key = charm.charm_key
        planner = self._parts.planner
        schedule = planner.schedules.of(charm, entry.interval_seconds)
        interval_seconds = entry.interval_seconds or self._interval_seconds
        if schedule is not None:
            interval_seconds = 0.0 if schedule.cron else schedule.every_seconds
        between_seconds = interval_seconds
        if schedule is not None and schedule.cron:
            between_seconds = seconds_between(schedule, health.last_scheduled or health.last_run)
        pause = self._store.pauses.over(charm.space_key, key)
        return CharmView(
            space=charm.ref.space,
            space_name=space_name,
            charm_id=charm.ref.charm_id,
            name=charm.name,
            short_name=charm.ref.short_name,
            cause=charm.cause,
            integration=self._polled_charms.label(key),
            registered=registered_at is not None,
            listed_by=self._polled_charms.listed_by(key),
            enabled=health.is_enabled,
            disabled_by=health.disabled_by,
            disabled_at=health.disabled_at,
            paused=paused_as(pause),
            paused_at=pause.paused_at if pause is not None else 0.0,
            paused_by=pause.paused_by if pause is not None else "",
            status=health.status,
            created_at=charm.created_at,
            updated_at=charm.updated_at,
            registered_at=registered_at or 0.0,
            last_run=health.last_run,
            last_success=health.last_success,
            next_due=None if pause is not None else planner.next_poll_at(charm, entry),
            interval_seconds=interval_seconds,
            schedule=planner.schedules.words(charm, entry.interval_seconds),
            consecutive_failures=health.consecutive_failures,
            disabled_after=self._max_failures,
            last_error=health.last_error,
            last_error_cause=health.last_error_cause,
            last_error_at=health.last_error_at,
            executions=health.executions,
            successes=health.successes,
            failures=health.failures,
            waits=health.waits,
            downs=health.downs,
            skipped_polls=health.skipped_polls,
            stale_since=stale_at
            if stale_at is not None and stale_at < self._parts.clock.now()
            else 0.0,
            runs_late=entry.due_at is not None and between_seconds < health.last_ms / 1000,
            avg_ms=health.total_ms / health.executions if health.executions else 0.0,
            min_ms=health.min_ms,
            max_ms=health.max_ms,
            last_ms=health.last_ms,
            waiting=self._packages.view(key) or self._parts.waiting.view(key),
        )


def paused_as(pause: Pause | None) -> str | None:
    """Say what a pause is of."""
    if pause is None:
        return None
    if pause.charm_key:
        return "charm"
    return "space" if pause.space_key else "everything"
