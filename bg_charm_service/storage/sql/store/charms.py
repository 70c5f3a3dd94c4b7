"""Charms and their sources: identity, class description, where they stand in their life.

A removed charm keeps its row, so that its history stays readable, until cleanup purges it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from sys import intern
from typing import Any

import msgspec

from bg_charm_service.domain.limits import NO_CHANGES
from bg_charm_service.domain.model import CharmRef, CharmSchema
from bg_charm_service.domain.schedules.words import NO_WORDS
from bg_charm_service.storage.records import CharmRecord
from bg_charm_service.storage.sql.database import Database
from bg_charm_service.storage.sql.keys import KEYS, json_keys
from bg_charm_service.storage.sql.store.runs import Runs

#: What of a charm goes with it.
_DROPPED_WITH_A_CHARM = (
    *("cells", "links", "registrations", "charm_limits", "charm_schedules"),
    *("reminders", "freshness", "waits", "charm_packages", "sign_ins"),
    *("idempotency_keys", "hooks"),
)

#: So many charms are remembered, at about 600 bytes each; beyond that it begins anew.
_RECENT_CHARMS = 120_000

COLUMNS = (
    "charm_key, space_key, space, charm_id, cause, file_name, source_hash, schema, name,"
    " updater, created_at, updated_at, removed_at"
)


@lru_cache(maxsize=4096)
def _schema(encoded: bytes) -> CharmSchema:
    schema = msgspec.json.decode(encoded, type=CharmSchema)
    # Most ask for nothing, and say nothing: the one object for that is compared at no cost.
    if schema.asks == NO_CHANGES:
        schema = replace(schema, asks=NO_CHANGES)
    return replace(schema, schedule=NO_WORDS) if schema.schedule == NO_WORDS else schema


def charm_record(row: Any) -> CharmRecord:
    """Read a row of the columns above."""
    charm_key, space_key, space, charm_id, cause, file_name, source, *others = row
    schema, name, updater, *times = others
    # Many charms have the same space, source and names: one text each in memory.
    return CharmRecord(
        charm_key,
        space_key,
        CharmRef(intern(space), charm_id),
        cause,
        intern(file_name),
        intern(source),
        _schema(schema),
        intern(name),
        updater and intern(updater),
        *times,
    )


class Charms:
    """The tables `charms` and `sources`."""

    def __init__(self, database: Database, runs: Runs) -> None:
        self._database = database
        self._runs = runs
        self._changes = database.sole_writer.changes
        self._may_have_unused_sources = True
        # Planned, claimed and settled, a charm is asked for several times within a moment.
        self._recent: dict[int, CharmRecord] = {}
        database.on_undo.append(self._recent.clear)

    def find(self, ref: CharmRef) -> CharmRecord | None:
        """Look a charm up; None for an unknown or removed one."""
        row = self._database.row(
            f"SELECT {COLUMNS} FROM charms WHERE space = ? AND charm_id = ? AND removed_at IS NULL",
            (ref.space, ref.charm_id),
        )
        return charm_record(row) if row else None

    def key_of(self, ref: CharmRef) -> int | None:
        """The key of a charm, where no more is needed of it; None for an unknown or removed one."""
        row = self._database.row(
            "SELECT charm_key FROM charms WHERE space = ? AND charm_id = ? AND removed_at IS NULL",
            (ref.space, ref.charm_id),
        )
        return int(row[0]) if row else None

    def find_removed(self, ref: CharmRef) -> CharmRecord | None:
        """Look up a charm that was removed lately."""
        row = self._database.row(
            f"SELECT {COLUMNS} FROM charms WHERE space = ? AND charm_id = ?"
            " AND removed_at IS NOT NULL",
            (ref.space, ref.charm_id),
        )
        return charm_record(row) if row else None

    def get(self, charm_key: int) -> CharmRecord | None:
        """Look a charm up by its key, removed or not."""
        row = self._database.row(f"SELECT {COLUMNS} FROM charms WHERE charm_key = ?", (charm_key,))
        return charm_record(row) if row else None

    def get_many(self, charm_keys: Sequence[int]) -> dict[int, CharmRecord]:
        """Look several charms up, removed or not; gives those that there are, by key."""
        recent = self._recent
        found = {key: recent[key] for key in charm_keys if key in recent}
        if len(found) < len(charm_keys):
            missing = [key for key in charm_keys if key not in found]
            rows = self._database.rows(
                f"SELECT {COLUMNS} FROM {KEYS} CROSS JOIN charms ON charm_key = wanted",
                (json_keys(missing),),
            )
            read = {row[0]: charm_record(row) for row in rows}
            found |= read
            if len(recent) + len(read) > _RECENT_CHARMS:
                recent.clear()
            recent |= read
        return found

    def find_by_cause(self, space_key: int, cause: str) -> CharmRecord | None:
        """Look up the charm of a space that was made for a cause."""
        row = self._database.row(
            f"SELECT {COLUMNS} FROM charms WHERE space_key = ? AND cause = ?"
            " AND removed_at IS NULL",
            (space_key, cause),
        )
        return charm_record(row) if row else None

    def page(self, *, space: str | None, after: int, limit: int) -> list[CharmRecord]:
        """Charms in order of their keys, from behind key `after`."""
        rows = self._database.rows(
            f"SELECT {COLUMNS} FROM charms WHERE charm_key > ?1 AND removed_at IS NULL"
            " AND space = coalesce(?2, space) ORDER BY charm_key LIMIT ?3",
            (after, space, limit),
        )
        return [charm_record(row) for row in rows]

    def count_outside(self, space: str) -> int:
        """How many charms there are in other spaces than this one."""
        (count,) = self._database.row(
            "SELECT count(*) FROM charms WHERE removed_at IS NULL AND space <> ?", (space,)
        )
        return int(count)

    def add(
        self,
        ref: CharmRef,
        space_key: int,
        *,
        cause: str,
        file_name: str,
        source: str,
        schema: CharmSchema,
        now: float,
    ) -> CharmRecord:
        """Store a charm; one that was removed before comes back under its key."""
        self._database.execute(
            """INSERT INTO charms (space_key, space, charm_id, cause, file_name, source_hash,
                schema, name, updater, created_at, updated_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10)
            ON CONFLICT (space, charm_id) DO UPDATE SET cause = excluded.cause,
                file_name = excluded.file_name, source_hash = excluded.source_hash,
                schema = excluded.schema, name = excluded.name, updater = excluded.updater,
                created_at = CASE WHEN charms.removed_at IS NULL
                    THEN charms.created_at ELSE excluded.created_at END,
                updated_at = excluded.updated_at,
                removed_at = NULL""",
            (
                space_key,
                ref.space,
                ref.charm_id,
                cause,
                file_name,
                self._keep(source),
                msgspec.json.encode(schema),
                schema.name,
                schema.updater,
                now,
            ),
        )
        record = self.find(ref)
        assert record is not None
        self._note_change(record.charm_key)
        self._index(record.charm_key, record.name, cause)
        return record

    def replace_source(
        self, charm_key: int, *, file_name: str, source: str, schema: CharmSchema, now: float
    ) -> None:
        """Give a charm new source; its id, state and history stay."""
        self._note_change(charm_key)
        self._may_have_unused_sources = True
        (cause,) = self._database.row("SELECT cause FROM charms WHERE charm_key = ?", (charm_key,))
        self._index(charm_key, schema.name, cause)
        self._database.execute(
            "UPDATE charms SET file_name = ?, source_hash = ?, schema = ?, name = ?, updater = ?,"
            " updated_at = ? WHERE charm_key = ?",
            (
                file_name,
                self._keep(source),
                msgspec.json.encode(schema),
                schema.name,
                schema.updater,
                now,
                charm_key,
            ),
        )

    def source(self, source_hash: str) -> str:
        """The text of a stored source."""
        (source,) = self._database.row(
            "SELECT source FROM sources WHERE source_hash = ?", (source_hash,)
        )
        return str(source)

    def mark_removed(self, charm_key: int, now: float) -> None:
        """End a charm's life; its state and its right to run are gone, its history stays."""
        self._note_change(charm_key)
        self._database.execute(
            "UPDATE charms SET removed_at = ? WHERE charm_key = ?", (now, charm_key)
        )
        for table in _DROPPED_WITH_A_CHARM:
            self._database.execute(f"DELETE FROM {table} WHERE charm_key = ?", (charm_key,))
        self._database.execute("DELETE FROM charm_texts WHERE rowid = ?", (charm_key,))
        # There may be very many items, which the cleanup deletes.
        self._database.execute(
            "UPDATE collections SET charm_key = NULL WHERE charm_key = ?", (charm_key,)
        )

    def bring_near(self, now: float) -> None:
        """Let no charm have been removed after `now`: the clock was set back since."""
        keys = self._database.rows("SELECT charm_key FROM charms WHERE removed_at > ?", (now,))
        for (charm_key,) in keys:
            self._note_change(charm_key)
            self._database.execute(
                "UPDATE charms SET removed_at = ? WHERE charm_key = ?", (now, charm_key)
            )

    def purge_removed(self, before: float, limit: int) -> int:
        """Delete charms removed before a moment, and sources nobody uses; gives the count."""
        keys = self._database.rows(
            "SELECT charm_key FROM charms WHERE removed_at < ? LIMIT ?", (before, limit)
        )
        if keys:
            # The links to them go too, whosever they are.
            self._changes.mark_all()
            self._recent.clear()
        self._runs.keep_packed([charm_key for (charm_key,) in keys])
        self._database.executemany("DELETE FROM health WHERE charm_key = ?", keys)
        self._database.executemany("DELETE FROM links WHERE target_key = ?", keys)
        self._database.executemany("DELETE FROM charms WHERE charm_key = ?", keys)
        if keys or self._may_have_unused_sources:
            self._database.execute(
                "DELETE FROM sources WHERE NOT EXISTS"
                " (SELECT 1 FROM charms WHERE charms.source_hash = sources.source_hash)"
            )
            self._may_have_unused_sources = False
        return len(keys)

    def _note_change(self, charm_key: int) -> None:
        self._changes.mark(charm_key)
        self._recent.pop(charm_key, None)

    def _index(self, charm_key: int, name: str, cause: str) -> None:
        self._database.execute(
            "INSERT OR REPLACE INTO charm_texts (rowid, text) VALUES (?, ?)",
            (charm_key, f"{name}\n{cause}"),
        )

    def _keep(self, source: str) -> str:
        source_hash = hashlib.sha256(source.encode()).hexdigest()
        self._database.execute("INSERT OR IGNORE INTO sources VALUES (?, ?)", (source_hash, source))
        return source_hash
