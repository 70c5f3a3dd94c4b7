"""Promises of readiness: each obstacle is told by its own fixed words, and nothing else is one."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from bg_charm_service.api.error_responses import status_of
from bg_charm_service.domain.errors import LoopStandsStill
from bg_charm_service.service.charm_packages import CharmPackages
from bg_charm_service.service.commands import monitoring
from bg_charm_service.service.notices.telling import Telling
from bg_charm_service.service.status.board import StatusBoard
from bg_charm_service.service.status.readiness import Obstacle, Readiness
from bg_charm_service.workers.pool.pool import Pool
from tests.unit.test_loop import Bench, broken


class Watched:
    """A supervisor, and a pool of which only that counts that is asked of it."""

    def __init__(self, path: Path) -> None:
        self.bench = Bench(path)
        self.pool = SimpleNamespace(without_workers_since=None)
        self.readiness = Readiness(self.bench.supervisor, cast("Pool", self.pool))

    def ask(self, *, is_probing: bool = True) -> list[Obstacle]:
        """What stands in the way now."""
        return self.readiness.obstacles(is_probing=is_probing)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """A service that can do its work."""
    made = Watched(tmp_path / "test.db")
    yield made
    made.bench.database.close()


def test_a_service_that_works_is_ready(watched: Watched) -> None:
    """Nothing stands in its way, asked again and again."""
    for _ in range(3):
        watched.bench.clock.seconds += 60
        assert [] == watched.ask()


def test_a_disk_that_fails_is_found_by_asking(watched: Watched) -> None:
    """Also while nothing else is written: the answer is a write, unless there was one lately."""
    commits = watched.bench.database.commits
    with broken(watched.bench.database):
        watched.bench.clock.seconds += 60
        assert Obstacle.DATABASE in watched.ask()
    watched.bench.clock.seconds += 60
    watched.bench.step()
    assert [] == watched.ask()
    assert watched.bench.database.commits > commits


def test_a_scrape_writes_nothing(watched: Watched) -> None:
    """Who does not probe is told what is known."""
    commits = watched.bench.database.commits
    watched.bench.clock.seconds += 60
    assert [] == watched.ask(is_probing=False)
    assert commits == watched.bench.database.commits


def test_what_others_write_saves_the_probe(watched: Watched) -> None:
    """A busy service is asked as often as one likes, and a quiet one writes once in ten seconds."""
    for seconds, own_writes in ((60, 1), (1, 0), (1, 0), (60, 1)):
        watched.bench.clock.seconds += seconds
        commits = watched.bench.database.commits
        assert [] == watched.ask()
        assert own_writes == watched.bench.database.commits - commits
    watched.bench.charm()
    watched.bench.clock.seconds += 60
    commits = watched.bench.database.commits
    assert [] == watched.ask()
    assert commits == watched.bench.database.commits


def test_another_schema_is_an_obstacle(watched: Watched) -> None:
    """What was written by another version is not for this one."""
    watched.bench.database.execute("PRAGMA user_version = 1")
    assert [Obstacle.SCHEMA] == watched.ask()


def test_workers_have_to_be_up(watched: Watched) -> None:
    """None yet, or none for a while; that all are being replaced at a time is no obstacle."""
    watched.pool.without_workers_since = -math.inf
    assert [Obstacle.WORKERS] == watched.ask()
    watched.pool.without_workers_since = watched.bench.clock.steady()
    assert [] == watched.ask()
    watched.bench.clock.seconds += 6
    assert [Obstacle.WORKERS] == watched.ask()


def test_a_service_that_stops_is_not_ready(watched: Watched) -> None:
    """From the moment on at which it takes no new work."""
    asyncio.run(watched.bench.supervisor.drain(1.0))
    assert [Obstacle.STOPPING] == watched.ask()


def test_a_loop_that_advances_takes_a_turn(watched: Watched) -> None:
    """Whoever asks gets one at once; from a loop that stands still none comes."""
    supervisor = watched.bench.supervisor

    async def ask() -> tuple[bool, bool]:
        stands_still = await supervisor.takes_turn(0.01)
        loop = asyncio.create_task(supervisor.run())
        advances = await supervisor.takes_turn(60.0)
        await supervisor.stop_now()
        await loop
        return stands_still, advances

    assert (False, True) == asyncio.run(ask())


def test_a_loop_that_stands_still_is_told(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks whether the service lives gets 503 then, with a reason."""
    monkeypatch.setattr(monitoring, "_TURN_SECONDS", 0.01)
    commands = monitoring.MonitoringCommands(
        watched.bench.supervisor,
        cast("Pool", watched.pool),
        cast("StatusBoard", None),
        cast("CharmPackages", None),
        cast("Telling", None),
    )
    with pytest.raises(LoopStandsStill, match="has taken no turn") as told:
        asyncio.run(commands.check_alive())
    assert 503 == status_of(told.value)
