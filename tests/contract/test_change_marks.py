"""Marks of outside changes: no write that a run's settlement would have to see goes unmarked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bg_charm_service.domain.model import (
    CharmHealth,
    CharmRef,
    CharmSchema,
    DisabledBy,
    FieldKind,
    FieldSchema,
)
from bg_charm_service.storage.records import CharmRecord, Link
from tests.contract.engine import Engine

SCHEMA = CharmSchema(
    "Counter", "Counter", "", (FieldSchema("count", FieldKind.VALUE, b"0"),), ("bgUpdater",)
)
LINK = Link("other", 1, ("count",), is_writable=True)


class Shelf:
    """A store with one charm that has a field, a link to itself and a record of its runs."""

    def __init__(self, engine: Engine) -> None:
        self.database = engine.database
        self.store = engine.store
        self.changes = self.database.sole_writer.changes
        self.space = self.store.spaces.ensure("did:key:s", name="", owner="did:key:o", now=1.0)
        self.before = 0
        self.charm = self.add("charm")
        self.key = self.charm.charm_key
        self.store.health.create(self.key)
        self.store.cells.write(self.charm, "count", b"1")
        self.store.links.put(self.key, LINK)

    def add(self, charm_id: str) -> CharmRecord:
        """Add a charm, or the same one again."""
        return self.store.charms.add(
            CharmRef("did:key:s", charm_id),
            self.space.space_key,
            cause=charm_id,
            file_name="x.py",
            source="x",
            schema=SCHEMA,
            now=1.0,
        )

    def replace_source(self) -> None:
        """Give the charm other source."""
        self.store.charms.replace_source(
            self.key, file_name="y.py", source="y", schema=SCHEMA, now=2.0
        )

    def purge(self) -> None:
        """Purge the charm, which was removed."""
        self.store.charms.mark_removed(self.key, 3.0)
        self.before = self.changes.since(self.key)
        self.store.charms.purge_removed(4.0, 10)

    def bring_removal_near(self) -> None:
        """Remove the charm by a clock that is ahead, and bring that near."""
        self.store.charms.mark_removed(self.key, 9.0)
        self.before = self.changes.since(self.key)
        self.store.charms.bring_near(4.0)

    def disable(self) -> None:
        """Disable the charm by hand."""
        self.store.health.put(self.key, CharmHealth(disabled_by=DisabledBy.HAND))


#: How each method that changes a charm is called, by the part of the store that has it.
OUTSIDE_CHANGES: dict[str, dict[str, Callable[[Shelf], object]]] = {
    "charms": {
        "add": lambda s: s.add("charm"),
        "replace_source": Shelf.replace_source,
        "mark_removed": lambda s: s.store.charms.mark_removed(s.key, 2.0),
        "purge_removed": Shelf.purge,
        "bring_near": Shelf.bring_removal_near,
    },
    "cells": {
        "write": lambda s: s.store.cells.write(s.charm, "count", b"2"),
        "drop": lambda s: s.store.cells.drop(s.key, "count"),
    },
    "links": {
        "put": lambda s: s.store.links.put(s.key, Link("new", s.key, (), is_writable=False)),
        "drop": lambda s: s.store.links.drop(s.key, "other"),
        "write": lambda s: s.store.links.write(s.charm, LINK, b"3"),
    },
    "health": {
        "create": lambda s: s.store.health.create(s.key),
        "put": Shelf.disable,
        "set_interval": lambda s: s.store.health.set_interval(s.key, 5.0),
    },
}

#: Methods whose writes nobody has to see: those that settle plain runs; the due time, the count of
#: skipped polls, and when failures disabled a charm, which are no part of what a settlement reads.
UNMARKED = {
    "charms": set[str](),
    "cells": {"write_all"},
    "links": set[str](),
    "health": {"set_due", "set_due_all", "put_all", "skip_all", "bring_near"},
}

#: Methods that only read.
READING = {
    "charms": {
        "find",
        "find_removed",
        "key_of",
        "get",
        "get_many",
        "find_by_cause",
        "page",
        "count_outside",
        "source",
    },
    "cells": {"snapshot", "snapshots", "read", "versions", "total_bytes", "state"},
    "links": {"of", "read", "version", "writers_of"},
    "health": {
        "get",
        "get_many",
        "entry",
        "entries",
        "disabled_before",
        "scheduled",
        "most_failing",
    },
}


@pytest.fixture
def shelf(engine: Engine) -> Shelf:
    """Give a store with one charm."""
    return Shelf(engine)


@pytest.mark.parametrize("part", OUTSIDE_CHANGES)
def test_every_method_is_known_here(shelf: Shelf, part: str) -> None:
    """A new method of these parts has to say here whether it changes a charm."""
    found = {name for name in dir(getattr(shelf.store, part)) if not name.startswith("_")}
    assert found == OUTSIDE_CHANGES[part].keys() | UNMARKED[part] | READING[part]


@pytest.mark.parametrize(
    ("part", "name"), [(part, name) for part, calls in OUTSIDE_CHANGES.items() for name in calls]
)
def test_each_outside_change_is_marked(shelf: Shelf, part: str, name: str) -> None:
    """Whatever changes a charm from outside of its run shows in its number."""
    shelf.before = shelf.changes.since(shelf.key)
    written = shelf.database.commits
    with shelf.database.transaction():
        OUTSIDE_CHANGES[part][name](shelf)
    assert written < shelf.database.commits
    assert shelf.before != shelf.changes.since(shelf.key)


def test_reading_and_plain_runs_change_no_number(shelf: Shelf) -> None:
    """What no settlement has to look at leaves a charm's number as it is."""
    before = shelf.changes.since(shelf.key)
    shelf.store.health.set_due(shelf.key, 7.0)
    shelf.store.health.set_due_all([(8.0, shelf.key)])
    shelf.store.health.put_all([(shelf.key, CharmHealth(), CharmHealth(executions=1))])
    shelf.store.cells.write_all([(shelf.key, "count", b"7")])
    shelf.store.health.get(shelf.key)
    shelf.store.cells.snapshot(shelf.charm)
    shelf.store.charms.get(shelf.key)
    assert before == shelf.changes.since(shelf.key)


def test_a_change_of_another_charm_changes_no_number(shelf: Shelf) -> None:
    """Numbers are told apart by charm."""
    before = shelf.changes.since(shelf.key)
    other = shelf.add("other")
    shelf.store.cells.write(other, "count", b"5")
    assert before == shelf.changes.since(shelf.key)
