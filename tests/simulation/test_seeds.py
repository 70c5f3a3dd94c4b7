"""What must hold does hold, in every seed; a seed is the same each time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation.__main__ import Summary, replay_line
from tests.simulation.disk import Armed, Fault
from tests.simulation.simulate import simulate
from tests.simulation.world import World

ROOT = Path(__file__).parents[2]

#: The places in the service that commit, and the command that gets there.
POINTS = {
    "open_service": "",
    "Supervisor.recover": "",
    "Supervisor._commit": "",
    "Supervisor.stop_now": "",
    "MaintenanceCycle.cleanup": "",
    "IntegrationScans._plan_anew": "list",
    "CharmCommands.add_many": "add",
    "UpdateCommands.update_source": "update",
    "UpdateCommands.set_field": "set_note",
    "PollingCommands.register": "register",
    "PollingCommands.unregister": "unregister",
    "PollingCommands.enable": "enable",
    "PollingCommands.disable": "disable",
    "PollingCommands.set_interval": "set_interval",
    "PollingCommands.send": "send",
    "PollingCommands.run_now": "run_now",
    "CharmCommands.remove": "remove",
}

FAULTS = (Fault.KILL_BEFORE, Fault.KILL_AFTER, Fault.COMMIT_LIES)


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_seeds_hold(first: int) -> None:
    """Twenty worlds, each with faults of its own: no invariant is broken in any of them."""
    summary = Summary()
    failed = []
    for seed in range(first, first + 20):
        report = simulate(seed)
        summary.add(report)
        failed += [replay_line(report)] if report.violations else []

    assert [] == failed
    assert summary.runs_checked > 200
    assert summary.faults > 100


@pytest.mark.parametrize("point", POINTS)
def test_commit_point_may_be_the_last(point: str) -> None:
    """The service may die at any of its commits, before and after it, or be lied to about it."""
    wanted = {fault: f"{fault}: {point}" for fault in FAULTS}

    def prepare(world: World) -> None:
        world.favourite = POINTS[point]
        struck = world.disk.struck
        world.disk.armed += [
            Armed(fault, 0, point) for fault, name in wanted.items() if not struck[name]
        ]

    met: Counter[str] = Counter()
    for seed in range(300):
        report = simulate(seed, prepare=prepare)
        assert [] == report.violations
        met += report.faults
        if all(met[f"disk: {name}"] for name in wanted.values()):
            return
    pytest.fail(f"{point} was not passed often enough")


def test_seed_is_the_same_in_another_process() -> None:
    """One line replays a seed: the same things happen, whatever the process and its hashes."""
    command = [sys.executable, "-m", "tests.simulation", "--seed", "7"]
    env = {**os.environ, "PYTHONHASHSEED": "1234"}
    printed = subprocess.run(
        command, cwd=ROOT, env=env, check=True, capture_output=True, text=True
    ).stdout

    assert simulate(7).digest == json.loads(printed)["digest"]
