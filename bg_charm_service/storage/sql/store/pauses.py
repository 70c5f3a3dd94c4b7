"""What is paused: everything, spaces, single charms.

Kept in memory as a whole, since each look for jobs asks and few are paused; what a transaction
changes shows once it is on disk.
"""

from __future__ import annotations

from functools import cached_property

from bg_charm_service.storage.records import NOTHING_PAUSED, Pause, Pausing
from bg_charm_service.storage.sql.database import Database


class Pauses:
    """The table `pauses`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Read now: who asks later may not be able to wait for a disk.
        rows = database.rows("SELECT space_key, charm_key, paused_at, paused_by FROM pauses")
        self._known = {(row[0], row[1]): Pause(*row) for row in rows}

    @cached_property
    def _charms(self) -> dict[int, Pausing]:
        """The charms that are paused by themselves, by space."""
        by_space: dict[int, set[int]] = {}
        for space_key, charm_key in self._known:
            if charm_key:
                by_space.setdefault(space_key, set()).add(charm_key)
        return {key: Pausing(charm_keys=frozenset(keys)) for key, keys in by_space.items()}

    @property
    def are_any(self) -> bool:
        """Whether anything is paused."""
        return bool(self._known)

    def all(self) -> list[Pause]:
        """Every pause, the widest first."""
        return sorted(self._known.values(), key=lambda one: (one.charm_key > 0, *one[:2]))

    def of_spaces(self) -> list[Pause]:
        """The pauses of whole spaces."""
        return [one for one in self._known.values() if one.space_key and not one.charm_key]

    def at(self, space_key: int = 0, charm_key: int = 0) -> Pause | None:
        """The pause of exactly that charm, space, or everything."""
        return self._known.get((space_key, charm_key))

    def over(self, space_key: int, charm_key: int) -> Pause | None:
        """The widest pause that keeps a charm from running."""
        if not self._known:
            return None
        return self.at() or self.at(space_key) or self.at(space_key, charm_key)

    def within(self, space_key: int) -> Pausing:
        """What of a space is paused."""
        if not self._known:
            return NOTHING_PAUSED
        if self.at() is not None or self.at(space_key) is not None:
            return Pausing(is_whole=True)
        return self._charms.get(space_key, NOTHING_PAUSED)

    def put(self, pause: Pause) -> None:
        """Pause; where that is paused already, the older word stays."""
        place = (pause.space_key, pause.charm_key)
        if place in self._known:
            return
        self._database.execute("INSERT OR REPLACE INTO pauses VALUES (?, ?, ?, ?)", pause)
        self._database.after_commit(lambda: self._note(place, pause))

    def drop(self, space_key: int, charm_key: int) -> None:
        """Lift the pause of exactly that charm, space, or everything."""
        place = (space_key, charm_key)
        self._database.execute("DELETE FROM pauses WHERE space_key = ? AND charm_key = ?", place)
        self._database.after_commit(lambda: self._note(place, None))

    def _note(self, place: tuple[int, int], pause: Pause | None) -> None:
        if pause is not None:
            self._known[place] = pause
        else:
            self._known.pop(place, None)
        self.__dict__.pop("_charms", None)
