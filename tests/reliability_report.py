"""Simulates and beats more, and writes the sum into the page about reliability.

`make reliability-report` goes on where the last one ended: with the first seed that nobody has
simulated, and with blows that nobody has dealt. Each part is kept in docs/reliability.json as soon
as it is over, with its commit, so a call that is stopped loses one part at most. A part in which
something is violated is not added: it is made again, with the same seeds, once that is mended.
"""

from __future__ import annotations

import argparse
import datetime
import fcntl
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.reliability_record import Record, beaten, builds, read, simulated, write

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"
DATA = ROOT / "docs" / "reliability.json"

#: Between these two lines of the page stand the figures.
BEGIN = "<!-- figures: made by `make reliability-report` -->"
END = "<!-- end of figures -->"

#: What a figure depends on; a commit has a plus where something of it was changed.
TESTED = (
    *("bg_charm_service", "integrations", "charms", "bin"),
    *("tests/simulation", "tests/soak", "tests/process", "setup.cfg", "constraints.txt"),
)

#: So many seeds are a part, and so many minutes of the kill loop.
PART_SEEDS, PART_MINUTES = 400, 10.0

#: One seed of so many is simulated twice, and both logs are compared to the last byte.
TWICE_EVERY = 10


def rows(record: Record) -> Iterator[tuple[str, str]]:
    """Give what is shown, as names and values."""
    worlds, loops = record.simulations, record.kill_loops
    yield "simulation: seeds", f"{record.seeds:,}"
    yield "simulation: simulated hours", f"{record.simulated_hours:,.0f}"
    yield "simulation: lives of the service", f"{sum(one.lives for one in worlds):,}"
    yield "simulation: things that went wrong", f"{sum(one.faults for one in worlds):,}"
    yield "simulation: commands", f"{sum(one.commands for one in worlds):,}"
    yield "simulation: runs checked", f"{sum(one.runs_checked for one in worlds):,}"
    yield "kill loop: minutes", f"{sum(one.seconds for one in loops) / 60:,.0f}"
    yield "kill loop: blows", f"{sum(one.blows for one in loops):,}"
    yield "kill loop: of them KILLs", f"{record.kills:,}"
    yield "kill loop: restarts of the service", f"{sum(one.restarts for one in loops):,}"
    yield "kill loop: runs checked", f"{sum(one.runs_checked for one in loops):,}"
    yield "kill loop: accepted events checked", f"{sum(one.events_checked for one in loops):,}"
    yield "kill loop: refused events checked", f"{sum(one.refusals_checked for one in loops):,}"
    for name in loops[-1].highest if loops else ():
        # The loop that came nearest to its limit: another commit may have had another one.
        most = max(loops, key=lambda one: one.highest.get(name, 0) / one.limits.get(name, 1))
        held = f"{shown(name, most.highest[name])} of {shown(name, most.limits[name])}"
        yield f"kill loop: most {name.replace('_', ' ')}, of what is allowed", held


def shown(name: str, value: int) -> str:
    """Write a measure: bytes as megabytes, anything else as a number."""
    return f"{value / 1024 / 1024:.1f} MB" if name.endswith("_bytes") else f"{value:,}"


