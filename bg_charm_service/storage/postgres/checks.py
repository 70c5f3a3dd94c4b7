"""The check of a database on PostgreSQL as a whole: its tables, indexes and triggers are there."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bg_charm_service.storage.postgres.schema import STEPS
from bg_charm_service.storage.records import Severity, Trouble
from bg_charm_service.storage.sql.checks.findings import Scope

_MADE = re.compile(
    r"^CREATE (TABLE|INDEX|UNIQUE INDEX|TRIGGER) (\w+)(?:[^;]|;(?=[^\n]))*", re.MULTILINE
)
_RELATIONS = "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
_TRIGGERS = "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"


def schema(scope: Scope) -> Iterator[Trouble | None]:
    """Every table, index and trigger of this version's schema is there."""
    version = scope.database.schema_version
    if version != len(STEPS):
        text = f"The database has schema {version}, and this version of the service {len(STEPS)}"
        yield Trouble("schema", Severity.ERROR, text)
        return
    found = {row[0] for query in (_RELATIONS, _TRIGGERS) for row in scope.database.rows(query)}
    yield None
    wanted = {made[2]: made for step in STEPS for made in _MADE.finditer(step)}
    lost = [name for name, made in wanted.items() if made[1] == "TABLE" and name not in found]
    missing = [name for name in wanted if name not in found and name not in lost]
    if lost:
        yield Trouble("schema", Severity.ERROR, "that are missing", "Tables", tuple(lost))
    if missing and not lost:
        text, things = "that are missing", "Indexes and triggers"
        yield Trouble("schema", Severity.ERROR, text, things, tuple(missing), mend=_make)


def _make(scope: Scope, name: str) -> None:
    for step in STEPS:
        for made in _MADE.finditer(step):
            if made[2] == name:
                scope.database.execute(made[0])
