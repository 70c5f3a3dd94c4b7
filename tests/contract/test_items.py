"""Collections: kept by key and in order, with versions and totals that hold whatever happens."""

from __future__ import annotations

from typing import Any

import pytest

from bg_charm_service.domain.items import (
    ITEM_OVERHEAD_BYTES,
    PAGE_BYTES,
    ItemPage,
    SeenRange,
    item_bytes,
)
from bg_charm_service.domain.model import CharmRef, CharmSchema
from bg_charm_service.storage.records import CharmRecord, CollectionRecord
from tests.contract.engine import Engine


@pytest.fixture
def charm(engine: Engine) -> CharmRecord:
    """A charm without items."""
    return add(engine, "one")


def add(engine: Engine, cause: str) -> CharmRecord:
    """Add a charm."""
    with engine.transaction():
        home = engine.store.spaces.ensure("did:key:a", name="", owner="did:key:me", now=0)
        return engine.store.charms.add(
            CharmRef("did:key:a", f"baedrei{cause}"),
            home.space_key,
            cause=cause,
            file_name="c.py",
            source="",
            schema=CharmSchema("C", "C", "", (), ("bgUpdater",)),
            now=0,
        )


def write(engine: Engine, charm: CharmRecord, **writes: Any) -> CollectionRecord:
    """Write items, None to remove them."""
    with engine.transaction():
        return engine.store.items.write(charm.charm_key, "f", writes)


def page(engine: Engine, charm: CharmRecord, after: str = "", limit: int = 100) -> ItemPage:
    """Give a page of the collection, with its values."""
    return engine.store.items.page(charm.charm_key, "f", after, limit, has_values=True)


def values(engine: Engine, charm: CharmRecord) -> dict[str, bytes | None]:
    """Give all of the collection."""
    return {item.key: item.value for item in page(engine, charm).items}


def test_items_are_kept_in_the_order_of_their_keys(engine: Engine, charm: CharmRecord) -> None:
    """What was written is there after a restart, by code points, and another charm has its own."""
    written = dict.fromkeys(("b", "ä", "a", "Z", "😀", "aa"), b"1")
    with engine.transaction():
        engine.store.items.write(charm.charm_key, "f", written)
    write(engine, add(engine, "two"), b=b"2")
    engine.reopen()
    assert sorted(written) == list(values(engine, charm))
    assert {"b": b"1"} == {
        item.key: item.value
        for item in engine.store.items.find(charm.charm_key, "f", ["b", "c"], has_values=True)
    }


def test_a_collection_that_was_never_written_is_empty(engine: Engine, charm: CharmRecord) -> None:
    """It has no row, and answers as an empty one does."""
    items, key = engine.store.items, charm.charm_key
    assert ({}, CollectionRecord()) == (items.of(key), items.get(key, "f"))
    assert ItemPage((), 0, is_end=True) == page(engine, charm)
    assert [] == list(items.find(key, "f", ["a"], has_values=False))
    assert items.holds(key, "f", SeenRange("", "", 0, 0))


def test_pages_follow_each_other(engine: Engine, charm: CharmRecord) -> None:
    """They go on behind the last key, without gap or repetition, and the last one says so."""
    keys = [f"{number:03}" for number in range(25)]
    write(engine, charm, **dict.fromkeys(keys, b"1"))
    found: list[str] = []
    pages = [page(engine, charm, "", 10)]
    while not pages[-1].is_end:
        pages.append(page(engine, charm, pages[-1].items[-1].key, 10))
    for one in pages:
        found += [item.key for item in one.items]
    assert ([10, 10, 5], keys) == ([len(one.items) for one in pages], found)


def test_pages_of_large_items_are_shorter(engine: Engine, charm: CharmRecord) -> None:
    """A page has about a megabyte, one item at least, and none is left out."""
    large = b'"' + b"x" * (PAGE_BYTES - 10) + b'"'
    write(engine, charm, a=large, b=large, c=b"1")
    first, second = page(engine, charm), page(engine, charm, "a")
    assert (["a"], False) == ([item.key for item in first.items], first.is_end)
    assert (["b", "c"], True) == ([item.key for item in second.items], second.is_end)


def test_totals_are_those_of_the_items(engine: Engine, charm: CharmRecord) -> None:
    """Count and size follow what is written, changed and removed; so does the size of all."""
    write(engine, charm, a=b"12345", b=b"1", ü=b"1")
    write(engine, charm, a=b"1", b=None, nothing=None)
    expected = 2 * ITEM_OVERHEAD_BYTES + len("a") + len("ü".encode()) + 2
    after = engine.store.items.get(charm.charm_key, "f")
    assert (2, expected) == (after.count, after.size_bytes)
    write(engine, add(engine, "two"), x=b"1")
    engine.reopen()
    assert expected + item_bytes("x", b"1") == engine.store.items.total_bytes


