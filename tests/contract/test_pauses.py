"""What is paused is known, by the widest word that counts, and outlasts restarts."""

from __future__ import annotations

import pytest

from bg_charm_service.domain.model import CharmRef, CharmSchema
from bg_charm_service.storage.records import (
    NOTHING_PAUSED,
    CharmFilter,
    CharmOrder,
    CharmRecord,
    Pause,
    Pausing,
    Standing,
)
from tests.contract.engine import Engine


def add(engine: Engine, space: str, cause: str) -> CharmRecord:
    """Add a charm."""
    with engine.transaction():
        home = engine.store.spaces.ensure(space, name="", owner="did:key:me", now=0)
        charm = engine.store.charms.add(
            CharmRef(space, f"baedrei{cause}"),
            home.space_key,
            cause=cause,
            file_name="c.py",
            source="",
            schema=CharmSchema("C", "C", "", (), ("bgUpdater",)),
            now=0,
        )
        engine.store.health.create(charm.charm_key)
        return charm


@pytest.fixture
def charms(engine: Engine) -> list[CharmRecord]:
    """Two charms in one space, and one in another."""
    return [add(engine, "did:key:a", "one"), add(engine, "did:key:a", "two"), add(engine, "b", "x")]


def put(engine: Engine, space_key: int = 0, charm_key: int = 0, by: str = "me") -> Pause:
    """Pause something, and have it on disk."""
    pause = Pause(space_key, charm_key, 5.0, by)
    with engine.transaction():
        engine.store.pauses.put(pause)
    return pause


def paused_names(engine: Engine) -> list[str]:
    """The causes of the charms that the list of paused ones has."""
    wanted = CharmFilter(standing=Standing.PAUSED)
    found, _ = engine.store.charm_lists.page(wanted, CharmOrder.ADDED, "", 10)
    return [charm.cause for charm in found]


def test_pause_covers_what_lies_in_it(engine: Engine, charms: list[CharmRecord]) -> None:
    """A charm is paused by itself, with its space or with everything: the widest is named."""
    pauses = engine.store.pauses
    one, two, other = charms
    assert not pauses.are_any
    own = put(engine, one.space_key, one.charm_key)
    assert own == pauses.over(one.space_key, one.charm_key)
    assert pauses.over(two.space_key, two.charm_key) is None
    assert Pausing(charm_keys=frozenset([one.charm_key])) == pauses.within(one.space_key)
    assert NOTHING_PAUSED == pauses.within(other.space_key)
    assert ["one"] == paused_names(engine)

    space = put(engine, one.space_key)
    assert space == pauses.over(one.space_key, one.charm_key)
    assert Pausing(is_whole=True) == pauses.within(one.space_key)
    assert [space] == pauses.of_spaces()
    assert ["one", "two"] == paused_names(engine)

    everything = put(engine)
    assert everything == pauses.over(other.space_key, other.charm_key)
    assert [everything, space, own] == pauses.all()
    assert ["one", "two", "x"] == paused_names(engine)


def test_pause_outlasts_a_restart(engine: Engine, charms: list[CharmRecord]) -> None:
    """What was paused is so in the next life, and what was resumed is not."""
    one, two, _ = charms
    pause = put(engine, one.space_key, one.charm_key)
    put(engine, two.space_key, two.charm_key)
    with engine.transaction():
        engine.store.pauses.drop(two.space_key, two.charm_key)
    engine.reopen()
    assert [pause] == engine.store.pauses.all()
    engine.crash()
    assert [pause] == engine.store.pauses.all()


def test_second_pause_leaves_the_first(engine: Engine, charms: list[CharmRecord]) -> None:
    """Who paused something, and when, is not forgotten because somebody does it again."""
    first = put(engine, charms[0].space_key)
    put(engine, charms[0].space_key, by="somebody else")
    assert [first] == engine.store.pauses.all()
    engine.reopen()
    assert [first] == engine.store.pauses.all()


def test_pause_that_is_undone_was_none(engine: Engine, charms: list[CharmRecord]) -> None:
    """A change shows once it is committed, and not at all when it is not."""

    def change() -> None:
        with engine.transaction():
            engine.store.pauses.put(Pause(0, 0, 5.0, "me"))
            assert not engine.store.pauses.are_any
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change()
    assert not engine.store.pauses.are_any
