"""Runs the scenarios: `make bench`, or `make bench ONLY=scale ARGS=--quick`.

With `BEFORE=COMMIT` the build of that commit takes turns with this one.

A run of everything at full size is written into docs/benchmarks and README; any other only when
asked to with --write.
"""

from __future__ import annotations

import datetime
import functools
import importlib
import shutil
import tempfile
import time
import traceback
from dataclasses import replace
from pathlib import Path

import click

from benchmarks import picture, report, results
from benchmarks.bench import Bench
from benchmarks.builds import THIS_BUILD, Build, NoBuild, build_of
from benchmarks.machine import commit, sync_ms, this_machine, versions
from benchmarks.populations import Populations
from benchmarks.profiling import Profiler
from benchmarks.results import Result, Results
from benchmarks.sampling import Unmeasurable
from benchmarks.scenarios import ROUNDS, TAKE_TURNS, TITLES
from benchmarks.service_process import ROOT, Failed
from benchmarks.turns import in_turns

#: Where data is kept: a disk, also where /tmp is memory.
FOLDER = "/var/tmp"  # noqa: S108 -- a folder of its own is made there, for this user only

#: How often contenders take turns, unless the scenario needs more.
DEFAULT_ROUNDS = 3

DOCS = ROOT / "docs" / "benchmarks"
PAGE = DOCS / "README.md"
README = ROOT / "README.md"


@click.command()
@click.argument("only", nargs=-1, type=click.Choice(tuple(TITLES)))
@click.option("--quick", is_flag=True, help="Small and short: to try things out, not to compare.")
@click.option("--write", is_flag=True, help="Write also what is only a part into the documents.")
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    help="How often contenders take turns. [3; cost: 10; scale, waiting, growth: 1]",
)
@click.option("--before", metavar="COMMIT", default="", help="Compare with the build of a commit.")
@click.option("--runs", default=1_000_000, show_default=True, help="Of growth, at most.")
@click.option("--minutes", default=5.0, show_default=True, help="Of growth, at most.")
@click.option(
    "--charms", type=click.IntRange(min=1), default=20_000, show_default=True, help="Of cost."
)
@click.option("--sandbox", default="require", show_default=True, help="As the service's flag.")
@click.option("--profile", is_flag=True, help="Show where the time goes, in one round.")
@click.option("--folder", default=FOLDER, show_default=True, help="Where data is kept.")
def main(
    *,
    only: tuple[str, ...],
    quick: bool,
    write: bool,
    rounds: int | None,
    before: str,
    runs: int,
    minutes: float,
    charms: int,
    sandbox: str,
    profile: bool,
    folder: str,
) -> None:
    """Measure the service, and show what was found beside what was asked for."""
    if before and profile:
        raise click.UsageError("A profile is that of this build: leave out --before.")
    try:
        older = build_of(before, functools.partial(click.echo, err=True)) if before else None
    except NoBuild as error:
        raise click.ClickException(str(error)) from error
    work = Path(tempfile.mkdtemp(prefix="bg-charm-bench-", dir=folder))
    # Servers of peers run as users of their own, below it.
    work.chmod(0o711)
    found: dict[str, Result] = {}
    failed = []
    try:
        populations = _populations(work / "this", THIS_BUILD)
        populations_before = _populations(work / "before", older) if older else None
        for name in only or TITLES:
            bench = Bench(
                work,
                populations,
                rounds=1 if profile else rounds_of(name, rounds, is_quick=quick),
                sandbox=sandbox,
                runs=runs,
                minutes=minutes,
                charms=charms,
                is_quick=quick,
                profiler=Profiler(ROOT / "dist" / "profiles", name) if profile else None,
            )
            if older and populations_before:
                other = replace(bench, build=older, populations=populations_before)
                bench = replace(bench, before=other)
            try:
                found[name] = _measure(name, bench)
            # The other scenarios are worth having all the same.
            except (Failed, Unmeasurable) as error:
                click.echo(f"{name} failed: {error}", err=True)
                failed.append(name)
            except Exception:
                click.echo(f"{name} failed:\n{traceback.format_exc()}", err=True)
                failed.append(name)
        if write or not (only or quick or profile or failed):
            _write(Results(this_machine(work), found))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if failed:
        raise click.ClickException(f"failed: {', '.join(failed)}")


def _populations(folder: Path, build: Build) -> Populations:
    """Give a build a folder for the data that it makes."""
    folder.mkdir()
    return Populations(folder, build)


def rounds_of(name: str, wanted: int | None, *, is_quick: bool) -> int:
    """Give how many rounds a scenario has: so many as are wanted, where somebody said so."""
    return wanted or (1 if is_quick else ROUNDS.get(name, DEFAULT_ROUNDS))


def _measure(name: str, bench: Bench) -> Result:
    """Run one scenario, and say what it gave."""
    click.echo(f"\n{TITLES[name]}{' (smaller: --quick)' if bench.is_quick else ''}")
    began = time.monotonic()
    run = importlib.import_module(f"benchmarks.scenarios.{name}").run
    rows = tuple(run(bench) if name in TAKE_TURNS else in_turns(bench, run))
    seconds = time.monotonic() - began
    for row in rows:
        click.echo(f"  {report.line(row)}")
    click.echo(f"  took {seconds:.0f} s", err=True)
    return Result(
        scenario=name,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        commit=commit(),
        seconds=seconds,
        rounds=bench.rounds,
        is_quick=bench.is_quick,
        sync_ms=sync_ms(bench.folder),
        versions=versions(),
        rows=rows,
        before=bench.before.build.name if bench.before else "",
    )


def _write(new: Results) -> None:
    """Put results into the documents."""
    older = results.read(DOCS / report.DATA)
    everything = older.with_new(new) if older else new
    results.write(DOCS / report.DATA, everything)
    if bars := report.bars(everything):
        drawn = picture.draw(bars, "Runs of a counter a second, two workers")
        (DOCS / report.PICTURE).write_text(drawn)
    tables = report.page(everything, TITLES)
    PAGE.write_text(report.between_marks(PAGE.read_text(), tables))
    short = report.short_table(everything, TITLES, "docs/benchmarks")
    README.write_text(report.between_marks(README.read_text(), short))
    click.echo(f"Written: {DOCS}, README.md", err=True)


if __name__ == "__main__":
    main()
