"""Promises of the page about reliability: its figures are those of a run that found nothing."""

from __future__ import annotations

import datetime
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.reliability_report import BEGIN, END, PAGE, rows, table, with_figures
from tests.soak.gauges import Reading, limits
from tests.soak.report import SoakReport

ROOT = Path(__file__).parents[2]

SIMULATION = {
    "seeds": 1000,
    "simulated_hours": 2000.4,
    "lives": 5,
    "runs_checked": 6,
    "violations": 0,
}
SOAK = SoakReport(
    seed=1,
    seconds=90.0,
    faults={"kill": 2, "stop": 1},
    kills=2,
    restarts=3,
    runs_checked=4,
    events_checked=5,
    refusals_checked=9,
    answers_checked=6,
    highest=Reading(1024 * 1024, 0, 0, 7, 8),
    limits=limits(10),
    violations=(),
)


def test_figures_are_those_of_both_programs() -> None:
    """What the programs count is what is shown, each under its name."""
    shown = dict(rows(SIMULATION, asdict(SOAK)))
    assert "1,000" == shown["simulation: seeds"]
    assert "2,000" == shown["simulation: simulated hours"]
    assert "3" == shown["kill loop: blows"]
    assert shown["kill loop: most database bytes, of what is allowed"].startswith("1.0 MB of ")


def test_only_the_figures_are_replaced() -> None:
    """Around the marks a page stays as it is; without marks nothing is written."""
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert f"before\n{BEGIN}\nnew\n{END}\nafter\n" == with_figures(page, "new")
    with pytest.raises(ValueError, match="has no lines"):
        with_figures("no marks", "new")


def test_the_page_shows_a_run_without_violations() -> None:
    """The page has every figure of the report, and no violation among them."""
    found = PAGE.read_text().partition(BEGIN)[2].partition(END)[0].strip()
    lines = [line for line in found.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    shown = {name: value for name, value in cells if name != "figure"}
    expected = rows(SIMULATION, asdict(SOAK))
    assert [name for name, _ in expected] == list(shown)
    assert {"0"} == {value for name, value in shown.items() if name.endswith("violations")}
    day = datetime.date.fromisoformat(found.splitlines()[0].split()[-1].rstrip("."))
    assert table(day, list(shown.items())) == found


def test_limits_are_those_that_are_checked() -> None:
    """The limits that the page states are the ones that the kill loop holds."""
    allowed = limits(charms=0)
    text = PAGE.read_text()
    for value in (
        f"{allowed.wal_bytes // 1024**2} MB",
        f"{allowed.supervisor_memory_bytes // 1024**2} MB",
        f"{allowed.supervisor_descriptors} descriptors",
        f"{allowed.processes} processes",
    ):
        assert value in text, value


def test_readme_states_the_promise_and_links_the_page() -> None:
    """Whoever reads README finds the promise, and where it is shown to hold."""
    readme = (ROOT / "README.md").read_text()
    assert "exactly once or not at all" in readme
    assert "(docs/reliability.md)" in readme
