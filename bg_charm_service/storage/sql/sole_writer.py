"""What this process remembers of the database because it alone writes it.

The `SoleWriter` of the storage contract: this process owns every charm from the opening of the
database to its end. In memory only, and never ahead of what is committed, but for marks and
hints: one too many of these costs a closer look, so a rollback undoes none. Held by the database.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field

from bg_charm_service.storage.contract import Commits
from bg_charm_service.storage.sql.plain_polls import PlainPolls

#: So many charms are told apart; beyond that all count as changed at once, and it starts anew.
MOST_MARKS = 10_000


class ChangeMarks:
    """Numbers that differ when a charm was changed in between.

    Every write of a charm's row, cells, links or health is marked, but those that settle plain
    runs and those of its due time. A run under way ends with the process that has the marks.
    """

    def __init__(self, most: int = MOST_MARKS) -> None:
        self._most = most
        self._newest = 0
        self._of_others = 0
        self._marks: dict[int, int] = {}

    def mark(self, charm_key: int) -> None:
        """Note that a charm was changed."""
        self._newest += 1
        self._marks[charm_key] = self._newest
        if len(self._marks) > self._most:
            self.mark_all()

    def mark_all(self) -> None:
        """Note that any charm may have been changed."""
        self._newest += 1
        self._of_others = self._newest
        self._marks.clear()

    def since(self, charm_key: int) -> int:
        """A number to compare with a later one: it is the same while nothing was changed."""
        return self._marks.get(charm_key, self._of_others)


class Backlog:
    """How many jobs there are, and which spaces may have one ready: idle ones cost no query.

    The hints are a superset of the truth: one too few would leave a job lying. What is found there
    is forgotten only once that is committed. Kept by the queue.
    """

    def __init__(self) -> None:
        self.pending = 0
        self.claimed = 0
        self.dead = 0
        #: Each with the time since when its oldest job that is ready may have been ready.
        self._hot: dict[int, float] = {}
        # Hot ones in which nothing was found but what belongs to these integrations.
        self._left_out: dict[int, frozenset[str]] = {}
        self._later: list[tuple[float, int]] = []

    def recount(self, *, pending: int, claimed: int, dead: int) -> None:
        """Take these for the numbers of committed jobs."""
        self.pending, self.claimed, self.dead = pending, claimed, dead

    def tally(self, *, pending: int, claimed: int, dead: int) -> None:
        """Add what a commit has changed."""
        self.pending += pending
        self.claimed += claimed
        self.dead += dead

    def rehint(self, waiting: Iterable[tuple[float, int]]) -> None:
        """Take these times and spaces for the ones of all waiting jobs."""
        self._later = sorted(waiting)

    def hint(self, run_at: float, space_key: int) -> None:
        """A job of that space may be ready at that time."""
        heapq.heappush(self._later, (run_at, space_key))

    def cool(self, space_key: int, left_out: frozenset[str] = frozenset()) -> None:
        """A look found nothing more there, but what it left out; hints added since are kept."""
        if left_out:
            self._left_out[space_key] = left_out
        else:
            self._hot.pop(space_key, None)
            self._left_out.pop(space_key, None)

    def advance(self, space_key: int, ready_at: float) -> None:
        """A look found more there than was taken: what is left was not ready before that time."""
        if space_key in self._hot:
            self._hot[space_key] = ready_at

    def hot_spaces(self, now: float, *, without: Set[str] = frozenset()) -> set[int]:
        """The spaces to look into, for jobs of other integrations than these."""
        while self._later and self._later[0][0] <= now:
            run_at, space_key = heapq.heappop(self._later)
            # Without a time, its charm has become free just now.
            self._hot[space_key] = min(self._hot.get(space_key, now), run_at or now)
            self._left_out.pop(space_key, None)
        vain = {key for key, left_out in self._left_out.items() if left_out <= without}
        return self._hot.keys() - vain

    def spaces_left_hot(self) -> set[int]:
        """The spaces of the last look in which more may be; what came since counts later."""
        return set(self._hot)

    def ready_since(self, now: float) -> float | None:
        """Since when the oldest job that is ready may have been ready; None when none is."""
        oldest = min(self._hot.values(), default=None)
        # What came since the last look: the loop may not have taken one for a while.
        coming = self._later[0][0] if self._later and 0.0 < self._later[0][0] <= now else None
        return min((one for one in (oldest, coming) if one is not None), default=None)

    def next_run_at(self) -> float | None:
        """When the next space becomes hot; None when none will."""
        return self._later[0][0] if self._later else None


class DueTimes:
    """When each charm is due: a heap over the steady clock. Kept by the planner of polls."""

    def __init__(self) -> None:
        self._due: dict[int, float] = {}
        # Entries that do not stand in the dictionary any more are passed over.
        self._heap: list[tuple[float, int]] = []

    def __contains__(self, charm_key: object) -> bool:
        return charm_key in self._due

    def at(self, charm_key: int) -> float | None:
        """When a charm is due; None when it is not scheduled."""
        return self._due.get(charm_key)

    @property
    def next_due(self) -> float | None:
        """When the next charm is due; None when none is scheduled."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def place(self, charm_key: int, due: float) -> None:
        """Say when a charm is due, instead of what was said before."""
        self._due[charm_key] = due
        heapq.heappush(self._heap, (due, charm_key))

    def forget(self, charm_key: int) -> None:
        """Let a charm be due no more."""
        self._due.pop(charm_key, None)

    def take(self, now: float, limit: int) -> list[tuple[float, int]]:
        """Take out up to `limit` charms that are due, the first ones first, each with its time."""
        taken: list[tuple[float, int]] = []
        seen: set[int] = set()
        while len(taken) < limit and (due := self.next_due) is not None and due <= now:
            entry = heapq.heappop(self._heap)
            # Placed twice for the same moment, a charm is due once.
            if entry[1] not in seen:
                seen.add(entry[1])
                taken.append(entry)
        return taken

    def restore(self, taken: Sequence[tuple[float, int]]) -> None:
        """Put back what was taken out."""
        for due, charm_key in taken:
            self.place(charm_key, due)


class ItemsTotal:
    """What all collections count together, in bytes. Kept by the store of items."""

    def __init__(self) -> None:
        self.size_bytes = 0

    def add(self, size_bytes: int) -> None:
        """Count what was written, or less where it is negative."""
        self.size_bytes += size_bytes


@dataclass(frozen=True, slots=True)
class SoleWriter:
    """The memory of the one process that has the database."""

    commits: Commits
    plain_polls: PlainPolls
    changes: ChangeMarks = field(default_factory=ChangeMarks)
    backlog: Backlog = field(default_factory=Backlog)
    due_times: DueTimes = field(default_factory=DueTimes)
    items_total: ItemsTotal = field(default_factory=ItemsTotal)
