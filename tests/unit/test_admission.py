"""Worker time between spaces, on a simulated day: nobody waits long for who has much to do."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from bg_charm_service.domain.model import POLL_EVENT, CharmRef, CharmSchema, Origin
from bg_charm_service.storage.records import CharmRecord
from bg_charm_service.supervisor.fair_share import Caps
from tests.unit.test_loop import Bench

MANY, ONE = "did:key:many", "did:key:one"
WORKERS = 4


@contextmanager
def opened(path: Path, *, workers: int = WORKERS, caps: Caps | None = None) -> Iterator[Bench]:
    """Give a bench that is closed at the end."""
    bench = Bench(path / "test.db", workers=workers, caps=caps)
    with closing(bench.database):
        yield bench


def add_charms(bench: Bench, space: str, count: int, integration: str = "") -> list[CharmRecord]:
    """Add charms, each with a poll that waits."""
    charms, now = [], bench.clock.now()
    with bench.database.transaction():
        home = bench.store.spaces.ensure(space, name="", owner="did:key:me", now=now)
        for number in range(count):
            name = f"{integration}{number}"
            charm = bench.store.charms.add(
                CharmRef(space, name),
                home.space_key,
                cause=name,
                file_name="some.py",
                source="",
                schema=CharmSchema("Some", "Some", "", (), ("bgUpdater",)),
                now=now,
            )
            bench.store.health.create(charm.charm_key)
            if integration:
                bench.store.registrations.put(charm.charm_key, integration, now)
            charms.append(charm)
        for charm in charms:
            put(bench, charm)
    return charms


def put(bench: Bench, charm: CharmRecord) -> None:
    """Queue a poll; in a transaction."""
    now = bench.clock.now()
    bench.queue.put_poll(
        *(charm.space_key, charm.charm_key, charm.ref, "bgUpdater", POLL_EVENT),
        origin=Origin.POLL,
        run_at=now,
        now=now,
    )


class Day:
    """Lets runs take their time on the bench's clock, one end after the other."""

    def __init__(self, bench: Bench, seconds: dict[str, float]) -> None:
        self.bench = bench
        self.started: list[str] = []
        self._seconds = seconds
        self._ends: list[tuple[float, str]] = []

    def step(self) -> None:
        """Take a step of the supervisor, and note what went out."""
        self.bench.step()
        known = {run_id for _, run_id in self._ends}
        for run in self.bench.pool.out:
            if run.run_id not in known:
                self.started.append(run.space)
                end = self.bench.clock.seconds + self._seconds[run.space]
                heapq.heappush(self._ends, (end, run.run_id))

    def let_one_end(self) -> None:
        """Let the time pass until the next run ends, and take the step that follows."""
        self.bench.clock.seconds, run_id = heapq.heappop(self._ends)
        run = next(run for run in self.bench.pool.out if run.run_id == run_id)
        self.bench.pool.end(run, seconds=self._seconds[run.space])
        self.step()


@pytest.mark.parametrize(
    ("seconds", "bound"), [(20.0, 0), (2.0, 0), (0.05, 1)], ids=["very slow", "slow", "short"]
)
def test_space_with_one_charm_is_not_held_up(tmp_path: Path, seconds: float, bound: int) -> None:
    """With 10,000 charms of another space ahead, a lone poll waits for one short run at most."""
    with opened(tmp_path) as bench:
        (lone,) = add_charms(bench, ONE, 1)
        day = Day(bench, {MANY: seconds, ONE: 0.05})
        day.step()
        day.let_one_end()
        add_charms(bench, MANY, 10_000)
        day.step()
        for ended in range(60):
            if ended % 5 == 0:
                with bench.database.transaction():
                    put(bench, lone)
                before = len(day.started)
                day.step()
                waited = 0
                while ONE not in day.started[before:]:
                    day.let_one_end()
                    waited += 1
                assert waited <= bound
            day.let_one_end()
        assert day.started.count(MANY) > 30


def test_lone_space_has_all_workers(tmp_path: Path) -> None:
    """Where there is no other space, nothing is kept free."""
    with opened(tmp_path) as bench:
        add_charms(bench, MANY, 20)
        day = Day(bench, {MANY: 20.0})
        day.step()
        for _ in range(5):
            assert WORKERS == len(bench.pool.out)
            day.let_one_end()


def test_two_spaces_share_by_seconds(tmp_path: Path) -> None:
    """A space with runs ten times as long gets about a tenth of the runs."""
    with opened(tmp_path, workers=1) as bench:
        add_charms(bench, MANY, 400)
        add_charms(bench, ONE, 400)
        day = Day(bench, {MANY: 1.0, ONE: 0.1})
        day.step()
        for _ in range(220):
            day.let_one_end()
        assert 8 < day.started.count(ONE) / day.started.count(MANY) < 12


def test_cap_of_a_space(tmp_path: Path) -> None:
    """No more runs of a space than its cap are under way, however many workers are free."""
    with opened(tmp_path, caps=Caps(per_space=2)) as bench:
        add_charms(bench, MANY, 20)
        add_charms(bench, ONE, 1)
        day = Day(bench, {MANY: 1.0, ONE: 1.0})
        day.step()
        assert [MANY, MANY, ONE] == sorted(day.started)
        for _ in range(10):
            day.let_one_end()
            assert 2 == [run.space for run in bench.pool.out].count(MANY)


def test_cap_of_an_integration(tmp_path: Path) -> None:
    """No more runs of an integration than its cap are under way, over all spaces."""
    with opened(tmp_path, caps=Caps(per_integration=1)) as bench:
        bench.queue.note_integrations()
        add_charms(bench, MANY, 200, "gmail")
        add_charms(bench, ONE, 5, "gmail")
        add_charms(bench, MANY, 3, "gcal")
        add_charms(bench, MANY, 1)
        day = Day(bench, {MANY: 1.0, ONE: 1.0})
        day.step()
        running = sorted(run.charm_id.rstrip("0123456789") for run in bench.pool.out)
        assert ["", "gcal", "gmail"] == running
        for _ in range(12):
            day.let_one_end()
            names = [run.charm_id.rstrip("0123456789") for run in bench.pool.out]
            assert 1 == names.count("gmail")
            assert names.count("gcal") <= 1
        assert {MANY, ONE} == set(day.started)


def test_nothing_is_looked_for_that_a_cap_forbids(tmp_path: Path) -> None:
    """While a cap is reached, the loop opens no transaction for what it leaves waiting."""
    for caps in (Caps(per_space=1), Caps(per_integration=1)):
        (tmp_path / repr(caps)).mkdir()
        with opened(tmp_path / repr(caps), caps=caps) as bench:
            bench.queue.note_integrations()
            add_charms(bench, MANY, 5, "gmail")
            bench.step()
            bench.step()
            dispatcher = bench.supervisor.parts.dispatcher
            assert not dispatcher.wants_to_claim(bench.clock.steady())
            bench.pool.end(bench.pool.out[0])
            bench.step()
            assert 1 == len(bench.pool.out)


def test_workers_that_come_one_by_one_are_shared(tmp_path: Path) -> None:
    """What is under way counts: while the first runs go on, no space gets all fresh workers."""
    spaces = [f"did:key:{number}" for number in range(4)]
    with opened(tmp_path, workers=0) as bench:
        for space in spaces:
            add_charms(bench, space, 5)
        for _ in range(3 * len(spaces)):
            bench.pool.unbound += 1
            bench.step()
            bench.clock.seconds += 0.01
        assert dict.fromkeys(spaces, 3) == Counter(run.space for run in bench.pool.out)
