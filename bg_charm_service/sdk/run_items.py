"""A collection as a run sees it: what is stored, and over it what the run has changed.

It reads the keys that are touched, keeps what is written until the run is over, and then says what
the run saw and wrote. Where items come from is the snapshot's business. Used by `links`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Final, Protocol, TypeVar

import msgspec

from bg_charm_service.domain.errors import StateError, StateTooLarge
from bg_charm_service.domain.items import (
    MOST_TOGETHER,
    MOST_TOUCHED,
    ItemPage,
    SeenRange,
    StoredItem,
    TouchedItems,
    check_item_size,
    check_key,
    item_bytes,
)
from bg_charm_service.domain.quantities import size_text
from bg_charm_service.sdk.fields import CharmField
from bg_charm_service.sdk.items import PAGE_ITEMS, Items

T = TypeVar("T")

_NOTHING: Final = object()


class ItemSource(Protocol):
    """Where a run reads a collection from, as it is stored; each may block to ask for it."""

    def find(self, keys: Sequence[str], *, has_values: bool) -> Sequence[StoredItem]:
        """Give those of up to MOST_TOGETHER keys that there are."""

    def page(self, after: str, limit: int, *, has_values: bool) -> ItemPage:
        """Give up to `limit` items from behind a key."""

    def count(self) -> int:
        """Give how many items there are."""


class ItemBudget:
    """What one run may still write of items, in bytes, and how many keys it may touch."""

    __slots__ = ("_keys", "left_bytes", "most_bytes")

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.left_bytes = most_bytes
        self._keys = 0

    @property
    def left_keys(self) -> int:
        """How many keys the run may still touch."""
        return max(0, MOST_TOUCHED - self._keys)

    def touch(self, count: int) -> None:
        """Count keys; raises StateTooLarge for more than a run may touch."""
        self._keys += count
        if self._keys > MOST_TOUCHED:
            raise StateTooLarge(
                f"a run may touch {MOST_TOUCHED:,} keys of collections: call self.again(after=0) "
                "to go on in the next one"
            )

    def take(self, size_bytes: int) -> None:
        """Count what is written; raises StateTooLarge for more than a run may write."""
        if size_bytes > self.left_bytes:
            raise StateTooLarge(
                f"a run may write {size_text(self.most_bytes)} of items: self.context.room tells "
                "what is left, and self.again(after=0) goes on in the next one"
            )
        self.left_bytes -= size_bytes


class RunItems(Items[T]):
    """A collection as a run sees it: what is stored, and over it what the run has changed.

    Threads of a handler may use it: what one changes while another goes through it may be seen.
    """

    __slots__ = (
        "_budget",
        "_count",
        "_counts",
        "_field",
        "_front",
        "_gone_until",
        "_is_writable",
        "_known",
        "_loaded",
        "_ranges",
        "_seen",
        "_source",
        "_writes",
    )

    def __init__(
        self, field: CharmField, source: ItemSource, budget: ItemBudget, *, is_writable: bool = True
    ) -> None:
        super().__init__()
        self._field = field
        self._source = source
        self._budget = budget
        self._is_writable = is_writable
        #: What was stored of the values at hand, which the charm may have changed since.
        self._loaded: dict[str, bytes] = {}
        #: What is to be written, None for a key that is removed.
        self._writes: dict[str, bytes | None] = {}
        #: The versions of keys that were looked for, 0 for none.
        self._seen: dict[str, int] = {}
        #: Keys that are known to be stored by a range that was seen.
        self._known: set[str] = set()
        self._ranges: dict[tuple[str, str], SeenRange] = {}
        self._count: int | None = None
        #: Up to this key all that is stored was removed by this run.
        self._gone_until = ""
        #: The stored keys that come next, as they were seen last.
        self._front: list[str] = []

    def __getitem__(self, key: str) -> T:
        value = self._values.get(key, _NOTHING)
        if value is not _NOTHING:
            found: T = value
            return found
        if self._is_to_be_read(key):
            self._look_up([key], has_values=True)
        # It is written, but was let go by a page; it was just read; or there is none.
        stored = self._writes.get(key) if key in self._writes else self._loaded.get(key)
        if stored is None:
            raise KeyError(key)
        loaded: T = self._item_field(key).load(stored)
        self._values[key] = loaded
        return loaded

    def __setitem__(self, key: str, value: T) -> None:
        self._check_writable()
        field = self._item_field(check_key(key))
        dumped = field.dump(value)
        field.check(value, dumped)
        if key in self._writes or self._loaded.get(key) != dumped:
            self._write(key, dumped)
        self._values[key] = value

    def __contains__(self, key: object) -> bool:
        try:
            key = check_key(key)
        except StateError:
            return False
        if key in self._writes:
            return self._writes[key] is not None
        return self._is_stored([key])[key]

    def __len__(self) -> int:
        if self._count is None:
            self._count = self._source.count()
        was_stored = self._is_stored(list(self._writes))
        added = sum(self._writes[key] is not None and not was for key, was in was_stored.items())
        gone = sum(self._writes[key] is None and was for key, was in was_stored.items())
        return self._count + added - gone

    def __bool__(self) -> bool:
        if any(value is not None for value in list(self._writes.values())):
            return True
        return any(True for _ in self._walk(1))

    def add(self, keys: Iterable[str]) -> None:
        self._check_writable()
        wanted = list(dict.fromkeys(map(check_key, keys)))
        unknown = [key for key in wanted if key not in self._writes]
        was_stored = self._is_stored(unknown)
        empty: Any = ""
        for key in wanted:
            if not (self._writes[key] is not None if key in self._writes else was_stored[key]):
                self[key] = empty

    def remove(self, keys: Iterable[str]) -> None:
        self._check_writable()
        for key in keys:
            if key in self._writes or self._seen.get(check_key(key)) != 0:
                self._write(key, None)
            self._values.pop(key, None)
            self._loaded.pop(key, None)

    def some(self, keys: Iterable[str]) -> dict[str, T]:
        wanted = list(dict.fromkeys(map(check_key, keys)))
        self._look_up([key for key in wanted if self._is_to_be_read(key)], has_values=True)
        found: dict[str, T] = {}
        for key in wanted:
            with suppress(KeyError):
                found[key] = self[key]
        return found

    def first(self, count: int) -> list[str]:
        return list(islice(self._walk(min(count, MOST_TOGETHER)), count)) if count > 0 else []

    def pages(self, size: int = PAGE_ITEMS) -> Iterator[dict[str, T]]:
        if size < 1:
            raise ValueError(f"a page has one item at least, not {size}")
        page: dict[str, T] = {}
        held: list[str] = []
        for found in self._parts(min(size, MOST_TOGETHER), has_values=True):
            for key, stored in found:
                if key in self._writes and self._writes[key] is None:
                    continue  # removed since this part was read
                if stored is not None and key not in self._values and key not in self._writes:
                    self._loaded[key] = stored
                    held.append(key)
                page[key] = self[key]
                if len(page) == size:
                    yield page
                    self._let_go(held)
                    page, held = {}, []
        if page:
            yield page
            self._let_go(held)

    def touched(self) -> TouchedItems | None:
        """Say what the run saw and wrote of it; raises StateError for what cannot be stored."""
        for key in list(self._values):
            self._note_changes(key)
        counts = () if self._count is None else (self._count,)
        if not (self._seen or self._ranges or counts or self._writes):
            return None
        ranges = tuple(self._ranges.values())
        return TouchedItems(self._field.name, self._seen, ranges, counts, self._writes)

    def _walk(self, chunk: int) -> Iterator[str]:
        """Give the keys in order, stored ones that were not removed and those of this run."""
        for found in self._parts(chunk, has_values=False):
            for key, _ in found:
                yield key

    def _parts(self, chunk: int, *, has_values: bool) -> Iterator[list[tuple[str, bytes | None]]]:
        """Give the items in order, in parts: each key with what is stored, if that was read."""
        self._pass_over_the_gone()
        after = self._gone_until
        while True:
            self._budget.touch(1)
            page = self._source.page(after, chunk, has_values=has_values)
            upto = "" if page.is_end else page.items[-1].key
            seen = SeenRange(after, upto, len(page.items), page.version)
            # Of two looks at a range the first one counts: it holds only if both do.
            self._ranges.setdefault((after, upto), seen)
            if not has_values:
                self._known.update([item.key for item in page.items])
            if after == self._gone_until and not page.is_end:
                self._front = [item.key for item in page.items]
            stored = [(one.key, one.value) for one in page.items if one.key not in self._writes]
            mine: list[tuple[str, bytes | None]] = [
                (key, None)
                for key, value in list(self._writes.items())
                if value is not None and key > after and (page.is_end or key <= upto)
            ]
            yield sorted(stored + mine, key=_key_of)
            if page.is_end:
                return
            after = upto

    def _pass_over_the_gone(self) -> None:
        """Begin behind the stored keys at the front, if this run has removed all that it saw."""
        if not self._front or any(self._writes.get(key, b"") is not None for key in self._front):
            return
        last = self._front[-1]
        mine = [key for key, value in list(self._writes.items()) if value is not None]
        if not any(key <= last for key in mine):
            self._gone_until, self._front = last, []

    def _look_up(self, keys: Sequence[str], *, has_values: bool) -> None:
        """Ask for keys, and note what of them there is."""
        for start in range(0, len(keys), MOST_TOGETHER):
            part = keys[start : start + MOST_TOGETHER]
            self._budget.touch(len(part))
            found = {one.key: one for one in self._source.find(part, has_values=has_values)}
            for key in part:
                item = found.get(key)
                # What was seen first counts: if it moved meanwhile, the run is stale.
                self._seen.setdefault(key, item.version if item is not None else 0)
                if item is not None and item.value is not None:
                    self._loaded[key] = item.value

    def _is_to_be_read(self, key: str) -> bool:
        """Whether the value of a key has to be asked for: it is not at hand, and may be stored."""
        is_here = key in self._values or key in self._writes or key in self._loaded
        return not is_here and self._seen.get(check_key(key)) != 0

    def _is_stored(self, keys: Sequence[str]) -> dict[str, bool]:
        """Say which of the keys are stored, whatever this run has changed."""
        unknown = [key for key in keys if key not in self._seen and key not in self._known]
        self._look_up(unknown, has_values=False)
        return {
            key: self._seen[key] != 0 if key in self._seen else key in self._known for key in keys
        }

    def _write(self, key: str, dumped: bytes | None) -> None:
        if dumped is not None:
            check_item_size(self._field.name, key, dumped)
            if key <= self._gone_until:
                self._gone_until, self._front = "", []
        before = 0
        if key in self._writes:
            before = item_bytes(key, self._writes[key])
        else:
            self._budget.touch(1)
        self._budget.take(item_bytes(key, dumped) - before)
        self._writes[key] = dumped

    def _note_changes(self, key: str) -> None:
        """Write a value at hand where the charm has changed it in place."""
        value = self._values[key]
        field = self._item_field(key)
        dumped = field.dump(value)
        before = self._writes[key] if key in self._writes else self._loaded.get(key)
        if dumped == before or (before is not None and dumped == _normalized(field, before)):
            return
        self._check_writable()
        field.check(value, dumped)
        self._write(key, dumped)

    def _let_go(self, keys: Iterable[str]) -> None:
        """Hold the values no longer that a page has read: there may be very many."""
        for key in keys:
            if key in self._values:
                self._note_changes(key)
                del self._values[key]
                self._loaded.pop(key, None)

    def _item_field(self, key: str) -> CharmField:
        return item_field(self._field, key)

    def _check_writable(self) -> None:
        if not self._is_writable:
            raise StateError(f"{self._field.name}: this link may only be read")


def dump_items(field: CharmField, values: Any) -> dict[str, bytes]:
    """Give the JSON of each item of a map, or of `Items`; raises StateError, TypeError."""
    if isinstance(values, Items):
        values = {key: value for page in values.pages() for key, value in page.items()}
    if not isinstance(values, Mapping):
        raise TypeError(f"{field.name} is a collection: give it a dict, or Items")
    dumped = {}
    for key, value in values.items():
        one = item_field(field, check_key(key))
        dumped[key] = one.dump(value)
        one.check(value, dumped[key])
        check_item_size(field.name, key, dumped[key])
    return dumped


def normalize_items(field: CharmField, stored: bytes) -> bytes:
    """Give an object of items the form in which its class writes it; raises StateError."""
    try:
        items = msgspec.json.decode(stored, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as error:
        raise StateError(f"{field.name} is a collection, an object of items: {error}") from None
    normalized = {}
    for key, value in items.items():
        dumped = item_field(field, check_key(key)).normalize(bytes(value))
        check_item_size(field.name, key, dumped)
        normalized[key] = msgspec.Raw(dumped)
    return msgspec.json.encode(normalized)


def item_field(field: CharmField, key: str) -> CharmField:
    """What checks and stores one item, and names it where it does not fit."""
    return CharmField(f"{field.name}[{key!r:.100}]", field.kind, field.adapter)


class MemoryItems:
    """Stored items that are at hand, for charms that are made by hand."""

    def __init__(self, values: Mapping[str, bytes]) -> None:
        self._values = dict(sorted(values.items()))

    def find(self, keys: Sequence[str], *, has_values: bool) -> Sequence[StoredItem]:
        return [StoredItem(key, 1, self._values[key]) for key in keys if key in self._values]

    def page(self, after: str, limit: int, *, has_values: bool) -> ItemPage:
        behind = [key for key in self._values if key > after]
        items = tuple(StoredItem(key, 1, self._values[key]) for key in behind[:limit])
        return ItemPage(items, 1, is_end=len(behind) <= limit)

    def count(self) -> int:
        return len(self._values)


def _key_of(item: tuple[str, bytes | None]) -> str:
    return item[0]


def _normalized(field: CharmField, stored: bytes) -> bytes | None:
    try:
        return field.normalize(stored)
    except StateError:
        return None  # what was stored does not fit: whatever replaces it is a change
