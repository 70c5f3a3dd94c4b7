"""Links: rights of one charm on a cell or stream of another, given by a person, never by a run.

Inside a space a link is writable; into another space only when it was made so.
"""

from __future__ import annotations

import msgspec

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.storage.change_marks import ChangeMarks
from bg_charm_service.storage.records import CellValue, CharmRecord, Link
from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.storage.sqlite.store.cells import Cells, value_at, with_value_at


class Links:
    """The table `links`, and reading and writing through it."""

    def __init__(self, database: Database, cells: Cells, changes: ChangeMarks) -> None:
        self._database = database
        self._changes = changes
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
            versions = self._cells.versions(target.charm_key)
            whole = msgspec.json.encode(self._cells.state(target))
            return CellValue(sum(versions.values()), whole)
        cell = self._cells.read(target, link.path[0])
        if cell is None or cell.value is None:
            raise InvalidInput(
                f"Field {link.field!r} links to {target.ref}/{link.path[0]}, which has no value."
            )
        if len(link.path) == 1:
            return cell
        return CellValue(cell.version, value_at(cell.value, link.path[1:]))

    def version(self, target: CharmRecord, link: Link) -> int:
        """The version of the linked value, 0 when there is none."""
        versions = self._cells.versions(target.charm_key)
        return versions.get(link.path[0], 0) if link.path else sum(versions.values())

    def write(self, target: CharmRecord, link: Link, value: bytes) -> None:
        """Write through a link into the target's field."""
        if not link.path:
            raise InvalidInput(f"Field {link.field!r} links to a whole charm, which is read-only.")
        cell = self._cells.read(target, link.path[0])
        document = cell.value if cell is not None and cell.value is not None else b"{}"
        self._cells.write(target, link.path[0], with_value_at(document, link.path[1:], value))