def table(record: Record) -> str:
    """Write the figures as they stand in the page: the sums, then what each commit gave."""
    lines = ["| figure | value |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in rows(record)]
    lines += ["", "| commit | last on | seeds | simulated hours | KILLs | runs checked |"]
    lines += ["|---|---|---|---|---|---|"]
    for commit, date, part in builds(record):
        figures = (f"{part.seeds:,}", f"{part.simulated_hours:,.0f}", f"{part.kills:,}")
        cells = (commit, date, *figures, f"{part.runs_checked:,}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def with_figures(page: str, figures: str) -> str:
    """Put figures between the marks of a page."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no lines {BEGIN!r} and {END!r}")
    return f"{before}{begin}\n{figures}\n{end}{after}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """How much more, and how much in all: whichever is later ends it."""

    seeds: int = 0
    minutes: float = 0.0
    simulated_hours: float = 0.0
    kills: int = 0
    #: So many kill loops at once.
    loops: int = 1


#: Runs a program with arguments; gives what it printed as JSON, None when something was violated.
Run = Callable[..., dict[str, Any] | None]


class Reporter:
    """Adds parts to what is kept, and writes data and page after each."""

    def __init__(self, data: Path, page: Path, commit: str, run: Run) -> None:
        self._data, self._page = data, page
        self._commit = commit
        self._run = run
        self.record = read(data)

    def add_up(self, wanted: Wanted) -> bool:
        """Simulate and beat until it is enough; whether all held."""
        return self._simulate(wanted) and self._beat(wanted)

    def _simulate(self, wanted: Wanted) -> bool:
        until = self.record.next_seed + wanted.seeds
        while (left := until - self.record.next_seed) > 0 or (
            self.record.simulated_hours < wanted.simulated_hours
        ):
            first = self.record.next_seed
            size = min(left, PART_SEEDS) if left > 0 else PART_SEEDS
            seeds = (f"--first={first}", f"--seeds={size}", f"--twice-every={TWICE_EVERY}")
            found = self._run("tests.simulation", *seeds)
            if found is None:
                return False
            part = simulated(self._commit, _today(), first, found)
            self._keep(self.record.with_simulation(part))
        return True

    def _beat(self, wanted: Wanted) -> bool:
        minutes_left = wanted.minutes
        while minutes_left > 0 or self.record.kills < wanted.kills:
            minutes = min(minutes_left, PART_MINUTES) if minutes_left > 0 else PART_MINUTES
            loops = self._beat_at_once(minutes, wanted.loops)
            if None in loops:
                return False
            record = self.record
            for found in filter(None, loops):
                record = record.with_kill_loop(beaten(self._commit, _today(), found))
            self._keep(record)
            minutes_left -= minutes
        return True

    def _beat_at_once(self, minutes: float, count: int) -> list[dict[str, Any] | None]:
        """Run so many kill loops, each with a service of its own: they mostly wait."""
        first = self.record.next_blows
        with ThreadPoolExecutor(count) as threads:
            return list(
                threads.map(
                    lambda seed: self._run(
                        "tests.soak", f"--minutes={minutes:g}", f"--seed={seed}"
                    ),
                    range(first, first + count),
                )
            )

    def _keep(self, record: Record) -> None:
        self.record = record
        write(self._data, record)
        self._page.write_text(with_figures(self._page.read_text(), table(record)))


def main() -> int:
    """Add to what was run before, and write data and page; 1 when something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability_report", description=__doc__)
    parser.add_argument("--seeds", type=int, help="so many more worlds (1000)")
    parser.add_argument("--minutes", type=float, help="so much more of each kill loop (30)")
    parser.add_argument("--loops", type=int, default=2, help="so many kill loops at once (2)")
    parser.add_argument("--hours", type=float, help="until so much was simulated in all")
    parser.add_argument("--kills", type=int, help="until there were so many KILLs in all")
    given = parser.parse_args()
    is_in_all = given.hours is not None or given.kills is not None
    wanted = Wanted(
        _given(given.seeds, 0 if is_in_all else 1000),
        _given(given.minutes, 0.0 if is_in_all else 30.0),
        _given(given.hours, 0.0),
        _given(given.kills, 0),
        given.loops,
    )
    with DATA.with_suffix(".lock").open("w") as alone:
        try:
            fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another one is under way: it would take the same seeds.", file=sys.stderr)
            return 1
        reporter = Reporter(DATA, PAGE, commit_of(ROOT), _run)
        has_held = reporter.add_up(wanted)
    print(table(reporter.record))
    return 0 if has_held else 1


def commit_of(root: Path) -> str:
    """Name the commit of what is tested, with a plus where something of that was changed."""
    head = _git(root, "rev-parse", "--short=7", "HEAD").strip()
    return f"{head}+" if _git(root, "status", "--porcelain", "--", *TESTED).strip() else head


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _given(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _run(module: str, *arguments: str) -> dict[str, Any] | None:
    """Run a program to its end; gives its JSON, None when it found a violation."""
    command = [sys.executable, "-m", module, *arguments, "--json"]
    print("Running", *command[1:], file=sys.stderr, flush=True)
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(f"{module} ended with {done.returncode}:\n{done.stdout}", file=sys.stderr)
        return None
    told: dict[str, Any] = json.loads(done.stdout)
    return told


if __name__ == "__main__":
    sys.exit(main())
