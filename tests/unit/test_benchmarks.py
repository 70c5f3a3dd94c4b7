"""Promises of the benchmarks' arithmetic and tables; what they measure is a matter of machines."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import picture, report, results
from benchmarks.__main__ import main, rounds_of
from benchmarks.bench import Bench
from benchmarks.builds import FOLDER, Build, NoBuild, build_of, find_commit, unpack
from benchmarks.machine import Machine, how_built
from benchmarks.peers import servers
from benchmarks.populations import Populations
from benchmarks.profiling import WAITING, shares
from benchmarks.results import Result, Results
from benchmarks.rows import (
    Asked,
    Before,
    Bound,
    Row,
    Spread,
    compared,
    over_rounds,
    over_tables,
    percentile,
)
from benchmarks.sampling import Sample, Unmeasurable, rate, rate_between
from benchmarks.saturation import MOST, Demand
from benchmarks.scenarios import ROUNDS, TAKE_TURNS, TITLES
from benchmarks.scenarios.cost import order_of_turns, population_of
from benchmarks.scenarios.throughput import beside_huey
from benchmarks.turns import in_turns

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


def test_what_is_asked_beside_the_build_before() -> None:
    """It is the ratio that is judged, and nothing is where there is no build before."""
    asked = Asked("at least", 2.5, beside_before=True)
    alone = Row("rate", 9000, "/s", asked=asked)
    slower = replace(alone, before=compared([(9000, 4000)]))
    faster = replace(alone, before=compared([(9000, 3000)]))

    assert ["", "not met", "met"] == [one.verdict for one in (alone, slower, faster)]
    assert report.line(alone).endswith("at least 2.50 times before")
    assert report.line(faster).endswith("at least 2.50 times before: met")
    readme = report.short_table(Results(HERE, {"idle": result(slower)}), {"idle": "Idle"}, "docs")
    assert "| rate | 9,000 /s; beside before 2.250 times |" in readme


@pytest.mark.parametrize(("flush_ms", "times"), [(0.02, 4), (0.06, 4), (0.061, 6), (5.0, 6)])
def test_more_is_asked_beside_huey_where_the_disk_is_slow(flush_ms: float, times: float) -> None:
    """Its consumer waits for the disk with each task, the service with each batch."""
    assert Asked("at least", times) == beside_huey(flush_ms)


@pytest.mark.parametrize(
    ("configured", "prefix", "built"),
    [
        ("'--enable-optimizations' '--with-lto'", "/opt/python", "built with PGO and LTO"),
        ("'--enable-optimizations'", "/usr", "built with PGO"),
        ("'--enable-shared'", "/usr", "of the system"),
        ("'--enable-shared'", "/root/.pyenv/versions/3.11.7", "built without PGO"),
    ],
)
def test_how_python_was_built_is_told(configured: str, prefix: str, built: str) -> None:
    """A profile makes Python a quarter faster; a distribution's does not say whether it has one."""
    assert built == how_built(configured, prefix)


def test_the_tables_name_interpreter_library_and_flush() -> None:
    """What a figure depends on stands beside it, in README too."""
    here = replace(HERE, built="built without PGO")
    quick, slow = (replace(result(Row("x", 1, "")), sync_ms=ms) for ms in (0.025, 0.0751))
    results_of_both = Results(here, {"idle": quick, "scale": slow})
    titles = {"idle": "Idle", "scale": "Scale"}

    for told in (
        report.page(results_of_both, titles),
        report.short_table(results_of_both, titles, ""),
    ):
        assert f"{here.python} (built without PGO)" in told
        assert here.sqlite in told
        assert "a flush takes 25 to 75 µs" in told


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


def test_builds_are_compared_round_by_round() -> None:
    """The ratio is the median of the rounds' own, not that of two medians, and has its limits."""
    beside = compared([(1.0, 2.0), (6.0, 3.0), (4.0, 4.0)])

    assert Before(Spread(3.0, 2.0, 4.0), Spread(1.0, 0.5, 2.0)) == beside


@given(st.lists(st.floats(min_value=1e-3, max_value=1e9), min_size=1))
def test_a_build_beside_itself_is_one(values: list[float]) -> None:
    """Where nothing differs the ratio is 1 in every round."""
    beside = compared([(value, value) for value in values])

    assert beside is not None
    assert Spread(1, 1, 1) == beside.ratio


def test_nothing_is_compared_with_nothing() -> None:
    """Without rounds of both there is no figure of the build before; with its 0, no ratio."""
    assert compared([]) is None
    assert Before(Spread(0, 0, 0), None) == compared([(3, 0), (0, 0)])
    assert Before(Spread(1, 0, 2), Spread(4, 4, 4)) == compared([(3, 0), (8, 2)])


