"""What was read of charms, or written, remembered as long as nobody else has changed it.

Right because this process is the only writer: whatever is changed is marked, and what is known at
another mark counts no more. Whoever writes without a mark says here what it wrote, or forgets. When
anything is undone all is forgotten. Bounded, and what is there stays: of charms that are polled in
turn each new one would drive out the one that is needed next. Used by the store and the queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, Protocol, TypeVar

Known = TypeVar("Known")

#: Of so many charms things are remembered.
MOST_REMEMBERED = 50_000


class Marks(Protocol):
    """Tells what was changed."""

    def since(self, charm_key: int) -> int:
        """A number that is the same while nothing was changed."""


class Remembered(Generic[Known]):
    """One thing that is known of charms, by their keys."""

    def __init__(
        self, changes: Marks, on_undo: list[Callable[[], None]], most: int = MOST_REMEMBERED
    ) -> None:
        self._since = changes.since
        self._most = most
        self._known: dict[int, tuple[int, Known]] = {}
        on_undo.append(self._known.clear)

    def get(self, charm_key: int) -> Known | None:
        """Give what is known of one."""
        one = self._known.get(charm_key)
        return one[1] if one is not None and one[0] == self._since(charm_key) else None

    def find(self, charm_keys: Iterable[int]) -> dict[int, Known]:
        """Give what is known of these."""
        known, since = self._known, self._since
        found = {}
        for key in charm_keys:
            one = known.get(key)
            if one is not None and one[0] == since(key):
                found[key] = one[1]
        return found

    def keep(self, charm_key: int, known: Known) -> None:
        """Remember what was read, or just written."""
        if charm_key in self._known or len(self._known) < self._most:
            self._known[charm_key] = (self._since(charm_key), known)

    def follow(self, charm_key: int, before: Known, after: Known) -> None:
        """Remember what was written over what was known; else forget it."""
        one, mark = self._known.get(charm_key), self._since(charm_key)
        if one is not None and one[0] == mark and one[1] is before:
            self._known[charm_key] = (mark, after)
        else:
            self._known.pop(charm_key, None)

    def forget(self, charm_keys: Sequence[int]) -> None:
        """Forget what is known of these."""
        for key in charm_keys:
            self._known.pop(key, None)

    def forget_all(self) -> None:
        """Forget everything."""
        self._known.clear()
