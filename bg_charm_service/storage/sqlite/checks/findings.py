"""What a check is given, and how it looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from bg_charm_service.storage.records import NAMED_THINGS, Trouble
from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.storage.sqlite.job_queue import JobQueue

#: So many rows are looked at in one slice: a few milliseconds at most.
SLICE_ROWS = 200


class Running(Protocol):
    """What a running service holds in memory beside its database."""

    def in_flight(self) -> frozenset[int]:
        """The ids of the jobs whose runs are under way."""

    def is_polled(self, charm_key: int) -> bool:
        """Whether a charm has a next due time."""

    def schedule(self, charm_key: int, space: str) -> None:
        """Give a charm a next due time; inside a transaction."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Where to look; `now` is by the steady clock, `running` is None on a stopped directory."""

    database: Database
    queue: JobQueue
    now: float
    running: Running | None = None


#: Puts one of the things found right, inside a transaction.
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
