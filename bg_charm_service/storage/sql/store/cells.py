"""The fields of charms: one row each, with a version that grows with every write.

Values are JSON. Secret ones are encrypted here and nowhere else, so no other module sees how
they are stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.json_values import check_json
from bg_charm_service.domain.model import FieldKind
from bg_charm_service.storage.records import INLINE_BYTES, REDACTED, CellValue, CharmRecord
from bg_charm_service.storage.sql.database import Database
from bg_charm_service.storage.sql.keys import KEYS, json_keys
from bg_charm_service.storage.sql.remembered import Remembered
from bg_charm_service.storage.sql.store.data_keys import Secrets

# A version is never used twice: a field that was dropped and made anew has another key.
_VERSION_BITS = 32
_VERSION = f"(cell_key << {_VERSION_BITS}) + version"

_IN_SNAPSHOT = f"""charm_key, field, {_VERSION}, is_sealed,
    CASE WHEN length(value) <= {INLINE_BYTES} OR is_sealed = 1 THEN value END, length(value)"""

#: Of charms with fields so small and so few they are remembered, in bytes each.
_REMEMBERED_BYTES, _REMEMBERED_FIELDS = 256, 8

# Apart from the insert, which costs more than all else where it only finds that there is a row.
_REPLACE = """UPDATE cells SET version = version + 1, is_sealed = ?3, value = ?4
    WHERE charm_key = ?1 AND field = ?2"""
# Where the cell is known, there is no need to look for it.
_REPLACE_KNOWN = "UPDATE cells SET version = version + 1, value = ?1 WHERE cell_key = ?2"
_INSERT = """INSERT INTO cells (charm_key, field, version, is_sealed, value)
    VALUES (?1, ?2, 1, ?3, ?4) ON CONFLICT (charm_key, field) DO NOTHING"""


class Cells:
    """The table `cells`."""

    def __init__(self, database: Database, secrets: Secrets) -> None:
        self._database = database
        self._changes = database.sole_writer.changes
        self._secrets = secrets
        self._known: Remembered[dict[str, CellValue]] = Remembered(self._changes, database.on_undo)

    def snapshot(self, charm: CharmRecord) -> dict[str, CellValue]:
        """All fields of a charm, large values left out."""
        return self.snapshots([charm])[charm.charm_key]

    def snapshots(self, charms: Sequence[CharmRecord]) -> dict[int, dict[str, CellValue]]:
        """All fields of each of several charms, by the charm's key; large values left out."""
        found = self._known.find([charm.charm_key for charm in charms])
        by_key = {one.charm_key: one for one in charms if one.charm_key not in found}
        return found | self._read(by_key) if by_key else found

    def _read(self, by_key: dict[int, CharmRecord]) -> dict[int, dict[str, CellValue]]:
        found: dict[int, dict[str, CellValue]] = {key: {} for key in by_key}
        rows = self._database.rows(
            f"SELECT {_IN_SNAPSHOT} FROM {KEYS} CROSS JOIN cells ON charm_key = wanted",
            (json_keys(list(by_key)),),
        )
        # What is sealed does not stay in memory, and what is large would take too much.
        passed_over = set()
        for key, field, version, is_sealed, value, size in rows:
            plain = self._open(by_key[key], field, value) if is_sealed else value
            found[key][field] = CellValue(version, plain, size)
            if is_sealed or size > _REMEMBERED_BYTES or len(found[key]) > _REMEMBERED_FIELDS:
                passed_over.add(key)
        for key in by_key.keys() - passed_over:
            self._known.keep(key, found[key])
        return found

    def read(self, charm: CharmRecord, field: str) -> CellValue | None:
        """One field, however large; None when it was never written."""
        row = self._database.row(
            f"SELECT {_VERSION}, is_sealed, value FROM cells WHERE charm_key = ? AND field = ?",
            (charm.charm_key, field),
        )
        if row is None:
            return None
        version, is_sealed, value = row
        return CellValue(version, self._open(charm, field, value) if is_sealed else value)

    def versions(self, charm_key: int) -> dict[str, int]:
        """The version of each field of a charm."""
        return dict(
            self._database.rows(
                f"SELECT field, {_VERSION} FROM cells WHERE charm_key = ?", (charm_key,)
            )
        )

    def total_bytes(self, charm_key: int) -> int:
        """What all fields of a charm take together."""
        (total,) = self._database.row(
            "SELECT coalesce(sum(length(value)), 0) FROM cells WHERE charm_key = ?", (charm_key,)
        )
        return int(total)

    def write(self, charm: CharmRecord, field: str, value: bytes) -> None:
        """Write one field; its version grows by one. Raises InvalidInput for what is no JSON."""
        try:
            check_json(value)
        except ValueError as error:
            raise InvalidInput(f"The value of {field!r}: {error}.") from None
        self._changes.mark(charm.charm_key)
        is_sealed = _is_secret(charm, field)
        stored = self._secrets.encrypt(value, _place(charm, field)) if is_sealed else value
        self._write([(charm.charm_key, field, is_sealed, stored)])

    def write_all(self, rows: Iterable[tuple[int, str, bytes]]) -> None:
        """Write fields, each given by its charm's key, its name and its JSON; leaves no marks.

        For what plain runs wrote into their own charms, once it was checked: no secret, and no
        field twice.
        """
        known, others = [], []
        for charm_key, field, value in rows:
            before = self._known.get(charm_key)
            cell = before.get(field) if before is not None else None
            if before is None or cell is None:
                others.append((charm_key, field, False, value))
                continue
            known.append((value, cell.version >> _VERSION_BITS))
            if len(value) <= _REMEMBERED_BYTES:
                after = {**before, field: CellValue(cell.version + 1, value, len(value))}
                self._known.follow(charm_key, before, after)
            else:
                self._known.forget([charm_key])
        if known and self._database.executemany(_REPLACE_KNOWN, known).rowcount != len(known):
            raise RuntimeError("fields that were known to be there are not")
        if others:
            self._write(others)
            self._known.forget([charm_key for charm_key, *_ in others])

    def drop(self, charm_key: int, field: str) -> None:
        """Delete one field."""
        self._changes.mark(charm_key)
        self._database.execute(
            "DELETE FROM cells WHERE charm_key = ? AND field = ?", (charm_key, field)
        )

    def state(self, charm: CharmRecord) -> dict[str, msgspec.Raw]:
        """The whole state as people see it: `$NAME`, fields with secrets redacted, streams."""
        rows = self._database.rows(
            "SELECT field, is_sealed, value FROM cells WHERE charm_key = ? ORDER BY field",
            (charm.charm_key,),
        )
        stored = {
            field: self._shown(charm, field, value, is_sealed=bool(is_sealed))
            for field, is_sealed, value in rows
        }
        order = [field.name for field in charm.schema.fields if field.name in stored]
        fields = {name: stored[name] for name in order}
        stream = msgspec.Raw(b'{"$stream":true}')
        return {
            "$NAME": msgspec.Raw(msgspec.json.encode(charm.name)),
            **fields,
            **dict.fromkeys(charm.schema.streams, stream),
        }

    def _write(self, rows: Sequence[tuple[int, str, bool, bytes]]) -> None:
        if self._database.executemany(_REPLACE, rows).rowcount < len(rows):
            self._database.executemany(_INSERT, rows)

    def _shown(
        self, charm: CharmRecord, field: str, value: bytes, *, is_sealed: bool
    ) -> msgspec.Raw:
        if not is_sealed and not _is_secret(charm, field):
            return msgspec.Raw(value)
        plain = self._open(charm, field, value) if is_sealed else value
        # That nothing is there is no secret: whether a charm has a token is asked by this.
        return msgspec.Raw(b"null" if plain == b"null" else msgspec.json.encode(REDACTED))

    def _open(self, charm: CharmRecord, field: str, value: bytes) -> bytes:
        return self._secrets.decrypt(value, _place(charm, field))


def _place(charm: CharmRecord, field: str) -> str:
    """Name a cell so that no two cells share a name, whatever is in the parts."""
    return msgspec.json.encode([charm.ref.space, charm.ref.charm_id, field]).decode()


def _is_secret(charm: CharmRecord, field: str) -> bool:
    schema = charm.schema.field(field)
    return schema is not None and schema.kind in (FieldKind.SECRET, FieldKind.OAUTH)