def test_tables_of_rounds_become_one() -> None:
    """Rows are matched by their names; one that a build or a round lacks is compared without it."""
    asked = Asked("under", 5)
    this = [
        [Row("lag", 2, "ms"), Row("new", 7, "")],
        [Row("lag", 4, "ms", asked=asked, note="of the last"), Row("new", 9, "")],
    ]
    before = [[Row("lag", 1, "ms"), Row("gone", 3, "")], []]

    lag, new = over_tables(this, before)

    expected = Row("lag", 3, "ms", 2, 4, asked=asked, note="of the last")
    assert replace(expected, before=Before(Spread(1, 1, 1), Spread(2, 2, 2))) == lag
    assert Row("new", 8, "", 7, 9) == new


def bench_of(folder: Path, rounds: int, *, has_before: bool) -> Bench:
    """Make what a scenario is given, with a build before or without."""
    older = Bench(folder, Populations(folder), build=Build("abc1234", folder), rounds=rounds)
    before = older if has_before else None
    return Bench(folder, Populations(folder), before=before, rounds=rounds)


def scenario(met: list[str]) -> Callable[[Bench], list[Row]]:
    """Make a scenario that notes which builds it meets, and gives each another figure."""

    def run(bench: Bench) -> list[Row]:
        assert bench.before is None
        met.append(bench.build.name)
        return [Row("rate", 10.0 if bench.build.name == "abc1234" else 20.0, "/s")]

    return run


def test_builds_take_turns(tmp_path: Path) -> None:
    """In each round every build has its turn, and who is first changes."""
    met: list[str] = []

    (row,) = in_turns(bench_of(tmp_path, 3, has_before=True), scenario(met))

    this, other = "this service", "abc1234"
    assert [this, other, other, this, this, other] == met
    assert Before(Spread(10, 10, 10), Spread(2, 2, 2)) == row.before


def test_without_a_build_before_a_scenario_runs_once(tmp_path: Path) -> None:
    """Its rows are as the scenario made them."""
    met: list[str] = []

    assert [Row("rate", 20, "/s")] == in_turns(
        bench_of(tmp_path, 3, has_before=False), scenario(met)
    )
    assert ["this service"] == met


def test_services_take_short_turns() -> None:
    """One, other, other, one: what gets slower all the time slows both alike. Alone, one rests."""
    assert ["a", "b", "b", "a", "a", "b"] == list(order_of_turns(["a", "b"], 3))
    assert ["a", None, None, "a"] == list(order_of_turns(["a"], 2))


@pytest.mark.parametrize(("charms", "size"), [(1, 1), (50, 50), (150, 100), (20_000, 20_000)])
def test_charms_are_spread_over_spaces(charms: int, size: int) -> None:
    """A population has full spaces only, of a hundred charms where there are so many."""
    assert size == population_of(charms).size


def test_a_line_has_the_build_before() -> None:
    """On a terminal both figures stand beside each other, with the ratio and all spreads."""
    row = over_rounds("cost", [2, 3, 4], "ms", before=compared([(2, 2), (3, 2.97), (4, 5)]))
    told = " ".join(report.line(row).split())

    assert told == ("cost 3 ms 2 to 4 before 2.97 ms (2 to 5) 1.000 times (0.800 to 1.010)")


def test_the_page_has_the_build_before() -> None:
    """A scenario that took turns has columns for it; rows without a ratio leave them empty."""
    rows = (
        over_rounds("cost", [2, 4], "ms", before=compared([(2, 1), (4, 4)])),
        over_rounds("written", [0], "bytes", before=compared([(0, 0)])),
        Row("new", 7, ""),
    )
    turns = replace(result(*rows), before="abc1234")
    text = report.page(Results(HERE, {"idle": turns}), {"idle": "Idle"})

    assert "In turns with the build before, abc1234." in text
    assert "|  | measured | min to max | before | beside before | asked for |  | walls |  |" in text
    assert "| cost | 3 ms | 2 to 4 | 2.50 ms (1 to 4) | 1.500 times (1.000 to 2.000) |" in text
    assert "| written | 0 bytes | 0 to 0 | 0 bytes |  |" in text
    assert "| new | 7 |  |  |  |" in text
    assert {9 + 1} == {line.count("|") for line in text.splitlines() if line.startswith("| cost")}


def test_the_build_before_is_kept(tmp_path: Path) -> None:
    """The ratio with its spread can be read by programs; older results have none."""
    file = tmp_path / "results.json"
    row = over_rounds("lag", [1, 2], "ms", before=compared([(1, 2), (2, 2)]))
    kept = Results(HERE, {"idle": replace(result(row), before="abc1234")})

    results.write(file, kept)

    found = json.loads(file.read_text())["scenarios"]["idle"]
    assert kept == results.read(file)
    assert {"median": 0.75, "low": 0.5, "high": 1.0} == found["rows"][0]["before"]["ratio"]
    assert results.read(ROOT / "docs" / "benchmarks" / "results.json") is not None


