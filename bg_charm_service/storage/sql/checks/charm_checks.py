"""Checks of charms: each has its source and its next run, and nothing is left of those removed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from bg_charm_service.storage.records import Severity, Trouble
from bg_charm_service.storage.sql.checks.findings import Scope, charm_names, sliced
from bg_charm_service.storage.sql.store.packed_runs import is_readable

_REGISTERED = """SELECT r.charm_key, charm.space, charm.updater IS NOT NULL,
    health.charm_key IS NULL, health.disabled_by IS NULL, health.due_at
    FROM registrations AS r JOIN charms AS charm USING (charm_key)
    LEFT JOIN health USING (charm_key)
    WHERE r.charm_key > :after AND charm.removed_at IS NULL ORDER BY r.charm_key LIMIT :rows"""

_CHARMS = """SELECT charm_key,
    NOT EXISTS (SELECT 1 FROM sources WHERE sources.source_hash = charms.source_hash),
    NOT EXISTS (SELECT 1 FROM spaces WHERE spaces.space_key = charms.space_key)
    FROM charms WHERE charm_key > :after AND removed_at IS NULL ORDER BY charm_key LIMIT :rows"""

_COUNTED = """SELECT charm_key, executions <> successes + failures
    FROM health WHERE charm_key > :after ORDER BY charm_key LIMIT :rows"""

_RINGS = """SELECT charm_key, ring FROM health WHERE charm_key > :after
    ORDER BY charm_key LIMIT :rows"""

_SPACES = """SELECT space_key,
    NOT EXISTS (SELECT 1 FROM space_owners AS o WHERE o.space_key = spaces.space_key), did
    FROM spaces WHERE space_key > :after ORDER BY space_key LIMIT :rows"""

_SOURCES = """SELECT source_hash,
    NOT EXISTS (SELECT 1 FROM charms WHERE charms.source_hash = sources.source_hash)
    FROM sources WHERE source_hash > :after ORDER BY source_hash LIMIT :rows"""

#: Tables whose rows belong to a charm that was not removed, by the column that names it.
_OWNED = (
    ("cells", "charm_key"),
    ("links", "charm_key"),
    ("registrations", "charm_key"),
    ("charm_limits", "charm_key"),
    ("charm_schedules", "charm_key"),
    ("pauses", "charm_key"),
    ("reminders", "charm_key"),
    ("freshness", "charm_key"),
    ("waits", "charm_key"),
    ("sign_ins", "charm_key"),
    ("idempotency_keys", "charm_key"),
    ("hooks", "charm_key"),
    ("charm_texts", "rowid"),
)


def next_runs(scope: Scope) -> Iterator[Trouble | None]:
    """Each charm that is registered and enabled has exactly one next due time."""
    unknown, idle = [], []
    for rows in sliced(scope, _REGISTERED, 0):
        for charm_key, _, has_updater, is_unknown, is_enabled, due_at in rows:
            if is_unknown:
                unknown.append(charm_key)
            elif not (has_updater and is_enabled):
                continue
            elif due_at is None or _is_forgotten(scope, charm_key):
                idle.append(charm_key)
        yield None
    for text, keys in (
        ("that are registered, and have no record of their runs", unknown),
        ("that are registered and enabled, and have no next run", idle),
    ):
        if keys:
            names = charm_names(scope, keys)
            yield Trouble(
                "schedule", Severity.ERROR, text, "Charms", tuple(keys), names, mend=_schedule
            )


def parts_of_charms(scope: Scope) -> Iterator[Trouble | None]:
    """Each charm has its source and its space, each space an owner."""
    sourceless, homeless, wild = [], [], []
    for rows in sliced(scope, _CHARMS, 0):
        sourceless += [row[0] for row in rows if row[1]]
        homeless += [row[0] for row in rows if row[2]]
        yield None
    for rows in sliced(scope, _SPACES, 0):
        wild += [row[2] for row in rows if row[1]]
        yield None
    for text, keys in (
        ("with no source, which `charm update` gives them", sourceless),
        ("in no space", homeless),
    ):
        if keys:
            names = charm_names(scope, keys)
            yield Trouble("charms", Severity.ERROR, text, "Charms", tuple(keys), names)
    if wild:
        yield Trouble("spaces", Severity.ERROR, "with no owner", "Spaces", tuple(wild))
    has_space = scope.database.row("SELECT 1 FROM spaces LIMIT 1")
    if has_space and not scope.database.row("SELECT 1 FROM data_keys LIMIT 1"):
        text = "There is no key for secrets: those that are stored cannot be read any more"
        yield Trouble("secrets", Severity.ERROR, text)


def leftovers(scope: Scope) -> Iterator[Trouble | None]:
    """Nothing belongs to a charm that does not exist, or was removed."""
    for table, column in _OWNED:
        sql = f"""SELECT owned.k, NOT EXISTS (SELECT 1 FROM charms
            WHERE charms.charm_key = owned.k AND removed_at IS NULL)
            FROM (SELECT DISTINCT {column} AS k FROM {table}
                WHERE {column} > :after ORDER BY {column} LIMIT :rows) AS owned
            ORDER BY owned.k"""  # noqa: S608 - names of our own, see _OWNED
        left: list[int] = []
        for rows in sliced(scope, sql, 0):
            left += [row[0] for row in rows if row[1]]
            yield None
        if left:
            text = f"that do not exist any more, and have rows in {table}"
            names = charm_names(scope, left)
            delete = partial(_delete_owned, table, column)
            yield Trouble(
                "leftovers", Severity.WARNING, text, "Charms", tuple(left), names, mend=delete
            )
    unused: list[str] = []
    for rows in sliced(scope, _SOURCES, ""):
        unused += [row[0] for row in rows if row[1]]
        yield None
    if unused:
        text = "that no charm has any more, which the next cleanup deletes"
        yield Trouble(
            "leftovers", Severity.NOTE, text, "Sources", tuple(unused), mend=_delete_source
        )


def counts(scope: Scope) -> Iterator[Trouble | None]:
    """Every execution that was counted was a success or a failure."""
    wrong: list[int] = []
    for rows in sliced(scope, _COUNTED, 0):
        wrong += [row[0] for row in rows if row[1]]
        yield None
    if wrong:
        text = "with executions that are neither successes nor failures"
        names = charm_names(scope, wrong)
        yield Trouble("counts", Severity.ERROR, text, "Charms", tuple(wrong), names)
    totals = dict(scope.database.rows("SELECT name, value FROM totals"))
    parts = totals.get("successes", 0) + totals.get("failures", 0)
    if totals.get("executions", 0) != parts:
        text = (
            f"The service counts {totals.get('executions', 0):.0f} executions, and {parts:.0f} "
            "successes and failures"
        )
        yield Trouble("counts", Severity.ERROR, text)


def histories(scope: Scope) -> Iterator[Trouble | None]:
    """The newest runs of each charm can be read."""
    wrong: list[int] = []
    for rows in sliced(scope, _RINGS, 0):
        wrong += [key for key, ring in rows if not (ring is None or is_readable(ring))]
        yield None
    if wrong:
        text = "whose newest runs cannot be read, and are forgotten when this is mended"
        names = charm_names(scope, wrong)
        yield Trouble(
            "history", Severity.ERROR, text, "Charms", tuple(wrong), names, mend=_forget_newest
        )


def _is_forgotten(scope: Scope, charm_key: int) -> bool:
    return scope.running is not None and not scope.running.is_polled(charm_key)


def _schedule(scope: Scope, charm_key: int) -> None:
    scope.database.execute("INSERT OR IGNORE INTO health (charm_key) VALUES (?)", (charm_key,))
    row = scope.database.row(
        "SELECT space FROM charms JOIN registrations USING (charm_key)"
        " JOIN health USING (charm_key) WHERE charm_key = ?"
        " AND removed_at IS NULL AND disabled_by IS NULL",
        (charm_key,),
    )
    if row is None:
        return
    if scope.running is not None:
        scope.running.schedule(charm_key, row[0])
    else:
        scope.database.execute(
            "UPDATE health SET due_at = ? WHERE charm_key = ?", (scope.now, charm_key)
        )


def _forget_newest(scope: Scope, charm_key: int) -> None:
    scope.database.execute("UPDATE health SET ring = NULL WHERE charm_key = ?", (charm_key,))


def _delete_owned(table: str, column: str, scope: Scope, charm_key: int) -> None:
    scope.database.execute(
        f"DELETE FROM {table} WHERE {column} = ?1 AND NOT EXISTS"  # noqa: S608 - see _OWNED
        " (SELECT 1 FROM charms WHERE charm_key = ?1 AND removed_at IS NULL)",
        (charm_key,),
    )


def _delete_source(scope: Scope, source_hash: str) -> None:
    scope.database.execute(
        "DELETE FROM sources WHERE source_hash = ?1"
        " AND NOT EXISTS (SELECT 1 FROM charms WHERE source_hash = ?1)",
        (source_hash,),
    )
