"""What a check is given, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.storage.sqlite.job_queue import JobQueue

#: So many rows are looked at in one slice: a few milliseconds at most.
SLICE_ROWS = 200

#: So many of the things found are named.
_NAMED = 3


class Severity(StrEnum):
    """How bad it is; the order is that of the exit codes."""

    NOTE = "note"  #: fine, but worth knowing
    WARNING = "warning"  #: works, and will not for ever
    ERROR = "error"  #: something that must always hold does not


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


@dataclass(slots=True)
class Trouble:
    """One kind of thing that is wrong, with all that it concerns."""

    check: str
    severity: Severity
    #: What is wrong; after the noun of the things that it concerns, if it has one.
    text: str
    things: str = ""
    keys: tuple[Any, ...] = ()
    names: tuple[str, ...] = ()
    mend: Mend | None = None
    #: Puts all of it right without the database.
    amend: Callable[[], None] | None = None

    @property
    def is_mendable(self) -> bool:
        return self.mend is not None or self.amend is not None

    def finding(self, *, is_repaired: bool = False) -> Finding:
        """Give what is told of it."""
        text = self.text
        if self.things:
            named = ", ".join((self.names or tuple(map(str, self.keys)))[:_NAMED])
            more = ", …" if len(self.keys) > _NAMED else ""
            text = f"{self.things} {text}: {len(self.keys)} ({named}{more})"
        return Finding(self.check, self.severity, text, self.is_mendable, is_repaired)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is told of a trouble; `repairable` means that --repair mends it."""

    check: str
    severity: Severity
    text: str
    repairable: bool
    repaired: bool = False


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
    """Give the addresses of the first of some charms."""
    names = []
    for key in charm_keys[:_NAMED]:
        row = scope.database.row("SELECT space, charm_id FROM charms WHERE charm_key = ?", (key,))
        names.append(f"{row[0]}/{row[1]}" if row else f"charm number {key}")
    return tuple(names)
