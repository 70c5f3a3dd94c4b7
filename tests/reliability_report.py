"""Writes the figures of one full run into the page about reliability: `make reliability-report`.

Runs the simulation and the kill loop as programs, one after the other, and puts what they counted
between two marks of the page. Writes nothing when something was violated.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"

#: Between these two lines of the page stand the figures.
BEGIN = "<!-- figures: made by `make reliability-report` -->"
END = "<!-- end of figures -->"


def rows(simulation: Mapping[str, Any], soak: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Give what is shown, as names and values, from the JSON of both programs."""
    highest, limits = soak["highest"], soak["limits"]
    held = [
        (name.replace("_", " "), f"{shown(name, highest[name])} of {shown(name, limits[name])}")
        for name in highest
    ]
    return [
        ("simulation: seeds", f"{simulation['seeds']:,}"),
        ("simulation: simulated hours", f"{simulation['simulated_hours']:,.0f}"),
        ("simulation: lives of the service", f"{simulation['lives']:,}"),
        ("simulation: runs checked", f"{simulation['runs_checked']:,}"),
        ("simulation: violations", f"{simulation['violations']:,}"),
        ("kill loop: minutes", f"{soak['seconds'] / 60:.0f}"),
        ("kill loop: blows", f"{sum(soak['faults'].values()):,}"),
        ("kill loop: of them KILLs", f"{soak['kills']:,}"),
        ("kill loop: restarts of the service", f"{soak['restarts']:,}"),
        ("kill loop: runs checked", f"{soak['runs_checked']:,}"),
        ("kill loop: accepted events checked", f"{soak['events_checked']:,}"),
        ("kill loop: refused events checked", f"{soak['refusals_checked']:,}"),
        ("kill loop: violations", f"{len(soak['violations']):,}"),
        *((f"kill loop: most {name}, of what is allowed", value) for name, value in held),
    ]


def shown(name: str, value: int) -> str:
    """Write a measure: bytes as megabytes, anything else as a number."""
    return f"{value / 1024 / 1024:.1f} MB" if name.endswith("_bytes") else f"{value:,}"


def table(day: datetime.date, figures: list[tuple[str, str]]) -> str:
    """Write the figures of a day as they stand in the page."""
    lines = [f"Last full run: {day.isoformat()}.", "", "| figure | value |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in figures)])


def with_figures(page: str, figures: str) -> str:
    """Put figures between the marks of a page."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no lines {BEGIN!r} and {END!r}")
    return f"{before}{begin}\n{figures}\n{end}{after}"


def main() -> int:
    """Run both, and write the page; 1 when something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability_report", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="of the simulation (1000)")
    parser.add_argument("--minutes", type=float, default=30.0, help="of the kill loop (30)")
    given = parser.parse_args()
    simulation = _run("tests.simulation", f"--seeds={given.seeds}")
    soak = _run("tests.soak", f"--minutes={given.minutes:g}")
    if simulation is None or soak is None:
        return 1
    figures = table(datetime.datetime.now(datetime.UTC).date(), rows(simulation, soak))
    PAGE.write_text(with_figures(PAGE.read_text(), figures))
    print(figures)
    return 0


def _run(module: str, *arguments: str) -> dict[str, Any] | None:
    """Run a program to its end; gives its JSON, None when it found a violation."""
    command = [sys.executable, "-m", module, *arguments, "--json"]
    print("Running", *command[1:], file=sys.stderr, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(f"{module} ended with {done.returncode}:\n{done.stdout}", file=sys.stderr)
        return None
    told: dict[str, Any] = json.loads(done.stdout)
    return told


if __name__ == "__main__":
    sys.exit(main())
