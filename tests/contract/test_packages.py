"""Locks of packages are kept once, for as long as a charm has them, and outlast restarts."""

from __future__ import annotations

from contextlib import suppress

import pytest

from bg_charm_service.storage.records import CharmRecord, LockRecord
from tests.contract.engine import Engine
from tests.contract.test_pauses import add


@pytest.fixture
def charms(engine: Engine) -> list[CharmRecord]:
    """Two charms in one space, and one in another."""
    return [add(engine, "did:key:a", "one"), add(engine, "did:key:a", "two"), add(engine, "b", "x")]


def give(engine: Engine, charm: CharmRecord, lock: str, size_bytes: int = 5) -> None:
    """Give a charm a lock, and have it on disk."""
    with engine.transaction():
        if lock:
            engine.store.packages.keep(lock, lock.encode(), size_bytes, 1.0)
        engine.store.packages.put(charm.charm_key, charm.space_key, lock)


def test_most_charms_have_none(engine: Engine, charms: list[CharmRecord]) -> None:
    """A charm has no lock before it is given one."""
    packages = engine.store.packages
    assert not packages.are_any
    assert "" == packages.of_charm(charms[0].charm_key)
    assert {} == packages.of_space(charms[0].space_key)


def test_lock_outlasts_a_restart(engine: Engine, charms: list[CharmRecord]) -> None:
    """Who has which is known again, and what the lock says."""
    give(engine, charms[0], "first", 7)
    engine.reopen()
    packages = engine.store.packages
    assert packages.are_any
    assert "first" == packages.of_charm(charms[0].charm_key)
    assert LockRecord(b"first", 7) == packages.get("first")
    assert packages.get("other") is None


def test_lock_is_shared(engine: Engine, charms: list[CharmRecord]) -> None:
    """Charms of one lock are those of one folder, in whatever space."""
    one, two, other = charms
    for charm in charms:
        give(engine, charm, "shared")
    give(engine, two, "own")
    packages = engine.store.packages
    assert {"shared": {one.space_key, other.space_key}, "own": {one.space_key}} == packages.used()
    assert {one.charm_key: "shared", two.charm_key: "own"} == packages.of_space(one.space_key)


def test_sizes_of_a_space_count_each_lock_once(engine: Engine, charms: list[CharmRecord]) -> None:
    """What a charm is about to lose does not count, unless another one has it too."""
    one, two, _ = charms
    give(engine, one, "shared", 10)
    give(engine, two, "shared", 10)
    packages = engine.store.packages
    assert {"shared": 10} == packages.sizes(one.space_key, without=0)
    assert {"shared": 10} == packages.sizes(one.space_key, without=one.charm_key)
    assert (10, 0) == (packages.used_bytes(), packages.used_bytes(without=["shared"]))
    give(engine, two, "")
    assert {} == packages.sizes(one.space_key, without=one.charm_key)


def test_lock_goes_with_its_last_charm(engine: Engine, charms: list[CharmRecord]) -> None:
    """What nobody has is forgotten, and nothing else."""
    one, two, _ = charms
    give(engine, one, "first")
    give(engine, two, "second")
    give(engine, one, "")
    with engine.transaction():
        assert 1 == engine.store.packages.drop_unused()
    assert engine.store.packages.get("first") is None
    assert engine.store.packages.get("second") is not None


def test_lock_of_a_removed_charm_is_nobodys(engine: Engine, charms: list[CharmRecord]) -> None:
    """A charm that is removed keeps no packages, also for the next life of the service."""
    give(engine, charms[0], "first")
    with engine.transaction():
        engine.store.charms.mark_removed(charms[0].charm_key, 9.0)
    engine.reopen()
    assert not engine.store.packages.are_any


def test_change_that_is_undone_shows_nowhere(engine: Engine, charms: list[CharmRecord]) -> None:
    """Who has which is what is on disk."""
    with suppress(ZeroDivisionError), engine.transaction():
        engine.store.packages.keep("first", b"", 0, 1.0)
        engine.store.packages.put(charms[0].charm_key, charms[0].space_key, "first")
        raise ZeroDivisionError
    assert not engine.store.packages.are_any
    assert engine.store.packages.get("first") is None
