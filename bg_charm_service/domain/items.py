"""Collections, `Items[T]`: what a run, its supervisor and the store say of them, and the bounds.

A collection is a field of a charm with a row for each key. A run asks for the keys that it touches,
and says in the end what it saw of the collection and what it wrote. Keys are in the order of their
code points. A version is never used twice, also not by a collection that was dropped and made anew;
0 stands for none. Values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from bg_charm_service.domain.errors import StateError, StateTooLarge
from bg_charm_service.domain.quantities import size_text

#: A key may be so long, in bytes of UTF-8.
LONGEST_KEY_BYTES: Final = 500

#: An item counts with its key, its value and this: about what its row and the index take beside.
ITEM_OVERHEAD_BYTES: Final = 100

#: One item may be so large.
LARGEST_ITEM_BYTES: Final = 1024 * 1024

#: One run writes no more of items: it is settled in one step of the loop, which has a bound.
RUN_ITEMS_BYTES: Final = 4 * 1024 * 1024

#: One run names no more keys, counted once for each that it looked for and each that it wrote.
MOST_TOUCHED: Final = 20_000

#: What one run touched is told in no more parts.
MOST_PARTS: Final = 5_000

#: So many keys are looked up by one question, and given by one page.
MOST_TOGETHER: Final = 500

#: A page of items is not much larger than this, in bytes: one item may be.
PAGE_BYTES: Final = 1024 * 1024

#: What a run touched is told in parts, of about so many bytes, or keys.
_PART_BYTES: Final = 256 * 1024
_TOLD_TOGETHER: Final = 1000

_Thing = TypeVar("_Thing")

_Key = Annotated[str, Meta(max_length=LONGEST_KEY_BYTES)]
_Count = Annotated[int, Meta(ge=0, le=2**62)]


class StoredItem(msgspec.Struct, frozen=True, array_like=True):
    """One item; `value` is its JSON, None where only the key was asked for."""

    key: str
    version: int
    value: bytes | None = None


class ItemPage(msgspec.Struct, frozen=True, array_like=True):
    """Items in the order of their keys, at a version of the collection; `is_end` with the last."""

    items: tuple[StoredItem, ...]
    version: int
    is_end: bool


class SeenRange(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """So many keys lay behind `after`, up to `upto` or to the end, at a version of the collection.

    `upto` is empty for the end.
    """

    after: _Key
    upto: _Key
    count: _Count
    version: _Count


class TouchedItems(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A part of what a run saw and wrote of a collection, by the name of its own field.

    `seen` has the versions of the keys that it looked for, 0 where there was none; `counts` what
    it was told of the length. What it wrote is JSON, or None where it removed the key.
    """

    field: str
    seen: Annotated[dict[_Key, _Count], Meta(max_length=MOST_TOUCHED)] = {}
    ranges: Annotated[tuple[SeenRange, ...], Meta(max_length=MOST_TOUCHED)] = ()
    counts: Annotated[tuple[_Count, ...], Meta(max_length=100)] = ()
    writes: Annotated[dict[_Key, bytes | None], Meta(max_length=MOST_TOUCHED)] = {}


def check_key(key: object) -> str:
    """Give a key that can be stored; raises StateError."""
    if not isinstance(key, str):
        raise StateError(f"a key of a collection is a text, not {key!r:.100}")
    try:
        size_bytes = len(key.encode())
    except UnicodeEncodeError:
        raise StateError(f"{key!r:.100} is no key: it cannot be written as UTF-8") from None
    if not 0 < size_bytes <= LONGEST_KEY_BYTES or "\0" in key:
        raise StateError(
            f"{key!r:.100} is no key: one has from 1 to {LONGEST_KEY_BYTES} bytes, none of them 0"
        )
    return key


def item_bytes(key: str, value: bytes | None) -> int:
    """How much an item counts; a key that is removed counts as one without a value."""
    return len(key.encode()) + (len(value) if value is not None else 0) + ITEM_OVERHEAD_BYTES


def check_item_size(field: str, key: str, value: bytes) -> None:
    """Raise StateTooLarge for an item that is too large by itself."""
    if item_bytes(key, value) > LARGEST_ITEM_BYTES:
        raise StateTooLarge(
            f"{field}[{key!r:.100}] would be {item_bytes(key, value):,} bytes, and one item may be "
            f"{size_text(LARGEST_ITEM_BYTES)}."
        )


def run_items_limit(state_bytes: int) -> int:
    """How many bytes of items one run may write, where its state may have so many."""
    return min(state_bytes, RUN_ITEMS_BYTES)


def parts_of(touched: Iterable[TouchedItems]) -> Iterator[TouchedItems]:
    """Cut what a run touched into parts that are small enough to be taken in one by one."""
    for one in touched:
        yield TouchedItems(one.field, counts=one.counts)
        for seen in _groups(one.seen.items()):
            yield TouchedItems(one.field, seen=dict(seen))
        for ranges in _groups(one.ranges):
            yield TouchedItems(one.field, ranges=tuple(ranges))
        part: dict[str, bytes | None] = {}
        part_bytes = 0
        for key, value in one.writes.items():
            part[key] = value
            part_bytes += item_bytes(key, value)
            if part_bytes >= _PART_BYTES:
                yield TouchedItems(one.field, writes=part)
                part, part_bytes = {}, 0
        if part:
            yield TouchedItems(one.field, writes=part)


def touched_keys(touched: TouchedItems) -> int:
    """How many keys a part names, counted as MOST_TOUCHED counts them."""
    return len(touched.seen) + len(touched.ranges) + len(touched.writes)


def _groups(things: Iterable[_Thing]) -> Iterator[list[_Thing]]:
    rest = iter(things)
    while group := list(islice(rest, _TOLD_TOGETHER)):
        yield group


def check_written(field: str, writes: Mapping[str, bytes | None]) -> None:
    """Raise StateTooLarge for more than is written at once."""
    size_bytes = written_bytes(writes)
    if size_bytes > RUN_ITEMS_BYTES or len(writes) > MOST_TOUCHED:
        raise StateTooLarge(
            f"{field}: {len(writes):,} items of {size_bytes:,} bytes are too many at once: up to "
            f"{MOST_TOUCHED:,} items, of {size_text(RUN_ITEMS_BYTES)} together."
        )


def written_bytes(writes: Mapping[str, bytes | None]) -> int:
    """What all that is written counts."""
    return sum(item_bytes(key, value) for key, value in writes.items())
