"""Promises of the benchmarks' arithmetic and tables; what they measure is a matter of machines."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import picture, report, results
from benchmarks.machine import Machine
from benchmarks.profiling import WAITING, shares
from benchmarks.results import Result, Results
from benchmarks.rows import Asked, Bound, Row, over_rounds, percentile
from benchmarks.sampling import Sample, Unmeasurable, rate, rate_between
from benchmarks.saturation import MOST, Demand
from benchmarks.scenarios import TITLES

ROOT = Path(__file__).parents[2]
HERE = Machine("a processor", 2, 4, "Linux 6", "3.11.7", "3.45.0", "ext4")
FIGURES = st.floats(min_value=0, max_value=1e9, allow_nan=False)


def result(*rows: Row, scenario: str = "idle", date: str = "2026-11-22") -> Result:
    """Make the result of a scenario."""
    return Result(scenario, date, "abc", 12.0, 3, False, 0.4, {"huey": "3"}, rows)


def samples(*counts: float) -> list[Sample]:
    """Make readings of a counter, one a second."""
    return [Sample(float(at), int(count)) for at, count in enumerate(counts)]


@pytest.mark.parametrize(
    ("bound", "value", "verdict"),
    [
        ("at least", 9.9, "not met"),
        ("at least", 10, "met"),
        ("at most", 10, "met"),
        ("at most", 10.1, "not met"),
        ("under", 9.9, "met"),
        ("under", 10, "not met"),
    ],
)
def test_verdicts(bound: Bound, value: float, verdict: str) -> None:
    """A value on the bound meets `at least` and `at most`, and not `under`."""
    assert verdict == Row("x", value, "ms", asked=Asked(bound, 10)).verdict


def test_nothing_asked_for_is_no_verdict() -> None:
    """A row of which nothing was asked is neither met nor missed."""
    assert "" == Row("x", 1, "ms").verdict


@given(st.lists(FIGURES, min_size=1))
def test_rounds_become_their_median_with_its_limits(values: list[float]) -> None:
    """The row of several rounds has a value between the least and the most of them."""
    row = over_rounds("x", values, "/s")

    assert row.low == min(values)
    assert row.high == max(values)
    assert row.low <= row.value <= row.high


@given(st.lists(FIGURES, min_size=1), st.integers(min_value=1, max_value=100))
def test_percentiles_are_values_that_were_measured(values: list[float], percent: int) -> None:
    """A percentile is one of the values, at least so many percent of which do not exceed it."""
    found = percentile(values, percent)

    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100


def test_percentiles_of_a_hundred() -> None:
    """The 50th, 95th and 99th of a hundred values are the ones at these places."""
    values = list(range(1, 101))

    assert (50, 95, 99, 100) == tuple(percentile(values, each) for each in (50, 95, 99, 100))


def test_no_percentile_of_nothing() -> None:
    """Where nothing was measured, no number is made up."""
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)


def test_a_rate_is_growth_by_time() -> None:
    """What was counted before the first reading is no part of a rate."""
    assert 100 == rate(samples(500, 600, 700))


def test_a_rate_ends_with_the_work() -> None:
    """The time after the last task was over does not make a rate smaller."""
    assert 100 == rate(samples(0, 100, 200, 250, 250), total=250)


@pytest.mark.parametrize("counts", [(), (5,), (250, 250)])
def test_work_that_is_over_at_once_has_no_rate(counts: tuple[int, ...]) -> None:
    """Too few readings while there was work are no rate, and are said to be none."""
    with pytest.raises(Unmeasurable):
        rate(samples(*counts), total=250)


def test_rates_of_parts() -> None:
    """The rate of a part begins and ends where the counter passed its numbers."""
    slower = samples(0, 100, 200, 250, 300, 350)

    assert 100 == rate_between(slower, 50, 150)
    assert 50 == rate_between(slower, 250, 350)


@pytest.mark.parametrize(("first", "last"), [(0, 400), (300, 100), (100, 100)])
def test_no_rate_of_parts_that_are_not_there(first: int, last: int) -> None:
    """A part that was never reached, or has no length, has no rate."""
    with pytest.raises(Unmeasurable):
        rate_between(samples(0, 100, 200, 300), first, last)


@given(st.floats(min_value=10, max_value=1e5), st.floats(min_value=10, max_value=1e5))
def test_the_search_for_a_demand_ends(capacity: float, hoped: float) -> None:
    """Whatever a service can do, the search ends with one that keeps it busy, not far above it."""
    demand = Demand(hoped)
    for _ in range(100):
        done = min(capacity, demand.per_second)
        following = demand.after(done, is_busy=demand.per_second > capacity)
        if following == demand:
            break
        demand = following

    assert capacity < demand.per_second <= capacity * MOST


def test_a_demand_that_is_too_small_is_doubled() -> None:
    """A service that sometimes has nothing to do is asked for twice as much."""
    assert Demand(200, 100) == Demand(100).after(100, is_busy=False)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (16_712.4, "/s", "16,712 /s"),
        (123.4, "ms", "123 ms"),
        (12.34, "ms", "12.3 ms"),
        (1.234, "times", "1.23 times"),
        (0.01234, "%", "0.0123 %"),
        (0, "bytes", "0 bytes"),
        (3, "", "3"),
        (-2.5, "ms", "-2.50 ms"),
    ],
)
def test_numbers_are_short(value: float, unit: str, text: str) -> None:
    """A number has the digits that say something, and its unit."""
    assert text == report.shown(value, unit)


@given(st.floats(min_value=1e-3, max_value=1e9))
def test_numbers_are_true(value: float) -> None:
    """What is written is off by less than a hundredth."""
    assert math.isclose(value, float(report.shown(value).replace(",", "")), rel_tol=0.01)


def test_a_line_says_what_was_asked() -> None:
    """On a terminal a row has its value, its spread, what was asked for and the verdict."""
    told = report.line(over_rounds("rate", [1, 2, 3], "/s", asked=Asked("at least", 4)))

    assert "rate" in told
    assert "2 /s" in told
    assert "1 to 3" in told
    assert told.endswith("at least 4 /s: not met")


def test_the_page_has_every_row_of_every_scenario() -> None:
    """The page has a table for each scenario, with walls and notes, and the machine."""
    rows = (
        Row("lag", 7.5, "ms", asked=Asked("under", 5), walls="all walls", note="a | b"),
        Row("memory", 80, "MB"),
    )
    text = report.page(Results(HERE, {"idle": result(*rows)}), {"idle": "Idle", "growth": "Growth"})

    assert "### Idle" in text
    assert "| lag | 7.50 ms |  | under 5 ms | **not met** | all walls | a \\| b |" in text
    assert "| memory | 80 MB |  |  |  |  |  |" in text
    assert "a processor, 2 cores" in text
    assert "Growth" not in text


def test_sizes_to_try_things_out_are_told() -> None:
    """Figures of a quick run are not taken for others."""
    quick = Result("idle", "2026-11-22", "abc", 1.0, 1, True, 0.4, {}, (Row("lag", 1, "ms"),))

    assert "nothing to compare" in report.page(Results(HERE, {"idle": quick}), TITLES)


def test_readme_has_what_was_asked_for_and_who_was_compared() -> None:
    """The short table leaves out what nobody asked for, and keeps the others of the picture."""
    rows = (
        Row("lag", 4, "ms", asked=Asked("under", 5)),
        Row("memory", 80, "MB"),
        Row("huey", 3000, "/s", picture="throughput"),
    )
    text = report.short_table(Results(HERE, {"idle": result(*rows)}), {"idle": "Idle"}, "docs/b")

    assert "| lag | 4 ms |  | under 5 ms | met |" in text
    assert "| huey | 3,000 /s |  |  |  |" in text
    assert "memory" not in text
    assert f"(docs/b/{report.PICTURE})" in text


def test_no_picture_of_nothing() -> None:
    """A part that draws nothing leads to no picture that is not there."""
    alone = Results(HERE, {"idle": result(Row("lag", 4, "ms", asked=Asked("under", 5)))})

    assert report.PICTURE not in report.page(alone, TITLES)
    assert report.PICTURE not in report.short_table(alone, TITLES, "docs/b")


@pytest.mark.parametrize("page", ["README.md", "docs/benchmarks/README.md"])
def test_the_pages_have_a_place_for_figures(page: str) -> None:
    """What `make bench` writes replaces what is between the marks, and nothing else."""
    text = (ROOT / page).read_text()

    written = report.between_marks(text, "new figures")

    assert "\nnew figures\n" in written
    assert written == report.between_marks(report.between_marks(text, "other"), "new figures")
    before, _, after = text.partition(report.BEGIN)
    assert written.startswith(before)
    assert written.endswith(after.partition(report.END)[2])


def test_a_page_without_marks_is_left_alone() -> None:
    """Figures are never written over a page that has no place for them."""
    with pytest.raises(ValueError, match="no lines"):
        report.between_marks("# A page\n", "figures")


def test_every_scenario_is_described() -> None:
    """The page about benchmarks names each scenario, and each can be imported by its name."""
    text = (ROOT / "docs" / "benchmarks" / "README.md").read_text()

    files = {file.stem for file in (ROOT / "benchmarks" / "scenarios").glob("[a-z]*.py")}
    assert files == set(TITLES)
    assert [] == [name for name in TITLES if f"| `{name}` |" not in text]


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    """What is kept is what was measured, as JSON that other programs can read."""
    file = tmp_path / "new" / "results.json"
    kept = Results(
        HERE, {"idle": result(over_rounds("lag", [1, 2], "ms", asked=Asked("under", 5)))}
    )

    results.write(file, kept)

    assert kept == results.read(file)
    assert 1.5 == json.loads(file.read_text())["scenarios"]["idle"]["rows"][0]["value"]


def test_nothing_is_kept_at_first(tmp_path: Path) -> None:
    """Without a file there are no older results."""
    assert results.read(tmp_path / "results.json") is None


def test_a_part_replaces_its_own_figures() -> None:
    """Newer results of one scenario leave those of the others alone."""
    older = Results(HERE, {"idle": result(), "scale": result(scenario="scale")})
    newer = result(date="2026-12-24")

    merged = older.with_new(Results(HERE, {"idle": newer}))

    assert {"idle": newer, "scale": result(scenario="scale")} == merged.scenarios


def test_figures_of_another_machine_go() -> None:
    """Results of two machines never stand beside each other."""
    elsewhere = Machine("another", 64, 256, "Linux 6", "3.11.7", "3.45.0", "xfs")
    older = Results(elsewhere, {"scale": result(scenario="scale")})

    assert {"idle"} == set(older.with_new(Results(HERE, {"idle": result()})).scenarios)


def test_the_picture_has_a_bar_for_each_row() -> None:
    """Bars are as long as their values say, the longest first; names may hold any character."""
    rows = [over_rounds("others & <more>", [50, 100, 150], "/s"), Row("ours", 200, "/s")]

    root = ElementTree.fromstring(picture.draw(rows, "Title"))  # noqa: S314 -- our own text

    name = "{http://www.w3.org/2000/svg}"
    widths = [float(bar.attrib["width"]) for bar in root.iter(f"{name}rect")]
    texts = [text.text for text in root.iter(f"{name}text")]
    assert widths == pytest.approx([widths[0], widths[0] / 2])
    assert ["Title", "ours", "200 /s", "others & <more>", "100 /s"] == texts


def test_profiles_say_what_takes_most() -> None:
    """A function has its own share of the samples, and that of what it called, once a sample.

    Waiting for something to do is no part of it.
    """
    frames = [{"name": "main", "file": "/x/a.py"}, {"name": "work"}, {"name": WAITING[0]}]
    profile: dict[str, Any] = {
        "shared": {"frames": frames},
        "profiles": [
            {"samples": [[0], [0, 1], [0, 1, 1]], "weights": [1, 1, 2]},
            {"samples": [[], [0, 2]], "weights": [4, 4]},
        ],
    }

    found = shares(profile)

    assert [("work (?)", 3 / 4, 3 / 4), ("main (a.py)", 1 / 4, 1)] == [
        (one.function, one.own, one.total) for one in found
    ]
