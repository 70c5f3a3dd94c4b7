"""Runs the scenarios: `make bench`, or `make bench ONLY=scale ARGS=--quick`.

Each scenario is a module of `scenarios/` with one function, `run`, which gives rows.
"""

from __future__ import annotations

import importlib
import shutil
import tempfile
import time
from pathlib import Path

import click

from benchmarks.bench import Bench
from benchmarks.populations import Populations
from benchmarks.profiling import Profiler
from benchmarks.rows import Row
from benchmarks.service_process import ROOT

SCENARIOS = (
    *("throughput", "scale", "waiting", "latency", "large_state", "idle", "growth", "isolation"),
)

#: Where data is kept: a disk, also where /tmp is memory.
FOLDER = "/var/tmp"  # noqa: S108 -- a folder of its own is made there, for this user only


@click.command()
@click.argument("only", nargs=-1, type=click.Choice(SCENARIOS))
@click.option("--quick", is_flag=True, help="Small and short: to try things out, not to compare.")
@click.option("--rounds", default=3, show_default=True, help="How often contenders take turns.")
@click.option("--sandbox", default="require", show_default=True, help="As the service's flag.")
@click.option("--runs", default=1_000_000, show_default=True, help="Of growth, at most.")
@click.option("--profile", is_flag=True, help="Show where the time goes, in one round.")
@click.option("--folder", default=FOLDER, show_default=True, help="Where data is kept.")
def main(
    *,
    only: tuple[str, ...],
    quick: bool,
    rounds: int,
    sandbox: str,
    runs: int,
    profile: bool,
    folder: str,
) -> None:
    """Measure the service, and show what was found beside what was asked for."""
    work = Path(tempfile.mkdtemp(prefix="bg-charm-bench-", dir=folder))
    # Servers of peers run as users of their own, below it.
    work.chmod(0o711)
    try:
        for name in only or SCENARIOS:
            bench = Bench(
                work,
                Populations(work),
                rounds=1 if profile or quick else rounds,
                sandbox=sandbox,
                runs=runs,
                is_quick=quick,
                profiler=Profiler(ROOT / "dist" / "profiles", name) if profile else None,
            )
            bench.say(f"{name} …")
            began = time.monotonic()
            scenario = importlib.import_module(f"benchmarks.scenarios.{name}")
            rows: list[Row] = scenario.run(bench)
            bench.say(f"{name} took {time.monotonic() - began:.0f} s")
            for row in rows:
                click.echo(f"{row.name:60} {row.value:12,.2f} {row.unit:6} {row.verdict}")
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
