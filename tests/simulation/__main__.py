"""The command line of the simulation: one seed again, or many at once, with a summary.

`make simulate SEED=123` replays one; `make simulate SEEDS=1000` runs the first thousand.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import zip_longest

from tests.simulation.simulate import simulate
from tests.simulation.world import Bug, Report


@dataclass(slots=True)
class Summary:
    """What many seeds come to."""

    seeds: int = 0
    simulated_hours: float = 0.0
    seconds: float = 0.0
    lives: int = 0
    runs_checked: int = 0
    executions: int = 0
    commands: int = 0
    faults: int = 0
    violations: int = 0
    failing_seeds: list[int] = field(default_factory=list)
    faults_by_kind: Counter[str] = field(default_factory=Counter)
    commit_points: Counter[str] = field(default_factory=Counter)

    def add(self, report: Report) -> None:
        """Count one seed."""
        self.seeds += 1
        self.simulated_hours += report.hours
        self.lives += report.lives
        self.runs_checked += report.runs_checked
        self.executions += report.executions
        self.commands += report.commands
        self.faults += report.faults.total()
        self.faults_by_kind += report.faults
        self.commit_points += report.commit_points
        if report.violations:
            self.violations += len(report.violations)
            self.failing_seeds.append(report.seed)


def replay_line(report: Report) -> str:
    """Say in one line what failed, and how to see it again."""
    return f"make simulate SEED={report.seed}  # {report.violations[0]}"


def as_json(figures: Report | Summary) -> str:
    """Give figures as JSON, without the log."""
    shown = {one.name: getattr(figures, one.name) for one in fields(figures) if one.name != "log"}
    return json.dumps(shown, indent=2)


def simulate_twice(seed: int, bug: Bug | None = None) -> Report:
    """Simulate a seed, and once more: where the two logs differ is a violation."""
    report, again = simulate(seed, bug), simulate(seed, bug)
    difference = first_difference(report.log, again.log)
    if difference:
        report.violations.append(difference)
    return report


def first_difference(log: list[str], again: list[str]) -> str:
    """Name the first line in which two logs differ; nothing for two that are the same."""
    for number, (one, other) in enumerate(zip_longest(log, again, fillvalue="the end"), start=1):
        if one != other:
            return f"not the same the second time: line {number} is {one!r}, then {other!r}"
    return ""


def run_seeds(seeds: Iterable[int], *, processes: int, twice_every: int = 1) -> Summary:
    """Simulate many seeds, one of so many twice, and print each that fails."""
    summary = Summary()
    began = time.monotonic()
    with ProcessPoolExecutor(processes) as pool:
        for report in pool.map(partial(_simulate, twice_every), seeds, chunksize=4):
            summary.add(report)
            if report.violations:
                print(replay_line(report), file=sys.stderr, flush=True)
    summary.seconds = time.monotonic() - began
    return summary


def _simulate(twice_every: int, seed: int) -> Report:
    """Simulate a seed, and once more if its number says so; gives what has to cross processes."""
    report = simulate(seed) if seed % twice_every else simulate_twice(seed)
    report.log.clear()
    return report


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; 1 when something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one seed")
    parser.add_argument("--seeds", type=int, default=300, help="how many seeds (300)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--processes", type=int, default=2, help="so many at once (2)")
    parser.add_argument(
        "--twice-every", type=int, default=1, help="simulate one seed of so many twice (1: each)"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    given = parser.parse_args(arguments)
    if given.seed is not None:
        report = simulate_twice(given.seed)
        print(as_json(report))
        return bool(report.violations)
    seeds = range(given.first, given.first + given.seeds)
    summary = run_seeds(seeds, processes=given.processes, twice_every=given.twice_every)
    if given.json:
        print(as_json(summary))
    else:
        print(
            f"{summary.seeds} seeds, {summary.simulated_hours:.0f} simulated hours in "
            f"{summary.seconds:.0f} s, {summary.runs_checked} runs checked, {summary.lives} lives, "
            f"{summary.commands} commands, {summary.faults} faults, "
            f"{summary.violations} violations"
        )
    return bool(summary.violations)


if __name__ == "__main__":
    sys.exit(main())
