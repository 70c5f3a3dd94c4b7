"""Commands that add charms, one or many.

Whatever has to know a source's fields asks a worker; nothing is loaded here. The state is
checked against the class before anything changes.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import PurePath

from bg_charm_service.domain.errors import Conflict, InvalidInput, ServiceError, StorageError
from bg_charm_service.domain.identity import space_did
from bg_charm_service.domain.limit_names import read_changes, write_given
from bg_charm_service.domain.merkle import refer
from bg_charm_service.domain.model import CharmRef, CharmSchema, FieldKind
from bg_charm_service.domain.views import AddedCharm, NewCharm
from bg_charm_service.service.commands.updates import (
    ChangeCommands,
    check_source,
    raise_problems,
    schema_of,
)
from bg_charm_service.storage.records import CharmRecord
from bg_charm_service.workers.protocol.messages import Inspected


class CharmCommands(ChangeCommands):
    """What makes charms."""

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
        schema = schema_of(found)
        raise_problems(found, 0)
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
        unmet = self.office.limits.shown_for_charm(charm).unmet
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
        if new.limits:
            self.record("set limits", ref, detail=write_given(new.limits))
            self.store.limits.put_charm(charm.charm_key, read_changes(new.limits))
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
