"""Commands that change a charm that is there: new source, a field written from outside.

The state is checked against the class in a worker before anything changes.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

import msgspec

from bg_charm_service.domain.class_words import told_of_names
from bg_charm_service.domain.errors import Conflict, InvalidInput, NotFound, StateError
from bg_charm_service.domain.items import MOST_TOGETHER, check_key, check_written
from bg_charm_service.domain.json_values import CheckedJson
from bg_charm_service.domain.model import (
    UPDATED_STATUS,
    CharmRef,
    CharmSchema,
    DisabledBy,
    FieldKind,
)
from bg_charm_service.domain.oauth import SignInKey
from bg_charm_service.domain.outcomes.run_endings import EndingKind
from bg_charm_service.domain.packages.script_block import has_block
from bg_charm_service.domain.schedules.schedule import read_class_words
from bg_charm_service.domain.views import UpdateReport
from bg_charm_service.service.charm_packages import CharmPackages, Locked, told_of_packages
from bg_charm_service.service.commands.context import CommandContext
from bg_charm_service.storage.records import CharmRecord
from bg_charm_service.supervisor.events.hook_addresses import HookAddresses
from bg_charm_service.supervisor.limit_resolver import LimitResolver
from bg_charm_service.supervisor.planning.polled_charms import PolledCharms
from bg_charm_service.supervisor.run_items import RunItems
from bg_charm_service.workers.protocol.messages import Inspected

#: A source may be this long, in characters.
SOURCE_LIMIT = 1_000_000

#: After this many stale re-runs in a row, changes from outside wait for the run to settle.
_PATIENCE = 3


#: Of each collection so much is checked against new source, in bytes.
_CHECKED_BYTES = 2 * 1024 * 1024

#: How kinds of fields are called where their own word is not enough.
_KINDS = {
    FieldKind.ITEMS: "collection",
    FieldKind.ITEMS_CELL: "link to a collection",
}


class _GivenItems(msgspec.Struct, forbid_unknown_fields=True):
    """Items to write, an object of values by their keys, and keys of those to remove."""

    items: msgspec.Raw = msgspec.Raw(b"{}")
    remove: list[str] = []


class UpdateCommands:
    """What changes charms."""

    def __init__(
        self,
        context: CommandContext,
        polled_charms: PolledCharms,
        limits: LimitResolver,
        packages: CharmPackages,
        items: RunItems,
        addresses: HookAddresses,
    ) -> None:
        self._items = items
        self._addresses = addresses
        self._context = context
        self._supervisor = context.supervisor
        self._parts = context.parts
        self._store = context.store
        self._polled_charms = polled_charms
        self._limits = limits
        self._packages = packages

    async def update_source(
        self,
        ref: CharmRef,
        source: str,
        file_name: str,
        class_name: str | None,
        *,
        dry_run: bool,
        may_name_any: bool = False,
        upgrade: bool = False,
        keeps_items: bool = False,
    ) -> UpdateReport:
        """Give a charm new source, if its state fits; its id, state and history stay.

        Its packages stay too while the source asks for the same, unless an `upgrade` is wanted.
        Where it `keeps_items`, a source without a collection that has some is not applied.
        """
        charm = self._context.owned_charm(ref)
        check_source(source, file_name)
        locked = None
        if has_block(source):
            locked = await self._packages.prepare(
                source,
                file_name,
                space=ref.space,
                may_name_any=may_name_any,
                actor=self._context.actor(),
                before=self._store.packages.of_charm(charm.charm_key),
                upgrade=upgrade,
            )
        try:
            return await self._update(
                charm,
                source,
                file_name,
                class_name,
                locked,
                dry_run=dry_run,
                keeps_items=keeps_items,
            )
        finally:
            self._packages.release(locked)

    async def _update(
        self,
        charm: CharmRecord,
        source: str,
        file_name: str,
        class_name: str | None,
        locked: Locked | None,
        *,
        dry_run: bool,
        keeps_items: bool,
    ) -> UpdateReport:
        ref = charm.ref
        state = {
            field.name: value
            for field in charm.schema.fields
            if field.kind is not FieldKind.OAUTH
            and (value := self._value(charm, field.name)) is not None
        }
        # Not the limits of its runs: the new class may ask for others than the old one.
        advice = self._parts.inspections.advice
        place = advice.place_of(charm)
        limits = advice.allowed(place)
        if locked is not None:
            limits = limits.with_packages(locked.folder)
        inspect = partial(
            self._parts.inspections.inspect,
            source,
            file_name,
            class_name,
            place=place,
            limits=limits,
        )
        inspected = await inspect()
        schema = schema_of(inspected, file_name, before=charm.schema)
        kept = {name: value for name, value in state.items() if schema.field(name)}
        some_items, in_part = self._some_items(charm, schema)
        checked = await inspect([{**kept, **some_items}])
        before = {field.name for field in charm.schema.fields}
        added = tuple(field.name for field in schema.fields if field.name not in before)
        removed = tuple(sorted(before - {field.name for field in schema.fields}))
        problems = self._update_problems(charm, schema, checked, kept)
        lost = self._lost_items(charm, removed)
        is_applied = not problems and not dry_run and not (lost and keeps_items)
        if is_applied:
            with self._context.change("update source", ref, detail=file_name):
                self._check_same_source(charm)
                self._check_same_state(charm, state)
                self._apply_update(charm, source, file_name, schema, removed)
                self._packages.give(charm.charm_key, charm.space_key, locked)
                self._let_run_again(charm)
                self._context.tell(ref, "updated")
            self._supervisor.wake()
        notes = notes_on(inspected, schema) + in_part
        if locked is not None:
            notes += (told_of_packages(locked),)
        return UpdateReport(is_applied, added, removed, problems, notes, lost)

    def _some_items(
        self, charm: CharmRecord, schema: CharmSchema
    ) -> tuple[dict[str, bytes], tuple[str, ...]]:
        """Give items to check against new source, as objects by field; says what is left out.

        There may be more than can be looked at: the first ones of each collection stand for it.
        """
        found: dict[str, bytes] = {}
        notes: list[str] = []
        is_kept = {one.name for one in schema.fields if one.kind is FieldKind.ITEMS}
        for name, totals in self._store.items.of(charm.charm_key).items():
            if name not in is_kept or not totals.count:
                continue
            items: dict[str, msgspec.Raw] = {}
            after, left_bytes = "", _CHECKED_BYTES
            while left_bytes > 0:
                page = self._store.items.page(
                    charm.charm_key, name, after, MOST_TOGETHER, has_values=True
                )
                for item in page.items:
                    value = item.value or b"null"
                    left_bytes -= len(value) + len(item.key)
                    if left_bytes < 0 and items:
                        break
                    items[item.key] = msgspec.Raw(value)
                if page.is_end:
                    break
                after = page.items[-1].key
            found[name] = msgspec.json.encode(items)
            if len(items) < totals.count:
                of_all = f"Of the {totals.count:,} items of {name}"
                notes.append(f"{of_all} the first {len(items):,} were checked.")
        return found, tuple(notes)

    def _lost_items(self, charm: CharmRecord, removed: tuple[str, ...]) -> dict[str, int]:
        """How many items the collections have whose fields are there no more."""
        collections = self._store.items.of(charm.charm_key)
        return {
            name: collections[name].count
            for name in removed
            if name in collections and collections[name].count
        }

    async def set_field(self, ref: CharmRef, name: str, value: bytes) -> None:
        """Write one field from outside, once a worker has checked it against its type."""
        charm = self._context.owned_charm(ref)
        self._packages.check(charm.charm_key)
        field = charm.schema.field(name)
        if field is None:
            names = ", ".join(one.name for one in charm.schema.fields) or "none"
            raise NotFound(f"{charm.name} has no field {name}; it has {names}.")
        if field.kind is FieldKind.ITEMS:
            raise Conflict(
                f"{name} is a collection, whose items are written by {charm.name} itself and by "
                "charms that link to it; it cannot be set as a whole."
            )
        if field.kind is FieldKind.OAUTH:
            raise Conflict(
                f"{name} is a sign-in, which nobody sets: `bg-charm-service auth login "
                f"{field.provider} --space {ref.space} --charm {ref.charm_id}` signs in."
            )
        if field.kind not in (FieldKind.VALUE, FieldKind.SECRET):
            raise Conflict(f"{name} is a link: set the field of the charm that it leads to.")
        source = self._store.charms.source(charm.source_hash)
        class_name = charm.schema.class_name
        checked = await self._parts.inspections.inspect(
            source,
            charm.file_name,
            class_name,
            [{name: value}],
            place=self._parts.inspections.advice.place_of(charm),
            limits=self._limits.of(charm),
        )
        raise_problems(checked, 0)
        await self._wait_for_stale_run(charm)
        with self._context.change("set field", ref, detail=name):
            self._check_same_source(charm)
            self._store.cells.write(charm, name, checked.values[0][name])
            self._parts.switch.sign_in(charm.charm_key, (name,))
            self._context.tell(ref, "state")
        self._supervisor.wake()

    async def write_items(self, ref: CharmRef, name: str, body: bytes) -> None:
        """Write items of a collection from outside, once a worker has checked them.

        `body` has an object of `items` and a list of keys to `remove`; no more is written at once
        than by a run.
        """
        try:
            given = msgspec.json.decode(body, type=_GivenItems)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise InvalidInput(f"These are no items to write and keys to remove: {error}") from None
        charm = self._context.owned_charm(ref)
        self._packages.check(charm.charm_key)
        field = charm.schema.field(name)
        if field is None or field.kind is not FieldKind.ITEMS:
            names = [one.name for one in charm.schema.fields if one.kind is FieldKind.ITEMS]
            raise NotFound(
                f"{charm.name} has no collection {name}; it has {', '.join(names) or 'none'}."
            )
        checked = await self._parts.inspections.inspect(
            self._store.charms.source(charm.source_hash),
            charm.file_name,
            charm.schema.class_name,
            [{name: bytes(given.items)}],
            place=self._parts.inspections.advice.place_of(charm),
            limits=self._limits.of(charm),
        )
        raise_problems(checked, 0)
        fitting = msgspec.json.decode(checked.values[0][name], type=dict[str, msgspec.Raw])
        writes: dict[str, bytes | None] = {check_key(key): None for key in given.remove}
        for key, value in fitting.items():
            if key in writes:
                raise InvalidInput(f"{name}[{key!r:.100}]: it is to be written and to be removed.")
            writes[key] = bytes(value)
        check_written(name, writes)
        await self._wait_for_stale_run(charm)
        with self._context.change("write items", ref, detail=name):
            self._check_same_source(charm)
            self._items.put(charm, name, writes)
            self._context.tell(ref, "state")
        self._supervisor.wake()

    def _update_problems(
        self,
        charm: CharmRecord,
        schema: CharmSchema,
        checked: Inspected,
        kept: dict[str, bytes],
    ) -> tuple[str, ...]:
        problems = list(checked.problems[0].values())
        for field in schema.fields:
            old = charm.schema.field(field.name)
            if old is not None and _family(old.kind) != _family(field.kind):
                was, is_now = _KINDS.get(old.kind, old.kind), _KINDS.get(field.kind, field.kind)
                problems.append(f"{field.name} was a {was} and would be a {is_now}.")
            is_value = _family(field.kind) is FieldKind.VALUE
            if is_value and field.default is None and field.name not in kept:
                problems.append(f"{field.name} is new and has no default.")
        if charm.charm_key in self._polled_charms and schema.updater is None:
            problems.append("It is polled, and the new source has no updater stream.")
        return tuple(problems)

    def _apply_update(
        self,
        charm: CharmRecord,
        source: str,
        file_name: str,
        schema: CharmSchema,
        removed: tuple[str, ...],
    ) -> None:
        values = {name: self._value(charm, name) for name in (f.name for f in charm.schema.fields)}
        self._store.charms.replace_source(
            charm.charm_key,
            file_name=file_name,
            source=source,
            schema=schema,
            now=self._parts.clock.now(),
        )
        self._expect(charm, schema)
        for name in removed:
            self._store.cells.drop(charm.charm_key, name)
            self._store.items.drop(charm.charm_key, name)
            self._store.links.drop(charm.charm_key, name)
            self._store.sign_ins.drop(SignInKey(charm.charm_key, name))
        is_due = self._store.health.entry(charm.charm_key).due_at is not None
        if is_due and schema.schedule != charm.schema.schedule:
            waiting = self._parts.waiting.get(charm.charm_key)
            if waiting is not None and waiting.kind is EndingKind.AGAIN:
                # The next run that the old source named is none of the new one's.
                self._parts.waiting.forget(charm.ref, charm.charm_key, charm.space_key)
            if waiting is not None and waiting.holds_events:
                self._parts.planner.move(charm.charm_key, waiting.until)
            else:
                self._parts.planner.begin(charm.charm_key, charm.ref.space)
        updated = self._context.charm(charm.ref)
        if schema.hooks or charm.schema.hooks:
            self._addresses.give(updated, self._parts.clock.now())
        for field in schema.fields:
            old = charm.schema.field(field.name)
            value = values.get(field.name, field.default)
            is_moved = old is None or old.kind is not field.kind
            if is_moved and value is not None and _family(field.kind) is FieldKind.VALUE:
                # Also when only its secrecy changed: it is stored in another form then.
                # It was stored, or came with the schema: it is checked.
                self._store.cells.write(updated, field.name, CheckedJson(value))

    def _expect(self, charm: CharmRecord, schema: CharmSchema) -> None:
        """Say when what the new source expects to change is stale: from its last change on."""
        now, before = self._parts.clock.now(), charm.schema.expects
        stale_at = self._store.freshness.of(charm.charm_key)
        self._store.freshness.put(
            charm.charm_key,
            {
                name: after + (stale_at[name] - before[name] if name in stale_at else now)
                for name, after in schema.expects.items()
            },
        )

    def _let_run_again(self, charm: CharmRecord) -> None:
        """Let a charm run that its old source had stopped, or that needed a sign-in."""
        off_by = self._store.health.get(charm.charm_key).disabled_by
        if off_by in (DisabledBy.STOPPED, DisabledBy.SIGN_IN):
            updated = self._context.charm(charm.ref)
            is_polled = charm.charm_key in self._polled_charms
            self._parts.switch.enable(updated, UPDATED_STATUS, is_polled=is_polled)

    def _value(self, charm: CharmRecord, name: str) -> bytes | None:
        cell = self._store.cells.read(charm, name)
        return cell.value if cell is not None else None

    def _check_same_source(self, charm: CharmRecord) -> None:
        """Raise Conflict when a charm was updated while its source was being looked at."""
        if self._context.charm(charm.ref).source_hash != charm.source_hash:
            raise Conflict(f"{charm.ref} was updated at the same time; nothing was changed.")

    def _check_same_state(self, charm: CharmRecord, state: dict[str, bytes]) -> None:
        """Raise Conflict when a run wrote values that were not checked against the new source."""
        if any(self._value(charm, name) != value for name, value in state.items()):
            raise Conflict(
                f"{charm.ref} changed its state while it was checked; nothing was changed. Try "
                "again, or disable it meanwhile."
            )

    async def _wait_for_stale_run(self, charm: CharmRecord) -> None:
        """Let a run that was stale again and again settle first, for one deadline at most."""
        run = self._parts.dispatcher.runs.of_charm(charm.charm_key)
        if run is None or self._store.health.get(charm.charm_key).stale_streak < _PATIENCE:
            return
        settlement = self._supervisor.settlement_of(run.claim.job.job_id)
        timeout_seconds = self._limits.of(charm).timeout_seconds
        await asyncio.wait([settlement], timeout=timeout_seconds)


def check_source(source: str, file_name: str) -> None:
    """Raise InvalidInput for what cannot be a source."""
    if len(source) > SOURCE_LIMIT:
        raise InvalidInput(f"{file_name} is too long: a charm has up to {SOURCE_LIMIT} characters.")
    if "\0" in source:
        raise InvalidInput(f"{file_name} is no text: it has a zero byte.")


def schema_of(
    inspected: Inspected, file_name: str, before: CharmSchema | None = None
) -> CharmSchema:
    """Give what an inspected source declares, with what its class says of when it runs.

    A stream that the charm had `before` stays one, whatever word it is called like. Raises
    InvalidInput for words that cannot be read.
    """
    schema = inspected.schema
    # Without one there is no answer at all.
    assert schema is not None
    try:
        said = read_class_words(inspected.said)
    except InvalidInput as error:
        raise InvalidInput(f"{file_name}: {schema.class_name}.{error}") from None
    had = before.streams if before is not None else ()
    kept = tuple(name for name in inspected.withheld if name in had)
    return replace(schema, schedule=said, streams=schema.streams + kept)


def notes_on(inspected: Inspected, schema: CharmSchema) -> tuple[str, ...]:
    """Say what names of a class mean beside the service's own, a sentence each."""
    withheld = [name for name in inspected.withheld if name not in schema.streams]
    fields = {field.name for field in schema.fields}
    return tuple(told_of_names(fields, inspected.hidden, withheld))


def raise_problems(inspected: Inspected, place: int) -> None:
    """Raise StateError when a set of values does not fit."""
    if inspected.problems[place]:
        raise StateError(" ".join(inspected.problems[place].values()))


def _family(kind: FieldKind) -> FieldKind:
    return FieldKind.VALUE if kind is FieldKind.SECRET else kind
