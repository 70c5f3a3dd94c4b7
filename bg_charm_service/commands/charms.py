"""Commands about charms themselves: add, import, update, set a field.

Whatever has to know a source's fields asks a worker; nothing is loaded here. The state is
checked against the class before anything changes.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import PurePath

from bg_charm_service.commands.linking import LinkCommands
from bg_charm_service.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    ServiceError,
    StateError,
    StorageError,
)
from bg_charm_service.identity import space_did
from bg_charm_service.model import CharmRef, CharmSchema, FieldKind
from bg_charm_service.refs import refer
from bg_charm_service.store.charms import CharmRecord
from bg_charm_service.views import AddedCharm, NewCharm, UpdateReport
from bg_charm_service.wire import Inspected

#: A source may be this long, in characters.
SOURCE_LIMIT = 1_000_000

#: After this many stale re-runs in a row, changes from outside wait for the run to settle.
_PATIENCE = 3


class CharmCommands(LinkCommands):
    """What makes and changes charms."""

    async def add_charm(self, new: NewCharm) -> AddedCharm:
        """Add a charm from its source; the same one again changes nothing but a registration."""
        added = (await self.import_charms([new]))[0]
        if isinstance(added, ServiceError):
            raise added
        return added

    async def import_charms(self, charms: list[NewCharm]) -> list[AddedCharm | ServiceError]:
        """Add many charms: each by itself, all in one transaction, each source loaded once.

        Gives for each what became of it, or the error that kept it out.
        """
        self.check_open()
        inspected = await self._inspect_all(charms)
        results: list[AddedCharm | ServiceError] = []
        with self.parts.database.transaction():
            for new, found in zip(charms, inspected, strict=True):
                try:
                    with self.parts.database.savepoint():
                        results.append(self._put(new, found))
                except StorageError:
                    raise
                except ServiceError as error:
                    results.append(error)
        self.office.supervisor.wake()
        return results

    async def update_charm(
        self,
        ref: CharmRef,
        source: str,
        file_name: str,
        class_name: str | None,
        *,
        dry_run: bool,
    ) -> UpdateReport:
        """Give a charm new source, if its state fits; its id, state and history stay."""
        charm = self.owned_charm(ref)
        _check_source(source, file_name)
        state = {
            field.name: value
            for field in charm.schema.fields
            if (value := self._value(charm, field.name)) is not None
        }
        inspected = await self.parts.inspections.inspect(source, file_name, class_name)
        schema = _schema(inspected)
        kept = {name: value for name, value in state.items() if schema.field(name)}
        checked = await self.parts.inspections.inspect(source, file_name, class_name, [kept])
        before = {field.name for field in charm.schema.fields}
        added = tuple(field.name for field in schema.fields if field.name not in before)
        removed = tuple(sorted(before - {field.name for field in schema.fields}))
        problems = self._update_problems(charm, schema, checked, kept)
        is_applied = not problems and not dry_run
        if is_applied:
            with self.change("update source", ref, detail=file_name):
                self._apply_update(charm, source, file_name, schema, removed)
                self.tell(ref, "updated")
        return UpdateReport(is_applied, added, removed, problems)

    async def set_field(self, ref: CharmRef, name: str, value: bytes) -> None:
        """Write one field from outside, once a worker has checked it against its type."""
        charm = self.owned_charm(ref)
        field = charm.schema.field(name)
        if field is None:
            names = ", ".join(one.name for one in charm.schema.fields) or "none"
            raise NotFound(f"{charm.name} has no field {name}; it has {names}.")
        if field.kind not in (FieldKind.VALUE, FieldKind.SECRET):
            raise Conflict(f"{name} is a link: set the field of the charm that it leads to.")
        source = self.store.charms.source(charm.source_hash)
        class_name = charm.schema.class_name
        checked = await self.parts.inspections.inspect(
            source, charm.file_name, class_name, [{name: value}]
        )
        _raise_problems(checked, 0)
        await self._wait_for_stale_run(charm)
        with self.change("set field", ref, detail=name):
            self.store.cells.write(self.charm(ref), name, checked.values[0][name])
            self.tell(ref, "state")

    async def _inspect_all(self, charms: list[NewCharm]) -> list[Inspected | InvalidInput]:
        """Load each different source once, with all the values that are to go with it."""
        groups: dict[tuple[str, str, str | None], list[int]] = defaultdict(list)
        for index, new in enumerate(charms):
            groups[(new.source, new.file_name, new.class_name)].append(index)
        found: dict[int, Inspected | InvalidInput] = {}
        for (source, file_name, class_name), members in groups.items():
            values = [charms[index].values for index in members]
            try:
                _check_source(source, file_name)
                inspected = await self.parts.inspections.inspect(
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
        schema = _schema(found)
        _raise_problems(found, 0)
        did = space_did(new.space)
        cause = new.cause or PurePath(new.file_name).stem
        if not cause.strip():
            raise InvalidInput("A charm needs a cause: give --cause TEXT.")
        ref = CharmRef(did, refer({"space": did, "cause": cause, "source": new.source}))
        space = self.ensure_owned(new.space)
        charm = self.store.charms.find(ref)
        is_new = charm is None
        if charm is None:
            self._check_cause(space.space_key, cause, new.file_name)
            with self.change("add charm", ref, detail=schema.name):
                charm = self._create(ref, space.space_key, cause, new, schema, found.values[0])
        if new.register:
            if charm.updater is None:
                raise InvalidInput(f"{charm.name} has no updater stream: it cannot be registered.")
            label = new.integration or "manual"
            with self.change("register", ref, detail=label):
                self.put_registration(charm, label)
        is_registered = self.store.registrations.find(charm.charm_key, ref) is not None
        return AddedCharm(did, ref.charm_id, charm.name, is_new, is_registered)

    def _create(
        self,
        ref: CharmRef,
        space_key: int,
        cause: str,
        new: NewCharm,
        schema: CharmSchema,
        values: dict[str, bytes],
    ) -> CharmRecord:
        links = self.read_links(schema, new.links, new.writable_links, space_key)
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
        charm = self.store.charms.add(
            ref,
            space_key,
            cause=cause,
            file_name=new.file_name,
            source=new.source,
            schema=schema,
            now=self.parts.clock.now(),
        )
        self.store.health.create(charm.charm_key)
        for name, value in state.items():
            self.store.cells.write(charm, name, value)
        for link in links.values():
            self.store.links.put(charm.charm_key, link)
        self.tell(ref, "added")
        return charm

    def _check_cause(self, space_key: int, cause: str, file_name: str) -> None:
        taken = self.store.charms.find_by_cause(space_key, cause)
        if taken is not None:
            raise Conflict(
                f"This space has a charm for the cause {cause!r} already, with other source: "
                f"{taken.ref}. To give it this source: `bg-charm-service charm update {taken.ref} "
                f"{file_name}`. To add another charm: --cause TEXT."
            )

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
                problems.append(f"{field.name} was a {old.kind} and would be a {field.kind}.")
            is_value = _family(field.kind) is FieldKind.VALUE
            if is_value and field.default is None and field.name not in kept:
                problems.append(f"{field.name} is new and has no default.")
        if charm.charm_key in self.office.roster and schema.updater is None:
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
        self.store.charms.replace_source(
            charm.charm_key,
            file_name=file_name,
            source=source,
            schema=schema,
            now=self.parts.clock.now(),
        )
        for name in removed:
            self.store.cells.drop(charm.charm_key, name)
            self.store.links.drop(charm.charm_key, name)
        updated = self.charm(charm.ref)
        for field in schema.fields:
            old = charm.schema.field(field.name)
            value = values.get(field.name, field.default)
            is_moved = old is None or old.kind is not field.kind
            if is_moved and value is not None and _family(field.kind) is FieldKind.VALUE:
                # Also when only its secrecy changed: it is stored in another form then.
                self.store.cells.write(updated, field.name, value)

    def _value(self, charm: CharmRecord, name: str) -> bytes | None:
        cell = self.store.cells.read(charm, name)
        return cell.value if cell is not None else None

    async def _wait_for_stale_run(self, charm: CharmRecord) -> None:
        """Let a run that was stale again and again settle first, for one deadline at most."""
        run = self.parts.dispatcher.runs.of_charm(charm.charm_key)
        if run is None or self.store.health.get(charm.charm_key).stale_streak < _PATIENCE:
            return
        settlement = self.office.supervisor.settlement_of(run.claim.job.job_id)
        await asyncio.wait([settlement], timeout=self.office.timeout_seconds)


def _check_source(source: str, file_name: str) -> None:
    if len(source) > SOURCE_LIMIT:
        raise InvalidInput(f"{file_name} is too long: a charm has up to {SOURCE_LIMIT} characters.")
    if "\0" in source:
        raise InvalidInput(f"{file_name} is no text: it has a zero byte.")


def _schema(inspected: Inspected) -> CharmSchema:
    assert inspected.schema is not None
    return inspected.schema


def _raise_problems(inspected: Inspected, place: int) -> None:
    if inspected.problems[place]:
        raise StateError(" ".join(inspected.problems[place].values()))


def _family(kind: FieldKind) -> FieldKind:
    return FieldKind.VALUE if kind is FieldKind.SECRET else kind
