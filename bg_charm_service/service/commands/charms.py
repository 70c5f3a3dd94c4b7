"""Commands that add charms, one or many, with the links that they are given, and remove them.

Whatever has to know a source's fields asks a worker; nothing is loaded here. The state is
checked against the class before anything changes. A link is a right: only who may act on both
spaces can give one.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from pathlib import PurePath
from typing import NamedTuple

import msgspec
from msgspec import structs

from bg_charm_service.domain.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    ServiceError,
    StorageError,
)
from bg_charm_service.domain.identity import space_did
from bg_charm_service.domain.items import check_written
from bg_charm_service.domain.limits import (
    NO_CHANGES,
    LimitChanges,
    Limits,
    read_changes,
    write_given,
)
from bg_charm_service.domain.merkle import refer
from bg_charm_service.domain.model import CharmRef, CharmSchema, Failure, FieldKind, FieldSchema
from bg_charm_service.domain.packages.lock import encode_lock
from bg_charm_service.domain.packages.script_block import has_block
from bg_charm_service.domain.schedules.words import NO_WORDS
from bg_charm_service.domain.views import AddedCharm, NewCharm
from bg_charm_service.service.charm_names import find_linked
from bg_charm_service.service.charm_packages import CharmPackages, Locked, told_of_packages
from bg_charm_service.service.commands.context import CommandContext
from bg_charm_service.service.commands.polling import PollingCommands
from bg_charm_service.service.commands.updates import (
    check_source,
    notes_on,
    raise_problems,
    schema_of,
)
from bg_charm_service.storage.records import CharmRecord, Link, Space
from bg_charm_service.supervisor.events.hook_addresses import HookAddresses
from bg_charm_service.supervisor.limit_resolver import LimitResolver
from bg_charm_service.supervisor.planning.polled_charms import PolledCharms
from bg_charm_service.supervisor.refusal_advice import Place
from bg_charm_service.supervisor.run_items import RunItems
from bg_charm_service.workers.protocol.messages import Inspected

#: Charms that one transaction adds, and about how many bytes of values: it is one step of the loop.
_PORTION_CHARMS = 100
_PORTION_BYTES = 1024 * 1024


class _Source(NamedTuple):
    """What is loaded once for all charms of it; what follows `limits` where it names packages."""

    source: str
    file_name: str
    class_name: str | None
    limits: Limits
    space: str = ""
    before: str = ""
    given: bytes = b""
    may_name_any: bool = False


class _Loaded(NamedTuple):
    """A charm to add, what loading its source showed, and the packages that it has."""

    new: NewCharm
    found: Inspected | InvalidInput
    locked: Locked | None = None


_Portion = list[_Loaded]

#: Fields that can be links: a sign-in may be another charm's.
_LINKED = (FieldKind.CELL, FieldKind.STREAM, FieldKind.OAUTH)


def _portions(charms: _Portion) -> Iterator[_Portion]:
    """Cut charms to add into what one transaction takes."""
    portion: _Portion = []
    size_bytes = 0
    for one in charms:
        portion.append(one)
        size_bytes += len(one.new.source) + sum(map(len, one.new.values.values()))
        if len(portion) == _PORTION_CHARMS or size_bytes >= _PORTION_BYTES:
            yield portion
            portion, size_bytes = [], 0
    if portion:
        yield portion


class CharmCommands:
    """What makes charms, and removes them."""

    def __init__(
        self,
        context: CommandContext,
        polling: PollingCommands,
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
        self._polling = polling
        self._polled_charms = polled_charms
        self._limits = limits
        self._packages = packages

    async def add(self, new: NewCharm) -> AddedCharm:
        """Add a charm from its source; the same one again changes nothing but a registration."""
        added = (await self.add_many([new]))[0]
        if isinstance(added, ServiceError):
            raise added
        return added

    async def add_many(self, charms: list[NewCharm]) -> list[AddedCharm | ServiceError]:
        """Add many charms: each by itself, some in each transaction, each source loaded once.

        Gives for each what became of it, or the error that kept it out. Raises StorageError when
        none could be written.
        """
        self._context.check_open()
        loaded = await self._load_all(charms)
        try:
            results = await self._put_all(loaded)
        finally:
            for one in loaded:
                self._packages.release(one.locked)
        self._supervisor.wake()
        return results

    async def _put_all(self, loaded: list[_Loaded]) -> list[AddedCharm | ServiceError]:
        results: list[AddedCharm | ServiceError] = []
        for portion in _portions(loaded):
            try:
                with self._parts.database.transaction():
                    added = [self._try_put(one) for one in portion]
            except StorageError as error:
                if not results:
                    raise
                # What went before is on disk, and is said to be.
                results += [error] * len(portion)
                continue
            results += added
            await asyncio.sleep(0)
        return results

    def _try_put(self, loaded: _Loaded) -> AddedCharm | ServiceError:
        try:
            with self._parts.database.savepoint():
                return self._put(loaded)
        except StorageError:
            raise
        except ServiceError as error:
            return error

    async def remove(self, ref: CharmRef) -> None:
        """Delete a charm with its state; a run under way is stopped and its writes refused."""
        charm = self._context.owned_charm(ref)
        key = charm.charm_key
        with self._context.change("remove", ref):
            self._store.registrations.drop(key)
            self._store.limits.put_charm(key, LimitChanges())
            self._packages.take(key, charm.space_key)
            self._store.schedules.put(key, NO_WORDS)
            self._parts.waiting.forget(ref, key, charm.space_key)
            self._store.charms.mark_removed(key, self._parts.clock.now())
            self._parts.planner.drop(key)
            self._parts.queue.discard(key)
            self._store.pauses.drop(charm.space_key, key)
        self._polled_charms.forget(key)
        self._context.tell(ref, "removed")
        run = self._parts.dispatcher.runs.of_charm(key)
        if run is not None:
            settlement = self._supervisor.settlement_of(run.claim.job.job_id)
            if self._parts.pool.cancel(run.run_id):
                await settlement

    async def _load_all(self, charms: list[NewCharm]) -> list[_Loaded]:
        """Load each different source once, with all the values that are to go with it.

        Within the limits that its runs will have: once for each of these. What it needs of packages
        is there then; each one that is given is to be released.
        """
        groups: dict[_Source, list[int]] = defaultdict(list)
        loaded: dict[int, _Loaded] = {}
        places = list(self._places(charms))
        for index, (new, place) in enumerate(zip(charms, places, strict=True)):
            try:
                changes = read_changes(new.limits) if place.charm is None else NO_CHANGES
            except InvalidInput as error:
                loaded[index] = _Loaded(new, error)
                continue
            limits = self._limits.allowed(place.space_key, place.charm_key, changes)
            groups[self._source_of(new, limits)].append(index)
        try:
            for source, members in groups.items():
                group = [(charms[index], places[index]) for index in members]
                loaded.update(zip(members, await self._load(group, source), strict=True))
        except BaseException:
            for one in loaded.values():
                self._packages.release(one.locked)
            raise
        return [loaded[index] for index in range(len(charms))]

    def _places(self, charms: list[NewCharm]) -> Iterator[Place]:
        """Where the limits of charms to add are set; a space that is not there has none."""
        spaces: dict[str, Space | None] = {}
        for new in charms:
            if new.space not in spaces:
                spaces[new.space] = self._context.space(new.space)
            space = spaces[new.space]
            if space is None:
                yield Place(new.space)
                continue
            cause = new.cause or PurePath(new.file_name).stem
            yield Place(
                space.name or space.did,
                space.space_key,
                self._store.charms.find_by_cause(space.space_key, cause),
            )

    def _source_of(self, new: NewCharm, limits: Limits) -> _Source:
        if not has_block(new.source):
            return _Source(new.source, new.file_name, new.class_name, limits)
        # Packages are a space's: they count for its quota, and it is told what is done for them.
        did = space_did(new.space)
        charm = self._store.charms.find(self._ref_of(new, did))
        before = self._store.packages.of_charm(charm.charm_key) if charm is not None else ""
        given = encode_lock(new.lock) if new.lock is not None else b""
        return _Source(
            new.source, new.file_name, new.class_name, limits, did, before, given, new.may_name_any
        )

    async def _load(self, group: list[tuple[NewCharm, Place]], source: _Source) -> list[_Loaded]:
        """Load one source for all its charms, each with its place."""
        locked = None
        inspections = self._parts.inspections
        limits = source.limits
        try:
            check_source(source.source, source.file_name)
            if source.space:
                locked = await self._packages.prepare(
                    source.source,
                    source.file_name,
                    space=source.space,
                    may_name_any=source.may_name_any,
                    actor=self._context.actor(),
                    before=source.before,
                    given=group[0][0].lock,
                )
            if locked is not None:
                limits = limits.with_packages(locked.folder)
            inspected = await inspections.load(
                source.source,
                source.file_name,
                source.class_name,
                [new.values for new, _ in group],
                limits=limits,
            )
        except InvalidInput as error:
            self._packages.release(locked)
            return [_Loaded(new, error) for new, _ in group]
        except BaseException:
            self._packages.release(locked)
            raise
        if isinstance(inspected, Failure):
            self._packages.release(locked)
            return [
                _Loaded(new, inspections.error_of(inspected, place, limits)) for new, place in group
            ]
        found = []
        for number, (new, _) in enumerate(group):
            values, problems = (inspected.values[number],), (inspected.problems[number],)
            own = structs.replace(inspected, values=values, problems=problems)
            found.append(_Loaded(new, own, locked))
        for _ in group[1:]:
            self._packages.share(locked)
        return found

    def _ref_of(self, new: NewCharm, did: str) -> CharmRef:
        cause = new.cause or PurePath(new.file_name).stem
        return CharmRef(did, refer({"space": did, "cause": cause, "source": new.source}))

    def _put(self, loaded: _Loaded) -> AddedCharm:
        new, found, locked = loaded
        if isinstance(found, InvalidInput):
            raise found
        schema = schema_of(found, new.file_name)
        raise_problems(found, 0)
        did = space_did(new.space)
        cause = new.cause or PurePath(new.file_name).stem
        if not cause.strip():
            raise InvalidInput("A charm needs a cause: give --cause TEXT.")
        ref = self._ref_of(new, did)
        space = self._context.ensure_owned(new.space)
        charm = self._store.charms.find(ref)
        is_new = charm is None
        if charm is None:
            self._check_cause(space.space_key, cause, new.file_name)
            with self._context.change("add charm", ref, detail=schema.name):
                charm = self._create(ref, space.space_key, cause, new, schema, found.values[0])
                self._packages.give(charm.charm_key, space.space_key, locked)
        if new.register:
            if charm.updater is None:
                raise InvalidInput(f"{charm.name} has no updater stream: it cannot be registered.")
            label = new.integration or "manual"
            with self._context.change("register", ref, detail=label):
                self._polling.put_registration(charm, label)
        if is_new and (new.schedule or new.interval_seconds is not None):
            self._polling.put_schedule(charm, new.schedule, new.interval_seconds)
        is_registered = self._store.registrations.find(charm.charm_key, ref) is not None
        unmet = self._limits.shown_for_charm(charm).unmet
        unmet += tuple(self._parts.planner.schedules.unmet(charm))
        notes = notes_on(found, charm.schema) if is_new else ()
        if new.limits and not is_new:
            notes += (
                "Its limits were not changed: `bg-charm-service limits "
                f"{charm.ref}` with the same options changes them.",
            )
        if is_new and locked is not None:
            notes += (told_of_packages(locked),)
        return AddedCharm(did, ref.charm_id, charm.name, is_new, is_registered, unmet, notes)

    def _create(
        self,
        ref: CharmRef,
        space_key: int,
        cause: str,
        new: NewCharm,
        schema: CharmSchema,
        values: dict[str, bytes],
    ) -> CharmRecord:
        links = self._read_links(schema, new.links, new.writable_links, space_key)
        state = {}
        for field in schema.fields:
            if field.kind in (FieldKind.ITEMS, FieldKind.OAUTH):
                # They begin empty, and with nobody signed in.
                continue
            if field.kind.is_link:
                if field.default is None and field.name not in links:
                    raise InvalidInput(
                        f"{schema.name} needs a link for {field.name}: "
                        f"give --link {field.name}=SPACE/CHARM/FIELD."
                    )
                continue
            value = values.get(field.name, field.default)
            if value is None:
                raise InvalidInput(
                    f"{schema.name} needs a value for {field.name}: give it by "
                    f'--set {field.name}=JSON, or in the "set" of an import\'s line.'
                )
            state[field.name] = value
        charm = self._store.charms.add(
            ref,
            space_key,
            cause=cause,
            file_name=new.file_name,
            source=new.source,
            schema=schema,
            now=self._parts.clock.now(),
        )
        self._store.health.create(charm.charm_key)
        now = self._parts.clock.now()
        self._store.freshness.put(
            charm.charm_key, {field: now + after for field, after in schema.expects.items()}
        )
        for name, value in state.items():
            self._store.cells.write(charm, name, value)
        for field in schema.fields:
            if field.kind is FieldKind.ITEMS and field.name in values:
                # They came through a worker, which has checked and normalised them.
                items = msgspec.json.decode(values[field.name], type=dict[str, msgspec.Raw])
                written = {key: bytes(value) for key, value in items.items()}
                check_written(field.name, written)
                self._items.put(charm, field.name, written)
        for link in links.values():
            self._store.links.put(charm.charm_key, link)
        if schema.hooks:
            self._addresses.give(charm, self._parts.clock.now())
        if new.limits:
            self._context.record("set limits", ref, detail=write_given(new.limits))
            self._store.limits.put_charm(charm.charm_key, read_changes(new.limits))
        self._context.tell(ref, "added")
        return charm

    def _check_cause(self, space_key: int, cause: str, file_name: str) -> None:
        taken = self._store.charms.find_by_cause(space_key, cause)
        if taken is not None:
            raise Conflict(
                f"This space has a charm for the cause {cause!r} already, with other source: "
                f"{taken.ref}. To give it this source: `bg-charm-service charm update {taken.ref} "
                f"{file_name}`. To add another charm: --cause TEXT."
            )

    def _read_links(
        self,
        schema: CharmSchema,
        links: dict[str, str],
        writable_links: dict[str, str],
        space_key: int,
    ) -> dict[str, Link]:
        """Check links given as `SPACE/CHARM[/path]` by field; raises InvalidInput.

        Raises AuthorizationError for a space that the operator does not own.
        """
        found = {}
        for given, is_writable in ((links, False), (writable_links, True)):
            for name, text in given.items():
                found[name] = self._read_link(
                    schema, name, text, space_key, is_writable=is_writable
                )
        return found

    def _read_link(
        self, schema: CharmSchema, name: str, text: str, space_key: int, *, is_writable: bool
    ) -> Link:
        field = schema.field(name)
        if field is None or not (field.kind.is_link or field.kind is FieldKind.OAUTH):
            raise InvalidInput(f"{schema.name} has no link field {name}.")
        found = find_linked(self._store, text)
        if found is None:
            raise NotFound(f"The link {name} leads to {text}, which does not exist.")
        target, path = found
        self._context.check_owner(target.space_key, target.ref.space)
        self._context.check_owner(space_key, "it is added to")
        there = target.schema.field(path[0]) if path else None
        if field.kind is FieldKind.STREAM:
            if len(path) != 1 or path[0] not in target.schema.streams:
                raise InvalidInput(
                    f"The link {name} must name a stream of {target.name}: "
                    f"{', '.join(target.schema.streams)}."
                )
        elif path and there is None:
            raise InvalidInput(f"The link {name}: {target.name} has no field {path[0]}.")
        elif there is not None and (there.kind is FieldKind.ITEMS) != (
            field.kind is FieldKind.ITEMS_CELL
        ):
            wanted = "Cell[Items[...]]" if there.kind is FieldKind.ITEMS else "Cell[...] of a value"
            raise InvalidInput(
                f"The link {name}: {target.name}.{path[0]} is a {there.kind} field; the link to it "
                f"is declared as {wanted}."
            )
        elif field.kind is FieldKind.ITEMS_CELL and len(path) != 1:
            raise InvalidInput(
                f"The link {name} must name a collection: SPACE/CHARM/FIELD, and nothing behind it."
            )
        elif field.kind is FieldKind.OAUTH and not _is_sign_in(path, there, field.provider):
            raise InvalidInput(
                f"The link {name} must name a sign-in at {field.provider}, and all of it."
            )
        elif not path and is_writable:
            raise InvalidInput(f"The link {name} to a whole charm can only be read.")
        return Link(name, target.charm_key, path, is_writable)


def _is_sign_in(path: tuple[str, ...], origin: FieldSchema | None, provider: str) -> bool:
    is_whole = len(path) == 1 and origin is not None and origin.kind is FieldKind.OAUTH
    return is_whole and origin is not None and origin.provider == provider
