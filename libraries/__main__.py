"""Tries libraries inside the walls: `make libraries`, or `make libraries ARGS=--only=pandas_table`.

A run of all of them is written into docs/libraries.md; any other is only printed.
"""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.machine import this_machine
from benchmarks.service_process import Failed
from libraries.catalogue import GROUPS, IN_THE_UNIT, NUMERIC, REFUSED, read_charm
from libraries.cost import RUNS as COST_RUNS
from libraries.cost import Cost, measure_cost
from libraries.many_processors import CannotPretend, Loaded, load_all
from libraries.measuring import Measured, measure_all
from libraries.report import Found, loaded_cell, page, row
from libraries.servers import servers
from libraries.unit import CannotBoot, run_in_the_unit

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "libraries.md"
PROGRAM = Path(sys.executable).with_name("bg-charm-service")

ALL = (*(name for group in GROUPS.values() for name in group), *REFUSED)

#: Need libraries that do not come with the service, and are skipped elsewhere.
TESTS = "tests/unit/test_shared_libraries.py"


@click.command()
@click.option("--only", multiple=True, type=click.Choice(ALL), help="A charm; may come again.")
@click.option("--unit/--no-unit", default=True, help="Run the first ten in the systemd unit too.")
@click.option("--many/--no-many", default=True, help="Load what computes on more processors too.")
def main(*, only: tuple[str, ...], unit: bool, many: bool) -> None:
    """Try libraries, and write what came of it."""
    names = only or ALL
    problems: list[str] = []
    # A disk, also where /tmp is memory.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as made:
        folder = Path(made)
        measured = _measured(names, folder, problems)
        cost = None if only else _cost(folder, problems)
        numeric = [name for name in NUMERIC if name in names] if many else []
        on_many = _on_many(numeric, folder, problems)
    in_the_unit = "It was left out."
    if unit:
        in_the_unit = _in_the_unit([name for name in IN_THE_UNIT if name in names], problems)
        click.echo(in_the_unit)
    if not only:
        _run_tests(problems)
        if cost is not None:
            found = Found(measured, _about(), in_the_unit, on_many, cost, COST_RUNS)
            PAGE.write_text(page(found))
    if problems:
        raise click.ClickException("Not as it should be:\n" + "\n".join(problems))


def _measured(names: Sequence[str], folder: Path, problems: list[str]) -> list[Measured]:
    """Run the charms, and show each line."""
    found = []
    with servers() as addresses:
        for one in measure_all([read_charm(name) for name in names], addresses, folder, PROGRAM):
            found.append(one)
            click.echo(row(one))
            if one.problem:
                problems.append(f"{one.charm.name}: {one.problem}")
    return found


def _cost(folder: Path, problems: list[str]) -> Cost | None:
    try:
        cost = measure_cost(folder, PROGRAM)
    except Failed as error:
        problems.append(str(error))
        return None
    click.echo(
        f"A handler of {cost.handler_ms:.2f} ms costs its worker {cost.worker_ms:.2f} ms "
        f"({cost.times:.2f} times), and the service {cost.service_ms:.2f} ms."
    )
    if cost.problem:
        problems.append(cost.problem)
    return cost


def _on_many(names: Sequence[str], folder: Path, problems: list[str]) -> list[Loaded] | str:
    """Load charms on more processors; gives a sentence where that was not tried."""
    if not names:
        return "They were left out."
    found = []
    try:
        for one in load_all([read_charm(name) for name in names], folder, PROGRAM, sys.executable):
            found.append(one)
            line = f"{one.charm.name}, {one.asked} of {one.processors} processors"
            click.echo(f"{line}: {loaded_cell(one)}")
            if one.problem:
                problems.append(f"{line}: {one.problem}")
    except (CannotPretend, Failed) as error:
        if isinstance(error, Failed):
            problems.append(str(error))
        return f"They could not be tried here: {error}."
    return found


def _in_the_unit(names: Sequence[str], problems: list[str]) -> str:
    try:
        failed = run_in_the_unit(names)
    except CannotBoot as error:
        return f"They could not be tried in the systemd unit here: {error}."
    if failed:
        problems += [f"in the unit: {one}" for one in failed]
        return f"In the unit these did not work: {'; '.join(failed)}."
    return (
        f"The first {len(names)} also ran in the systemd unit, as `make install-systemd` makes it."
    )


def _run_tests(problems: list[str]) -> None:
    """Run what tests have to say of libraries of others; none may be skipped here."""
    command = [sys.executable, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", "-rs", TESTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    click.echo(done.stdout.strip())
    if done.returncode or "skipped" in done.stdout:
        problems.append(f"{TESTS} did not pass as a whole: {done.stderr.strip()}")


def _about() -> str:
    when = datetime.datetime.now(datetime.UTC).date()
    machine = this_machine(ROOT)
    on = f"{machine.processor}, {machine.cores} cores, {machine.kernel}"
    return f"{on}, Python {machine.python}, {when}, load {os.getloadavg()[0]:.0f}"


if __name__ == "__main__":
    main()
