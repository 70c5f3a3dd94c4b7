"""What is remembered of charms between two looks is what is stored, whatever happens meanwhile."""

from __future__ import annotations

import pytest

from bg_charm_service.domain.model import CharmRef, CharmSchema
from bg_charm_service.storage.records import CharmRecord
from tests.contract.engine import Engine

SCHEMA = CharmSchema("Some", "Some", "", (), ("bgUpdater",))


def add(engine: Engine, source: str = "one") -> CharmRecord:
    """Store a charm, or store it again."""
    store = engine.store
    space = store.spaces.ensure("did:key:here", name="", owner="did:key:me", now=0)
    return store.charms.add(
        CharmRef("did:key:here", "charm"),
        space.space_key,
        cause="cause",
        file_name="some.py",
        source=source,
        schema=SCHEMA,
        now=0,
    )


def looked_up(engine: Engine, key: int) -> CharmRecord | None:
    """The charm as it is remembered, which must be as it is stored."""
    found = engine.store.charms.get_many([key]).get(key)
    assert engine.store.charms.get(key) == found
    return found


def test_every_change_is_seen(engine: Engine) -> None:
    """New source, removal, a second life and the purge show at the next look."""
    with engine.transaction():
        key = add(engine).charm_key
    first = looked_up(engine, key)
    with engine.transaction():
        engine.store.charms.replace_source(
            key, file_name="new.py", source="two", schema=SCHEMA, now=1
        )
    second = looked_up(engine, key)
    with engine.transaction():
        engine.store.charms.mark_removed(key, 2)
    third = looked_up(engine, key)
    assert third is not None
    assert third.removed_at is not None
    assert first != second != third
    with engine.transaction():
        add(engine, "three")
    fourth = looked_up(engine, key)
    assert fourth is not None
    assert fourth.removed_at is None
    with engine.transaction():
        engine.store.charms.mark_removed(key, 3)
        engine.store.health.create(key)
    with engine.transaction():
        engine.store.charms.purge_removed(10, 10)
    assert looked_up(engine, key) is None


def test_what_is_undone_is_forgotten(engine: Engine) -> None:
    """A look inside a transaction that is undone is not remembered."""
    with engine.transaction():
        key = add(engine).charm_key
    before = looked_up(engine, key)

    def change() -> None:
        engine.store.charms.mark_removed(key, 2)
        assert before != looked_up(engine, key)
        raise ValueError

    with pytest.raises(ValueError), engine.transaction():  # noqa: PT011
        change()
    assert before == looked_up(engine, key)