def test_what_is_undone_was_not_written(engine: Engine, charm: CharmRecord) -> None:
    """A transaction that fails, or a crash, leaves items, totals and the size of all as before."""
    before = write(engine, charm, a=b"1")
    total = engine.store.items.total_bytes

    def fail() -> None:
        with engine.transaction():
            engine.store.items.write(charm.charm_key, "f", {"a": None, "b": b"2"})
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert {"a": b"1"} == values(engine, charm)
    assert (before, total) == (
        engine.store.items.get(charm.charm_key, "f"),
        engine.store.items.total_bytes,
    )
    engine.crash(lambda: engine.store.items.write(charm.charm_key, "f", {"a": None, "b": b"2"}))
    assert {"a": b"1"} == values(engine, charm)
    assert total == engine.store.items.total_bytes


def test_versions_grow_and_are_never_used_twice(engine: Engine, charm: CharmRecord) -> None:
    """Each write has a greater one, that of its items; also after the collection was dropped."""
    first = write(engine, charm, a=b"1", b=b"1")
    second = write(engine, charm, a=b"2")
    found = {one.key: one.version for one in page(engine, charm).items}
    assert {"a": second.version, "b": first.version} == found
    assert 0 < first.version < second.version
    with engine.transaction():
        engine.store.items.drop(charm.charm_key, "f")
    assert second.version < write(engine, charm, a=b"1").version


@pytest.mark.parametrize(
    ("writes", "holds"),
    [
        ({"bb": b"1"}, False),
        ({"b": b"2"}, False),
        ({"c": b"2"}, False),
        ({"b": None}, False),
        ({"b": None, "bb": b"1"}, False),
        ({"a": b"2"}, True),
        ({"a": None}, True),
        ({"d": b"2"}, True),
        ({"aa": None}, True),
    ],
)
def test_a_range_holds_while_nobody_writes_in_it(
    engine: Engine, charm: CharmRecord, writes: dict[str, Any], holds: object
) -> None:
    """A range is from behind a key up to one: what is written beside it does not count."""
    version = write(engine, charm, a=b"1", b=b"1", c=b"1", d=b"1").version
    write(engine, charm, **writes)
    seen = SeenRange("a", "c", 2, version)
    assert holds is engine.store.items.holds(charm.charm_key, "f", seen)
    engine.reopen()
    assert holds is engine.store.items.holds(charm.charm_key, "f", seen)


def test_a_range_up_to_the_end_has_no_key_more(engine: Engine, charm: CharmRecord) -> None:
    """Whoever saw the end sees what is added there."""
    version = write(engine, charm, a=b"1").version
    seen = SeenRange("", "", 1, version)
    assert engine.store.items.holds(charm.charm_key, "f", seen)
    write(engine, charm, z=b"1")
    assert not engine.store.items.holds(charm.charm_key, "f", seen)


@pytest.mark.parametrize("how", ["dropped", "removed"])
def test_what_was_dropped_is_deleted_by_and_by(
    engine: Engine, charm: CharmRecord, how: str
) -> None:
    """It is gone for its charm at once; its items go a part at a time, and count until then."""
    write(engine, charm, **{f"{number}": b"1" for number in range(25)})
    other = add(engine, "two")
    left = write(engine, other, a=b"1").size_bytes
    before = engine.store.items.total_bytes
    with engine.transaction():
        if how == "dropped":
            engine.store.items.drop(charm.charm_key, "f")
        else:
            engine.store.charms.mark_removed(charm.charm_key, 1)
    assert ({}, {}) == (values(engine, charm), engine.store.items.of(charm.charm_key))
    assert before == engine.store.items.total_bytes
    deleted = []
    while count := engine.store.items.delete_dropped(10):
        deleted.append(count)
        engine.reopen()
    assert ([10, 10, 5], left) == (deleted, engine.store.items.total_bytes)
    assert {"a": b"1"} == values(engine, other)


def test_a_charm_that_comes_back_has_none_of_its_old_items(
    engine: Engine, charm: CharmRecord
) -> None:
    """One that was removed and is added again begins empty."""
    write(engine, charm, a=b"1")
    with engine.transaction():
        engine.store.charms.mark_removed(charm.charm_key, 1)
    again = add(engine, "one")
    assert charm.charm_key == again.charm_key
    assert {} == values(engine, again)
    write(engine, again, b=b"2")
    while engine.store.items.delete_dropped(10):
        pass
    assert {"b": b"2"} == values(engine, again)
