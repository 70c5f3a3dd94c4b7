"""What a check is given, and how it looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bg_charm_service.storage.contract import Running
from bg_charm_service.storage.records import NAMED_THINGS, Trouble
from bg_charm_service.storage.sql.database import Database
from bg_charm_service.storage.sql.job_queue import JobQueue

#: So many rows are looked at in one slice: a few milliseconds at most.
SLICE_ROWS = 200


@dataclass(frozen=True, slots=True)
class Scope:
    """Where to look; `now` is by the steady clock, `running` is None where no service runs."""

    database: Database
    queue: JobQueue
    now: float
    running: Running | None = None


#: Puts one of the things found right, inside a transaction: what a trouble has as its `mend`.
Mend = Callable[[Scope, Any], None]

#: Looks at one thing: None after each slice, and what it found at its end.
Check = Callable[[Scope], Iterator[Trouble | None]]


def sliced(scope: Scope, sql: str, start: Any) -> Iterator[list[Any]]:
    """Give the rows of a query in slices; its first column pages it, its parameters :after, :rows.

    The query is to give rows whether anything is wrong with them or not, so that a slice is short.
    """
    after = start
    while True:
        rows = scope.database.rows(sql, {"after": after, "rows": SLICE_ROWS})
        yield rows
        if len(rows) < SLICE_ROWS:
            return
        after = rows[-1][0]


def charm_names(scope: Scope, charm_keys: list[int]) -> tuple[str, ...]:
    """Give the addresses of those of some charms that a finding names."""
    names = []
    for key in charm_keys[:NAMED_THINGS]:
        row = scope.database.row("SELECT space, charm_id FROM charms WHERE charm_key = ?", (key,))
        names.append(f"{row[0]}/{row[1]}" if row else f"charm number {key}")
    return tuple(names)
