"""Collections, as charm authors see them: `Items[T]`, a field with a row for each key.

The class here stands on its own and holds its values in memory, which is what tests of a charm use
behind a link. The one that a run works on is in `run_items`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Generic, NoReturn, TypeVar

from bg_charm_service.domain.items import check_key

T = TypeVar("T")

#: Items that `pages` gives at a time where it is not told how many.
PAGE_ITEMS: Final = 100


class Items(Generic[T]):
    """A collection: values by their keys, of which a run reads and writes only what it touches.

        emails: Items[Email]
        wanted: Items[str]  # a to-do list: keys alone

        async def bg_updater(self, event: dict[str, Any]) -> None:
            self.wanted.add(await new_ids())
            for id in self.wanted.first(20):
                self.emails[id] = await fetch(id)
            self.wanted.remove(self.wanted.first(20))

    Keys are texts of up to 500 bytes, and in the order of their code points. It is no part of the
    charm's state: there may be very many. In a test of your charm, `Items({...})` is one.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, T] | None = None) -> None:
        self._values: dict[str, Any] = dict(values or {})

    def __getitem__(self, key: str) -> T:
        """Give the value of a key; raises KeyError. Changing it in place counts as writing it."""
        value: T = self._values[key]
        return value

    def __setitem__(self, key: str, value: T) -> None:
        """Write an item."""
        self._values[check_key(key)] = value

    def __delitem__(self, key: str) -> None:
        """Remove an item; raises KeyError where there is none."""
        if key not in self:
            raise KeyError(key)
        self.remove([key])

    def __contains__(self, key: object) -> bool:
        """Whether there is an item of that key."""
        return key in self._values

    def __len__(self) -> int:
        """How many items there are."""
        return len(self._values)

    def __bool__(self) -> bool:
        """Whether there is any: this sees less than `len` does, and is made stale by less."""
        return bool(self._values)

    def __iter__(self) -> NoReturn:
        """Refuse to go through all of it at once."""
        raise TypeError("there may be very many items: go through them by .pages(size)")

    def get(self, key: str, default: T | None = None) -> T | None:
        """Give the value of a key, or another where there is none."""
        try:
            return self[key]
        except KeyError:
            return default

    def add(self, keys: Iterable[str]) -> None:
        """Add keys that are not there yet, without a value: for `Items[str]`, a to-do list."""
        empty: Any = ""
        for key in keys:
            if key not in self:
                self[key] = empty

    def remove(self, keys: Iterable[str]) -> None:
        """Remove the items of these keys; those that there are not change nothing."""
        for key in keys:
            self._values.pop(key, None)

    def some(self, keys: Iterable[str]) -> dict[str, T]:
        """Give the values of those keys that there are, in their order: asked for all at once."""
        return {key: self._values[key] for key in map(check_key, keys) if key in self._values}

    def first(self, count: int) -> list[str]:
        """Give the first keys, so many at most."""
        return sorted(self._values)[:count]

    def pages(self, size: int = PAGE_ITEMS) -> Iterator[dict[str, T]]:
        """Give all items in the order of their keys, so many at a time.

        What is changed in place counts as written if it is changed before the next page is asked
        for.
        """
        keys = sorted(self._values)
        for start in range(0, len(keys), size):
            yield {key: self._values[key] for key in keys[start : start + size]}
