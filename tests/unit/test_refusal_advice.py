"""What to do about a refusal: the command that does it, where it counts, with all ports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.limits import LimitChanges, Limits
from bg_charm_service.domain.model import CharmRef, CharmSchema, Failure
from bg_charm_service.domain.outcomes.refusals import Refusal, RefusalKind
from bg_charm_service.storage.records import CharmRecord
from bg_charm_service.storage.sql.store import open_store
from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.supervisor.limit_resolver import LimitResolver
from bg_charm_service.supervisor.refusal_advice import Place, RefusalAdvice, with_hint

PORT = Refusal(RefusalKind.PORT, 5432)


class Bench:
    """Advice over an empty store with one space."""

    def __init__(self, path: Path) -> None:
        self.database = Database.open(path)
        self.store = open_store(self.database)
        self.limits = LimitResolver(Limits(), self.store.limits)
        self.advice = RefusalAdvice(self.store, self.limits)
        self.space = self.store.spaces.ensure("did:key:a", name="my space", owner="me", now=0)

    def charm(
        self, ports: tuple[int, ...] | None = None, cause: str = "hello", space: str = "did:key:a"
    ) -> CharmRecord:
        """Add a charm whose class asks for these ports, None for nothing."""
        home = self.store.spaces.ensure(space, name="", owner="me", now=0)
        schema = CharmSchema("C", "C", "", (), ("bgUpdater",), LimitChanges(ports=ports))
        return self.store.charms.add(
            CharmRef(space, cause.split()[0]),
            home.space_key,
            cause=cause,
            file_name="c.py",
            source="",
            schema=schema,
            now=0,
        )

    def told(self, charm: CharmRecord, refusal: Refusal | None = PORT) -> str:
        """What stands behind the error of a run to which something was refused."""
        cause = FailureCause.FORBIDDEN
        failure = self.advice.of_run(charm, Failure(cause, "no", refusal=refusal))
        assert failure.refusal is None
        return failure.message


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A bench that is closed in the end."""
    made = Bench(tmp_path / "database.sqlite")
    yield made
    made.database.close()


def test_port_is_opened_where_its_limits_are_set(bench: Bench) -> None:
    """For the space, by its name and with all its ports; for a charm that has some of its own."""
    charm = bench.charm()
    where = "no (port 5432 is not open to it: `bg-charm-service limits"
    assert f"{where} 'my space' --network=53,80,443,5432`)" == bench.told(charm)
    bench.store.limits.put_space(bench.space.space_key, LimitChanges(ports=(53, 8443)))
    assert f"{where} 'my space' --network=53,5432,8443`)" == bench.told(charm)
    bench.store.limits.put_charm(charm.charm_key, LimitChanges(ports=()))
    assert f"{where} 'my space'/hello --network=5432`)" == bench.told(charm)
    odd = bench.charm(cause="odd cause", space="did:key:b")
    bench.store.limits.put_charm(odd.charm_key, LimitChanges(ports=()))
    assert f"{where} did:key:b/odd --network=5432`)" == bench.told(odd)


def test_class_that_asks_for_less_is_named(bench: Bench) -> None:
    """What a class leaves out no command opens; where both are closed, both are told."""
    charm = bench.charm(ports=(443,))
    assert bench.told(charm).endswith(
        "--network=53,80,443,5432`, and name 5432 in `network` of its class)"
    )
    bench.store.limits.put_space(bench.space.space_key, LimitChanges(ports=(443, 5432)))
    expected = "no (port 5432 is not open to it: name 5432 in `network` of its class)"
    assert expected == bench.told(charm)


def test_own_port_is_never_opened(bench: Bench) -> None:
    """The service's own port is closed to every charm, whatever is set."""
    bench.limits.closed_ports = frozenset({5432})
    assert (
        "no (port 5432 is not open to it: it is this service's own, and closed to every charm)"
    ) == bench.told(bench.charm())


def test_names_are_opened_like_a_port(bench: Bench) -> None:
    """Who may look up nothing is told which port that takes."""
    bench.store.limits.put_space(bench.space.space_key, LimitChanges(ports=()))
    expected = (
        "no (names cannot be looked up, since port 53 is not open to it: "
        "`bg-charm-service limits 'my space' --network=53`)"
    )
    assert expected == bench.told(bench.charm(), Refusal(RefusalKind.NAMES, 53))


def test_forbidden_without_a_reason_names_the_walls(bench: Bench) -> None:
    """A worker that does not say what was refused leaves the reader a page to read."""
    expected = "no (its walls do not allow that: see docs/security.md)"
    assert expected == bench.told(bench.charm(), None)


def test_other_failures_stay_as_they_are(bench: Bench) -> None:
    """Without a refusal nothing is put behind an error."""
    failure = Failure(FailureCause.ERROR, "ValueError: no")
    assert failure == bench.advice.of_run(bench.charm(), failure)


def test_error_is_cut_rather_than_the_advice() -> None:
    """What to do stands at the end of a text of any length."""
    text = with_hint("x" * 10_000, "do this")
    assert 2_000 == len(text)
    assert text.endswith("x (do this)")


@pytest.mark.parametrize(
    ("cause", "advice"),
    [
        (FailureCause.TIMEOUT, "--timeout=60`)"),
        (FailureCause.CPU, "--cpu=40`)"),
        (FailureCause.MEMORY, "--memory=1G`)"),
        (FailureCause.FILES, "--files=256`)"),
        (FailureCause.THREADS, "--threads=128`)"),
        (FailureCause.SCRATCH, "--scratch=128M`)"),
    ],
)
def test_source_that_needs_more_is_told_the_limit(
    bench: Bench, cause: FailureCause, advice: str
) -> None:
    """A source that ran into a limit while it was loaded says how to give it twice as much."""
    told = bench.advice.of_loading(Place("demo"), Limits(), Failure(cause, "c.py: no"))
    assert f"c.py: no (allow more: `bg-charm-service limits demo {advice}" == told


def test_source_that_a_wall_stops_is_told_like_a_run(bench: Bench) -> None:
    """The space need not be there yet: what is set for it counts for its first charm."""
    failure = Failure(FailureCause.FORBIDDEN, "c.py:1: no", refusal=PORT)
    expected = (
        "c.py:1: no (port 5432 is not open to it: `bg-charm-service limits demo "
        "--network=53,80,443,5432`)"
    )
    assert expected == bench.advice.of_loading(Place("demo"), Limits(), failure)
    plain = Failure(FailureCause.COMPILER, "c.py:1: no charm here")
    assert "c.py:1: no charm here" == bench.advice.of_loading(Place("demo"), Limits(), plain)


def test_lines_for_a_log(bench: Bench) -> None:
    """What a run passed over has a line each."""
    program = Refusal(RefusalKind.PROGRAM, subject="convert")
    first, second = bench.advice.of_hidden(bench.charm(), (program, PORT)).splitlines()
    assert first == (
        "[refused] starting programs is not possible here (convert): use a library of Python "
        "instead"
    )
    assert second.startswith("[refused] port 5432 is not open to it: `bg-charm-service limits")