def test_rounds_are_those_asked_for() -> None:
    """Without a wish a quick run has one round, as has a scenario of minutes; some need more."""
    assert 3 == rounds_of("idle", None, is_quick=False)
    assert 1 == rounds_of("growth", None, is_quick=False)
    assert 10 == rounds_of("cost", None, is_quick=False)
    assert 1 == rounds_of("cost", None, is_quick=True)
    assert 4 == rounds_of("cost", 4, is_quick=True)
    assert TAKE_TURNS | set(ROUNDS) <= set(TITLES)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make a repository with one commit, and a change that is not in it."""
    folder = tmp_path / "checkout"
    (folder / "bin").mkdir(parents=True)
    program = folder / "bin" / "bg-charm-service"
    program.write_text("committed")
    (folder / "README.md").write_text("committed")
    as_somebody = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=no")
    for command in (("init", "--quiet"), ("add", "."), (*as_somebody, "commit", "-qm", "first")):
        subprocess.run(["git", *command], cwd=folder, check=True)
    program.write_text("changed since")
    return folder


def test_a_build_has_what_was_committed(checkout: Path, tmp_path: Path) -> None:
    """Changes of the checkout are no part of a build, and its files go nowhere else."""
    unpack(find_commit("HEAD", checkout), tmp_path / "build", checkout)

    files = [file for file in (tmp_path / "build").rglob("*") if file.is_file()]
    assert ["committed"] * 2 == [file.read_text() for file in files]


def test_a_build_that_is_there_is_used_again(checkout: Path) -> None:
    """However the commit is named, its build is installed once."""
    commit = find_commit("HEAD", checkout)
    folder = checkout / FOLDER / commit
    folder.mkdir(parents=True)
    (folder / ".installed").touch()
    said: list[str] = []

    build = build_of(commit[:8], said.append, checkout)

    assert Build(commit[:7], folder / "bin" / "bg-charm-service") == build
    assert [] == said


@pytest.mark.parametrize("wanted", ["no-such-branch", "0123456", "--help", "", "HEAD:bin"])
def test_a_commit_that_is_not_there_is_said(checkout: Path, wanted: str) -> None:
    """A name that is no commit is refused in one line, whatever it looks like to git."""
    with pytest.raises(NoBuild, match=r"^This checkout has no commit '.*'\.$"):
        find_commit(wanted, checkout)


def test_a_copy_without_history_has_no_build(checkout: Path) -> None:
    """A folder below somebody else's checkout is not taken for its root."""
    with pytest.raises(NoBuild, match="is no git checkout"):
        find_commit("HEAD", checkout / "bin")
    with pytest.raises(NoBuild, match="is no git checkout"):
        find_commit("HEAD", checkout.parent)


def test_git_is_needed(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without git it is said that git is missing."""
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(NoBuild, match="git is not installed"):
        find_commit("HEAD", checkout)


def test_a_commit_that_cannot_be_started_is_said(checkout: Path) -> None:
    """A commit without the program is refused before anything is installed."""
    subprocess.run(["git", "rm", "-qf", "bin/bg-charm-service"], cwd=checkout, check=True)
    author = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=no")
    empty = ("commit", "-qm", "none", "--allow-empty")
    subprocess.run(["git", *author, *empty], cwd=checkout, check=True)

    with pytest.raises(NoBuild, match="HEAD has no bin/bg-charm-service"):
        build_of("HEAD", lambda _: None, checkout)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["idle", "--before=no-such-commit"], "no-such-commit"),
        (["idle", "--before=HEAD", "--profile"], "leave out --before"),
        (["idle", "--rounds=0"], "--rounds"),
    ],
)
def test_wrong_wishes_are_refused_at_once(flags: list[str], words: str) -> None:
    """Nothing is measured, and the last line says what is wrong."""
    refused = CliRunner().invoke(main, flags)

    assert refused.exit_code in {1, 2}
    assert words in refused.output.splitlines()[-1]


def test_a_server_that_cannot_be_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is not root, or has no packages of Debian, is told what is missing."""
    monkeypatch.setattr(servers, "find_redis", lambda: None)
    monkeypatch.setenv("PATH", "")
    said: list[str] = []

    assert "there is no redis-server here" in servers.provide_redis(said.append)
    assert [] == said


@pytest.mark.parametrize("kept", ["", "#!/bin/sh\nexit 0\n"])
def test_installing_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    """Debian's packages are told not to start their services, unless somebody else says so."""
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(servers, "POLICY", policy)
    if kept:
        policy.write_text(kept)

    with servers.starting_nothing():
        told = policy.read_text()
        answer = None if kept else subprocess.run([policy], check=False).returncode

    assert (kept, None) == (told, answer) if kept else answer == 101
    assert bool(kept) == policy.exists()
