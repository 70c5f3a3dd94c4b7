"""Links between charms: a right that a person gives who may act on both spaces."""

from __future__ import annotations

from bg_charm_service.domain.errors import InvalidInput, NotFound
from bg_charm_service.domain.identity import space_did
from bg_charm_service.domain.model import CharmRef, CharmSchema, FieldKind
from bg_charm_service.service.commands.polling import PollingCommands
from bg_charm_service.storage.records import Link


class LinkCommands(PollingCommands):
    """Reads and checks links that are asked for."""

    def read_links(
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
        target = self.store.charms.find(ref)
        if target is None:
            raise NotFound(f"The link {name} leads to {ref}, which does not exist.")
        self.check_owner(target.space_key, ref.space)
        self.check_owner(space_key, "it is added to")
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
