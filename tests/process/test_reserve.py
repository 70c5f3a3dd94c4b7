"""The worker in reserve: there before anybody needs it, and renewed by whoever is idle."""

from __future__ import annotations

from pathlib import Path

from tests.process.program import wait_until
from tests.process.running import Service


def test_each_space_finds_a_worker_in_reserve(tmp_path: Path) -> None:
    """With one run at a time, each space's first run gets the reserve, and another takes its place.

    There are never more processes than one more than runs at a time.
    """
    with Service(tmp_path / "data", "--interval=3600", "--max-concurrent=1") as service:
        charms = [service.add(space=f"space {number}") for number in range(4)]
        for charm in charms:
            reserve = wait_until(lambda: _in_reserve(service))
            assert charm.run()["worker"] in reserve


def test_status_says_what_is_in_reserve(tmp_path: Path) -> None:
    """A worker that has served a space is in reserve no more; the command says how many are."""
    with Service(tmp_path / "data", "--interval=3600", "--max-concurrent=1") as service:
        assert 2 == len(wait_until(lambda: _in_reserve(service, least=2)))
        used = service.add().run()["worker"]
        (spare,) = wait_until(lambda: _in_reserve(service))
        assert spare != used
        assert "0 busy of 2, 1 in reserve" in service.cli("status").stdout


def _in_reserve(service: Service, least: int = 1) -> list[int]:
    """The processes in reserve, once there are so many, and none is being replaced."""
    status = service.status()
    assert status["workers_total"] <= 2
    states = [worker["state"] for worker in status["workers"]]
    if states != ["idle", "idle"]:
        return []
    found = [worker["pid"] for worker in status["workers"] if worker["in_reserve"]]
    assert len(found) == status["workers_in_reserve"]
    return found if len(found) >= least else []
