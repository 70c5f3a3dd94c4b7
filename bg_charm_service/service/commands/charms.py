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

from bg_charm_service.domain.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    ServiceError,
    StorageError,
)
from bg_charm_service.domain.identity import space_did
from bg_charm_service.domain.limits import LimitChanges, read_changes, write_given
from bg_charm_service.domain.merkle import refer
from bg_charm_service.domain.model import CharmRef, CharmSchema, FieldKind
from bg_charm_service.domain.views import AddedCharm, NewCharm
from bg_charm_service.service.commands.context import CommandContext
from bg_charm_service.service.commands.polling import PollingCommands
from bg_charm_service.service.commands.updates import check_source, raise_problems, schema_of
from bg_charm_service.storage.records import CharmRecord, Link
from bg_charm_service.supervisor.limit_resolver import LimitResolver
from bg_charm_service.supervisor.polled_charms import PolledCharms
from bg_charm_service.workers.protocol.messages import Inspected

#: Charms that one transaction adds, and about how many bytes of values: it is one step of the loop.
_PORTION_CHARMS = 100
_PORTION_BYTES = 1024 * 1024

_Portion = list[tuple[NewCharm, Inspected | InvalidInput]]


def _portions(charms: _Portion) -> Iterator[_Portion]:
    """Cut charms to add into what one transaction takes."""
    portion: _Portion = []
    size_bytes = 0
    for new, found in charms:
        portion.append((new, found))
        size_bytes += len(new.source) + sum(map(len, new.values.values()))
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
    ) -> None:
        self._context = context
        self._supervisor = context.supervisor
        self._parts = context.parts
        self._store = context.store
        self._polling = polling
        self._polled_charms = polled_charms
        self._limits = limits

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
        inspected = await self._inspect_all(charms)
        results: list[AddedCharm | ServiceError] = []
        for portion in _portions(list(zip(charms, inspected, strict=True))):
            try:
                with self._parts.database.transaction():
                    added = [self._try_put(new, found) for new, found in portion]
            except StorageError as error:
                if not results:
                    raise
                # What went before is on disk, and is said to be.
                results += [error] * len(portion)
                continue
            results += added
            await asyncio.sleep(0)
        self._supervisor.wake()
        return results

    def _try_put(self, new: NewCharm, found: Inspected | InvalidInput) -> AddedCharm | ServiceError:
        try:
            with self._parts.database.savepoint():
                return self._put(new, found)
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
            self._store.charms.mark_removed(key, self._parts.clock.now())
            self._parts.planner.drop(key)
            self._parts.queue.discard(key)
        self._polled_charms.forget(key)
        self._context.tell(ref, "removed")
        run = self._parts.dispatcher.runs.of_charm(key)
        if run is not None:
            settlement = self._supervisor.settlement_of(run.claim.job.job_id)
            if self._parts.pool.cancel(run.run_id):
                await settlement

    async def _inspect_all(self, charms: list[NewCharm]) -> list[Inspected | InvalidInput]:
        """Load each different source once, with all the values that are to go with it."""
        groups: dict[tuple[str, str, str | None], list[int]] = defaultdict(list)
        for index, new in enumerate(charms):
            groups[(new.source, new.file_name, new.class_name)].append(index)
        found: dict[int, Inspected | InvalidInput] = {}
        for (source, file_name, class_name), members in groups.items():
            values = [charms[index].values for index in members]
            try:
                check_source(source, file_name)
                inspected = await self._parts.inspections.inspect(
                    source, file_name, class_name, values
                )
            except InvalidInput as error:
                found.update(dict.fromkeys(members, error))
                continue
            for place, index in enumerate(members):
                found[index] = Inspected(
                    inspected.request_id,
                    inspected.schema,
                    values=(inspected.values[place],),
                    problems=(inspected.problems[place],),
                )
        return [found[index] for index in range(len(charms))]

    def _put(self, new: NewCharm, found: Inspected | InvalidInput) -> AddedCharm:
        if isinstance(found, InvalidInput):
            raise found
        schema = schema_of(found)
        raise_problems(found, 0)
        did = space_did(new.space)
        cause = new.cause or PurePath(new.file_name).stem
        if not cause.strip():
            raise InvalidInput("A charm needs a cause: give --cause TEXT.")
        ref = CharmRef(did, refer({"space": did, "cause": cause, "source": new.source}))
        space = self._context.ensure_owned(new.space)
        charm = self._store.charms.find(ref)
        is_new = charm is None
        if charm is None:
            self._check_cause(space.space_key, cause, new.file_name)
            with self._context.change("add charm", ref, detail=schema.name):
                charm = self._create(ref, space.space_key, cause, new, schema, found.values[0])
        if new.register:
            if charm.updater is None:
                raise InvalidInput(f"{charm.name} has no updater stream: it cannot be registered.")
            label = new.integration or "manual"
            with self._context.change("register", ref, detail=label):
                self._polling.put_registration(charm, label)
        is_registered = self._store.registrations.find(charm.charm_key, ref) is not None
        unmet = self._limits.shown_for_charm(charm).unmet
        return AddedCharm(did, ref.charm_id, charm.name, is_new, is_registered, unmet)

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
            if field.kind in (FieldKind.CELL, FieldKind.STREAM):
                if field.default is None and field.name not in links:
                    raise InvalidInput(
                        f"{schema.name} needs a link for {field.name}: "
                        f"give --link {field.name}=SPACE/CHARM/FIELD."
                    )
                continue
            value = values.get(field.name, field.default)
            if value is None:
                raise InvalidInput(
                    f"{schema.name} needs a value for {field.name}: give --set {field.name}=JSON."
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
        for name, value in state.items():
            self._store.cells.write(charm, name, value)
        for link in links.values():
            self._store.links.put(charm.charm_key, link)
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
        if field is None or field.kind not in (FieldKind.CELL, FieldKind.STREAM):
            raise InvalidInput(f"{schema.name} has no link field {name}.")
        parts = text.split("/")
        if len(parts) < 2 or not all(parts):
            raise InvalidInput(f"Not a link: {text!r}. Expected format: SPACE/CHARM[/path].")
        ref = CharmRef.parse(f"{space_did(parts[0])}/{parts[1]}")
        path = tuple(parts[2:])
        target = self._store.charms.find(ref)
        if target is None:
            raise NotFound(f"The link {name} leads to {ref}, which does not exist.")
        self._context.check_owner(target.space_key, ref.space)
        self._context.check_owner(space_key, "it is added to")
        if field.kind is FieldKind.STREAM:
            if len(path) != 1 or path[0] not in target.schema.streams:
                raise InvalidInput(
                    f"The link {name} must name a stream of {target.name}: "
                    f"{', '.join(target.schema.streams)}."
                )
        elif path and target.schema.field(path[0]) is None:
            raise InvalidInput(f"The link {name}: {target.name} has no field {path[0]}.")
        elif not path and is_writable:
            raise InvalidInput(f"The link {name} to a whole charm can only be read.")
        return Link(name, target.charm_key, path, is_writable)
