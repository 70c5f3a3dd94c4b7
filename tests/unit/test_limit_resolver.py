"""Promises of which limits count: the nearest word of the operator, and less where asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bg_charm_service.domain.limits import LimitChanges, Limits
from bg_charm_service.domain.model import CharmRef, CharmSchema
from bg_charm_service.storage.records import CharmRecord
from bg_charm_service.storage.sql.store import open_store
from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.supervisor.limit_resolver import LimitResolver

SERVICE = Limits(timeout_seconds=30.0, memory_bytes=512 * 1024**2)


class Bench:
    """Limits over an empty store with one space."""

    def __init__(self, path: Path) -> None:
        self.database = Database.open(path)
        self.store = open_store(self.database)
        self.limits = LimitResolver(SERVICE, self.store.limits)
        space = self.store.spaces.ensure("did:key:here", name="", owner="did:key:me", now=0)
        self.space_key = space.space_key

    def charm(self, asks: LimitChanges | None = None, charm_id: str = "a") -> CharmRecord:
        """Add a charm that asks for something."""
        schema = CharmSchema("C", "C", "", (), ("bgUpdater",), asks or LimitChanges())
        return self.store.charms.add(
            CharmRef("did:key:here", charm_id),
            self.space_key,
            cause=charm_id,
            file_name="c.py",
            source="",
            schema=schema,
            now=0,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A bench that is closed in the end."""
    made = Bench(tmp_path / "database.sqlite")
    yield made
    made.database.close()


def test_without_other_words_the_services_limits_count(bench: Bench) -> None:
    """A charm that nobody said anything about has the service's limits."""
    assert SERVICE == bench.limits.of(bench.charm())


def test_the_nearest_word_of_the_operator_counts(bench: Bench) -> None:
    """A charm's limits win over its space's, and those over the service's: also upwards."""
    charm, neighbour = bench.charm(), bench.charm(charm_id="b")
    bench.store.limits.put_space(bench.space_key, LimitChanges(timeout_seconds=60, threads=8))
    bench.store.limits.put_charm(charm.charm_key, LimitChanges(timeout_seconds=90))

    assert (90, 8) == (bench.limits.of(charm).timeout_seconds, bench.limits.of(charm).threads)
    assert 60 == bench.limits.of(neighbour).timeout_seconds


def test_a_class_gets_less_and_never_more(bench: Bench) -> None:
    """What a class asks for counts where it is lower than what it is allowed."""
    charm = bench.charm(LimitChanges(timeout_seconds=5, memory_bytes=1024**4))
    limits = bench.limits.of(charm)

    assert (5, SERVICE.memory_bytes) == (limits.timeout_seconds, limits.memory_bytes)


def test_ports_are_those_asked_for_and_allowed(bench: Bench) -> None:
    """A port that the operator does not allow cannot be had by asking."""
    charm = bench.charm(LimitChanges(ports=(53, 443, 5432)))
    assert (53, 443) == bench.limits.of(charm).ports

    bench.store.limits.put_charm(charm.charm_key, LimitChanges(ports=(53, 443, 5432, 8080)))
    assert (53, 443, 5432) == bench.limits.of(charm).ports


def test_the_services_own_ports_are_never_open(bench: Bench) -> None:
    """Neither operator nor class can open a port on which the service itself listens."""
    charm = bench.charm(LimitChanges(ports=(53, 443, 8000)))
    bench.store.limits.put_charm(charm.charm_key, LimitChanges(ports=(53, 443, 8000)))
    bench.limits.closed_ports = frozenset({8000, 443})

    assert (53,) == bench.limits.of(charm).ports
    assert (53, 80) == bench.limits.allowed().ports


def test_a_change_counts_from_the_next_run_on(bench: Bench) -> None:
    """What is set or taken back counts at once, without a restart."""
    charm = bench.charm()
    for wanted in (3.0, 4.0):
        bench.store.limits.put_charm(charm.charm_key, LimitChanges(timeout_seconds=wanted))
        assert wanted == bench.limits.of(charm).timeout_seconds
    bench.store.limits.put_charm(charm.charm_key, LimitChanges())

    assert SERVICE == bench.limits.of(charm)


def test_runs_ask_the_database_nothing(bench: Bench) -> None:
    """Once known, limits are given without a query."""
    charm = bench.charm()
    bench.limits.of(charm)
    asked: list[str] = []
    bench.database.connection.set_trace_callback(asked.append)
    bench.limits.of(charm)

    assert [] == asked


def test_people_see_whose_word_counts(bench: Bench) -> None:
    """Each limit is shown as it is written, with who set it."""
    charm = bench.charm(LimitChanges(cpu_seconds=2.5, threads=10_000))
    bench.store.limits.put_space(bench.space_key, LimitChanges(memory_bytes=1024**3))
    bench.store.limits.put_charm(charm.charm_key, LimitChanges(ports=()))
    shown = {
        one.name: (one.value, one.set_by) for one in bench.limits.shown_for_charm(charm).limits
    }

    assert {
        "timeout": ("30", "service"),
        "cpu": ("2.5", "class"),
        "memory": ("1G", "space"),
        "files": ("128", "service"),
        "threads": ("64", "service"),
        "processors": ("1", "service"),
        "log": ("64K", "service"),
        "state": ("16M", "service"),
        "scratch": ("64M", "service"),
        "network": ("deny", "charm"),
    } == shown


def test_processors_are_shown_as_allowed_until_a_class_asks(bench: Bench) -> None:
    """A class that says nothing has one processor, and is not said to have asked for that."""
    silent, asking = bench.charm(), bench.charm(LimitChanges(processors=2), charm_id="b")
    bench.store.limits.put_space(bench.space_key, LimitChanges(processors=4))

    assert [1, 2] == [bench.limits.of(charm).processors for charm in (silent, asking)]
    shown = [
        {one.name: (one.value, one.set_by) for one in bench.limits.shown_for_charm(charm).limits}
        for charm in (silent, asking)
    ]
    assert [("4", "space"), ("2", "class")] == [each["processors"] for each in shown]


def test_people_see_what_a_class_asks_for_in_vain(bench: Bench) -> None:
    """Asking for more has no effect, and that is said, each thing in a sentence."""
    charm = bench.charm(LimitChanges(memory_bytes=1024**3, ports=(53, 5432, 8080), threads=2))

    assert (
        "It asks for memory 1G, and the operator allows 512M: a class can only ask for less.",
        "It asks for ports 5432, 8080, which the operator does not allow: it runs without.",
    ) == bench.limits.shown_for_charm(charm).unmet


def test_a_space_shows_what_its_charms_are_allowed(bench: Bench) -> None:
    """A space's limits are shown without any charm's."""
    bench.store.limits.put_space(bench.space_key, LimitChanges(timeout_seconds=5))
    shown = bench.limits.shown_for_space(bench.space_key)

    assert ("timeout", "5", "space") == (
        shown.limits[0].name,
        shown.limits[0].value,
        shown.limits[0].set_by,
    )
    assert () == shown.unmet
