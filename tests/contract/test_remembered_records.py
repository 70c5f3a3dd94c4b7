"""What is remembered of records and fields is what is stored, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from msgspec.structs import replace

from bg_charm_service.domain.identity import Identity
from bg_charm_service.domain.model import (
    CharmHealth,
    CharmRef,
    CharmSchema,
    DisabledBy,
    FieldKind,
    FieldSchema,
)
from bg_charm_service.storage.records import CellValue, CharmRecord
from tests.contract.engine import Engine

SCHEMA = CharmSchema(
    "Some",
    "Some",
    "",
    (FieldSchema("count", FieldKind.VALUE, b"0"), FieldSchema("token", FieldKind.SECRET, b"0")),
    ("bgUpdater",),
)


class Undone(Exception):
    """Ends a transaction, or a part of one."""


class Shelf:
    """Two charms with records and fields, as they are remembered and as they are stored."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.store = engine, engine.store
        with engine.transaction():
            self.store.secrets.create(Identity.from_passphrase("owner").did())
            self.charms = [self.add(name) for name in ("one", "two")]
        self.key = self.charms[0].charm_key
        self.look()

    def add(self, charm_id: str) -> CharmRecord:
        """Store a charm that counts."""
        space = self.store.spaces.ensure("did:key:here", name="", owner="did:key:me", now=0)
        charm = self.store.charms.add(
            CharmRef("did:key:here", charm_id),
            space.space_key,
            cause=charm_id,
            file_name="some.py",
            source="source",
            schema=SCHEMA,
            now=0,
        )
        self.store.health.create(charm.charm_key)
        self.store.cells.write(charm, "count", b"1")
        return charm

    def look(self) -> tuple[CharmHealth, dict[str, CellValue]]:
        """What is known of the first charm; of both it must be what is stored."""
        keys = [charm.charm_key for charm in self.charms]
        known = self.store.health.get_many(keys)
        cells = self.store.cells.snapshots(self.charms)
        for charm in self.charms:
            key = charm.charm_key
            assert self.store.health.get(key) == known[key]
            stored = {name: self.store.cells.read(charm, name) for name in ("count", "token")}
            found = {name: cell.value for name, cell in cells[key].items()}
            assert {name: one.value for name, one in stored.items() if one} == found
            versions = {name: cell.version for name, cell in cells[key].items()}
            assert self.store.cells.versions(key) == versions
        return known[self.key], cells[self.key]

    def settle(self) -> None:
        """End a plain run of the first charm, as the completer does for many at once."""
        health = self.store.health.get_many([self.key])[self.key]
        after = replace(health, executions=health.executions + 1, last_run=5.0, status="Success")
        self.store.health.put_all([(self.key, health, after)])
        count = self.store.cells.snapshots(self.charms)[self.key]["count"].value
        assert count is not None
        self.store.cells.write_all([(self.key, "count", b"%d" % (int(count) + 1))])


@pytest.fixture
def shelf(engine: Engine) -> Shelf:
    """Charms of one engine."""
    return Shelf(engine)


def test_runs_one_after_the_other_are_seen(shelf: Shelf) -> None:
    """Each plain run goes on where the one before it ended, without a look at what is stored."""
    for _ in range(3):
        with shelf.engine.transaction():
            shelf.settle()
            shelf.settle()
        shelf.look()
    health, cells = shelf.look()
    assert 6 == health.executions
    assert b"7" == cells["count"].value


#: What others do to the first charm.
CHANGES: dict[str, Callable[[Shelf], object]] = {
    "write": lambda s: s.store.cells.write(s.charms[0], "count", b"40"),
    "write a secret": lambda s: s.store.cells.write(s.charms[0], "token", b'"abc"'),
    "write a large one": lambda s: s.store.cells.write(s.charms[0], "count", b"9" * 4000),
    "settle a large one": lambda s: s.store.cells.write_all([(s.key, "count", b"9" * 4000)]),
    "settle a new one": lambda s: s.store.cells.write_all([(s.key, "more", b"1")]),
    "drop": lambda s: s.store.cells.drop(s.key, "count"),
    "disable": lambda s: s.store.health.put(s.key, CharmHealth(disabled_by=DisabledBy.HAND)),
    "skip": lambda s: s.store.health.skip_all([(7.0, s.key)]),
    "create": lambda s: s.store.health.create(s.key),
    "bring near": lambda s: s.store.health.bring_near(0.5),
    "disable by failures": lambda s: s.store.health.put(
        s.key, CharmHealth(disabled_by=DisabledBy.FAILURES, disabled_at=9.0)
    ),
}


@pytest.mark.parametrize("runs", [0, 1])
@pytest.mark.parametrize("change", CHANGES)
def test_what_others_change_is_seen(shelf: Shelf, change: str, runs: int) -> None:
    """Whoever changes a charm, also behind the end of a run, changes what is known of it."""
    with shelf.engine.transaction():
        for _ in range(runs):
            shelf.settle()
        CHANGES[change](shelf)
    shelf.store.health.get_many([shelf.key])
    with shelf.engine.transaction():
        CHANGES["bring near"](shelf)
    assert shelf.store.health.get(shelf.key) == shelf.store.health.get_many([shelf.key])[shelf.key]
    read = shelf.store.cells.snapshots(shelf.charms)[shelf.key]
    assert shelf.store.cells.versions(shelf.key) == {name: c.version for name, c in read.items()}


@pytest.mark.parametrize("caught", [(), (Undone,)], ids=["transaction", "part"])
def test_what_is_undone_is_not_remembered(
    shelf: Shelf, caught: tuple[type[Exception], ...]
) -> None:
    """After an end that was undone a run starts from what is stored."""
    before, database = shelf.look(), shelf.engine.database
    with suppress(Undone), database.transaction(), suppress(*caught), database.savepoint():
        shelf.settle()
        raise Undone
    assert before == shelf.look()
    with shelf.engine.transaction():
        shelf.settle()
    assert before[0].executions + 1 == shelf.look()[0].executions


def test_a_skip_while_a_run_is_out_stays_counted(shelf: Shelf) -> None:
    """The end of that run knows nothing of it, and what comes after it does."""
    with shelf.engine.transaction():
        health = shelf.store.health.get_many([shelf.key])[shelf.key]
        shelf.store.health.skip_all([(7.0, shelf.key)])
        after = replace(health, executions=health.executions + 1)
        shelf.store.health.put_all([(shelf.key, health, after)])
    assert 1 == shelf.look()[0].skipped_polls
    assert 1 == shelf.look()[0].executions
