"""Marks of outside changes: whether anything that a run's settlement reads was changed meanwhile.

Every write of a charm's row, cells, links or health is marked, but those that settle plain runs
and those of its due time. In memory: this process is the only writer, and a run under way ends
with it. A mark too many leads to a closer look, so a rollback undoes none.
"""

from __future__ import annotations

#: So many charms are told apart; beyond that all count as changed at once, and it starts anew.
MOST_MARKS = 10_000


class ChangeMarks:
    """Numbers that differ when a charm was changed in between."""

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
