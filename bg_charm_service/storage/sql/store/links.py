"""Links: rights of one charm on a cell or stream of another, given by a person, never by a run.

Inside a space a link is writable; into another space only when it was made so.
"""

from __future__ import annotations

from typing import Any

import msgspec

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.model import FieldKind
from bg_charm_service.domain.oauth import without_refresh_token
from bg_charm_service.domain.quantities import size_text
from bg_charm_service.storage.records import CellValue, CharmRecord, Link
from bg_charm_service.storage.sql.database import Database
from bg_charm_service.storage.sql.store.cells import Cells


class Links:
    """The table `links`, and reading and writing through it."""

    def __init__(self, database: Database, cells: Cells) -> None:
        self._database = database
        self._changes = database.sole_writer.changes
        self._cells = cells

    def put(self, charm_key: int, link: Link) -> None:
        """Make or replace a link."""
        self._changes.mark(charm_key)
        self._database.execute(
            "INSERT OR REPLACE INTO links VALUES (?, ?, ?, ?, ?)",
            (charm_key, link.field, link.target_key, "/".join(link.path), link.is_writable),
        )

    def of(self, charm_key: int) -> list[Link]:
        """The links of a charm."""
        rows = self._database.rows(
            "SELECT field, target_key, path, is_writable FROM links WHERE charm_key = ?"
            " ORDER BY field",
            (charm_key,),
        )
        return [
            Link(field, target, tuple(path.split("/")) if path else (), bool(writable))
            for field, target, path, writable in rows
        ]

    def writers_of(self, target_key: int) -> list[int]:
        """The charms that have a link to a charm by which they may write, by their keys."""
        rows = self._database.rows(
            "SELECT DISTINCT l.charm_key FROM links AS l JOIN charms AS c USING (charm_key)"
            " JOIN charms AS t ON t.charm_key = l.target_key"
            " WHERE l.target_key = ? AND (l.is_writable = 1 OR c.space_key = t.space_key)",
            (target_key,),
        )
        return [charm_key for (charm_key,) in rows]

    def drop(self, charm_key: int, field: str) -> None:
        """Delete one link."""
        self._changes.mark(charm_key)
        self._database.execute(
            "DELETE FROM links WHERE charm_key = ? AND field = ?", (charm_key, field)
        )

    def read(self, target: CharmRecord, link: Link) -> CellValue:
        """The linked value at its version; raises InvalidInput when there is none."""
        if target.removed_at is not None:
            raise InvalidInput(f"Field {link.field!r} links to {target.ref}, which was removed.")
        if not link.path:
            whole = msgspec.json.encode(self._cells.state(target))
            return CellValue(self.version(target, link), whole)
        cell = self._cells.read(target, link.path[0])
        if cell is None or cell.value is None:
            raise InvalidInput(
                f"Field {link.field!r} links to {target.ref}/{link.path[0]}, which has no value."
            )
        value, version = cell.value, cell.version
        if _is_sign_in(target, link.path[0]):
            value, version = without_refresh_token(value), _UNVERSIONED
        if len(link.path) == 1:
            return CellValue(version, value, cell.size_bytes)
        return CellValue(version, value_at(value, link.path[1:]))

    def version(self, target: CharmRecord, link: Link) -> int:
        """The version of the linked value, 0 when there is none."""
        versions = self._cells.versions(target.charm_key)
        if link.path:
            is_sign_in = _is_sign_in(target, link.path[0])
            return _UNVERSIONED if is_sign_in else versions.get(link.path[0], 0)
        return sum(one for name, one in versions.items() if not _is_sign_in(target, name))

    def write(self, target: CharmRecord, link: Link, value: bytes) -> None:
        """Write through a link into the target's field."""
        if not link.path:
            raise InvalidInput(f"Field {link.field!r} links to a whole charm, which is read-only.")
        cell = self._cells.read(target, link.path[0])
        document = cell.value if cell is not None and cell.value is not None else b"{}"
        self._cells.write(target, link.path[0], with_value_at(document, link.path[1:], value))


#: The version of every sign-in: that its token was renewed makes no run stale.
_UNVERSIONED = 0


def _is_sign_in(target: CharmRecord, field: str) -> bool:
    schema = target.schema.field(field)
    return schema is not None and schema.kind is FieldKind.OAUTH


#: A link may lead into a value of this size, in bytes; to a larger one it may lead as a whole. All
#: of the value is read for each part that is read or written.
INSIDE_BYTES = 1024 * 1024


def value_at(document: bytes, path: tuple[str, ...]) -> bytes:
    """The JSON inside a JSON value at a path of keys and indexes; raises InvalidInput."""
    _check_size(document)
    found = msgspec.json.decode(document)
    try:
        for key in path:
            found = found[_step(found, key)]
    except (LookupError, TypeError):
        raise InvalidInput(f"There is nothing at {'/'.join(path)!r} in that value.") from None
    return msgspec.json.encode(found)


def with_value_at(document: bytes, path: tuple[str, ...], value: bytes) -> bytes:
    """A JSON value with the part at a path replaced; raises InvalidInput for no such place."""
    if not path:
        return value
    _check_size(document)
    _check_size(value)
    whole = msgspec.json.decode(document)
    place = whole
    try:
        for key in path[:-1]:
            place = place[_step(place, key)]
        place[_step(place, path[-1])] = msgspec.json.decode(value)
    except (LookupError, TypeError):
        raise InvalidInput(f"There is nothing at {'/'.join(path)!r} in that value.") from None
    return msgspec.json.encode(whole)


def _check_size(value: bytes) -> None:
    if len(value) > INSIDE_BYTES:
        raise InvalidInput(
            f"A link leads into values of up to {size_text(INSIDE_BYTES)}; this one is "
            f"{len(value):,} bytes. It may lead to the whole field."
        )


def _step(place: object, key: str) -> Any:
    """A key of a map, or an index of a list, which never counts from the end."""
    if not isinstance(place, list):
        return key
    if not (key.isascii() and key.isdecimal()):
        raise KeyError(key)
    return int(key)
