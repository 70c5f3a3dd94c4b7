"""Limits that an operator set: kept, replaced as a whole, and gone with their charm."""

from __future__ import annotations

import pytest

from bg_charm_service.domain.limits import LimitChanges
from bg_charm_service.domain.model import CharmRef, CharmSchema
from bg_charm_service.storage.records import CharmRecord
from tests.contract.engine import Engine

NONE = LimitChanges()
LESS = LimitChanges(timeout_seconds=2.5, ports=())
MORE = LimitChanges(memory_bytes=1024**3, ports=(53, 5432))


@pytest.fixture
def charm(engine: Engine) -> CharmRecord:
    """One charm in a space."""
    with engine.transaction():
        space = engine.store.spaces.ensure("did:key:here", name="", owner="did:key:me", now=0)
        return engine.store.charms.add(
            CharmRef("did:key:here", "baedreicharm"),
            space.space_key,
            cause="c",
            file_name="c.py",
            source="",
            schema=CharmSchema("C", "C", "", (), ("bgUpdater",)),
            now=0,
        )


def test_limits_are_kept(engine: Engine, charm: CharmRecord) -> None:
    """What is set for a space and for a charm is there after a restart, each by itself."""
    with engine.transaction():
        engine.store.limits.put_space(charm.space_key, LESS)
        engine.store.limits.put_charm(charm.charm_key, MORE)
    engine.reopen()

    assert LESS == engine.store.limits.of_space(charm.space_key)
    assert MORE == engine.store.limits.of_charm(charm.charm_key)
    assert NONE == engine.store.limits.of_space(charm.space_key + 1)


def test_limits_replace_those_before(engine: Engine, charm: CharmRecord) -> None:
    """Setting limits leaves nothing of earlier ones, and setting none takes them back."""
    limits = engine.store.limits
    with engine.transaction():
        limits.put_charm(charm.charm_key, LESS)
    with engine.transaction():
        limits.put_charm(charm.charm_key, MORE)
    assert MORE == limits.of_charm(charm.charm_key)

    with engine.transaction():
        limits.put_charm(charm.charm_key, NONE)
    assert NONE == limits.of_charm(charm.charm_key)
    engine.reopen()
    assert NONE == engine.store.limits.of_charm(charm.charm_key)


def test_limits_of_a_transaction_that_fails_never_count(engine: Engine, charm: CharmRecord) -> None:
    """What was not committed shows nowhere."""
    engine.crash(lambda: engine.store.limits.put_charm(charm.charm_key, MORE))

    assert NONE == engine.store.limits.of_charm(charm.charm_key)


def test_limits_go_with_their_charm(engine: Engine, charm: CharmRecord) -> None:
    """A removed charm leaves no limits on disk for one that comes back in its place."""
    with engine.transaction():
        engine.store.limits.put_charm(charm.charm_key, MORE)
    with engine.transaction():
        engine.store.charms.mark_removed(charm.charm_key, 1)
    engine.reopen()

    assert NONE == engine.store.limits.of_charm(charm.charm_key)
