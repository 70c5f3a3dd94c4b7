"""Promises of the page about reliability: its figures are sums of runs that found nothing wrong."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.reliability_record import Record, Simulated, beaten, read, simulated, write
from tests.reliability_report import (
    BEGIN,
    DATA,
    END,
    PAGE,
    PART_SEEDS,
    Reporter,
    Wanted,
    commit_of,
    rows,
    table,
    with_figures,
)
from tests.simulation.__main__ import Summary, as_json
from tests.soak.gauges import Reading, limits
from tests.soak.report import SoakReport

ROOT = Path(__file__).parents[2]

SOAK = SoakReport(
    seed=0,
    seconds=90.0,
    faults={"kill": 2, "stop": 1},
    kills=2,
    restarts=3,
    runs_checked=4,
    events_checked=5,
    refusals_checked=9,
    answers_checked=6,
    refreshes_checked=0,
    notices_taken=0,
    sign_ins=0,
    highest=Reading(1024 * 1024, 0, 0, 7, 8),
    limits=limits(10),
    violations=(),
)


class Programs:
    """The simulation and the kill loop; the seeds in `finds` violate something."""

    def __init__(self, *, hours_of_a_seed: float = 2.0, kills_of_a_loop: int = 2) -> None:
        self.calls: list[tuple[str, dict[str, float]]] = []
        self.finds: set[int] = set()
        self._hours, self._kills = hours_of_a_seed, kills_of_a_loop

    def __call__(self, module: str, *arguments: str) -> dict[str, Any] | None:
        given = {name: float(value) for name, value in map(_flag, arguments)}
        self.calls.append((module, given))
        if module == "tests.soak":
            report = replace(SOAK, seed=int(given["seed"]), kills=self._kills)
            return dict(json.loads(report.to_json()))
        first, count = int(given["first"]), int(given["seeds"])
        if self.finds & set(range(first, first + count)):
            return None
        return dict(
            json.loads(as_json(Summary(seeds=count, simulated_hours=self._hours * count, lives=5)))
        )

    def asked(self, module: str) -> Iterator[dict[str, float]]:
        """What a program was asked for, call by call."""
        return (given for name, given in self.calls if name == module)


def _flag(argument: str) -> tuple[str, str]:
    name, _, value = argument.removeprefix("--").partition("=")
    return name, value


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Places of the data and of a page that has no figures yet."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    return tmp_path / "data.json", page


def figures(files: tuple[Path, Path]) -> str:
    """What stands between the marks of the page."""
    return files[1].read_text().partition(BEGIN)[2].partition(END)[0].strip()


def test_figures_are_those_of_both_programs(files: tuple[Path, Path]) -> None:
    """What the programs count is what is shown, each under its name."""
    assert Reporter(*files, "abc", Programs()).add_up(Wanted(seeds=1000, minutes=10))

    shown = dict(rows(read(files[0])))
    assert "1,000" == shown["simulation: seeds"]
    assert "2,000" == shown["simulation: simulated hours"]
    assert "3" == shown["kill loop: blows"]
    assert shown["kill loop: most database bytes, of what is allowed"].startswith("1.0 MB of ")
    assert table(read(files[0])) == figures(files)


def test_calls_add_up_and_no_seed_comes_twice(files: tuple[Path, Path]) -> None:
    """A call goes on with seeds and blows that nobody had, whatever commit it is of."""
    programs = Programs()
    for commit in ("abc", "abc", "def"):
        assert Reporter(*files, commit, programs).add_up(Wanted(seeds=500, minutes=25))

    simulations = [
        (int(one["first"]), int(one["seeds"])) for one in programs.asked("tests.simulation")
    ]
    assert all(first + count == after for (first, count), (after, _) in pairwise(simulations))
    assert (0, 1500) == (simulations[0][0], sum(count for _, count in simulations))
    assert list(range(9)) == [one["seed"] for one in programs.asked("tests.soak")]
    assert [("abc", 0, 1000), ("def", 1000, 500)] == [
        (one.commit, one.first_seed, one.seeds) for one in read(files[0]).simulations
    ]
    for commit, seeds, kills in (("abc", "1,000", 12), ("def", "500", 6)):
        (line,) = (line for line in figures(files).splitlines() if line.startswith(f"| {commit} "))
        assert [seeds, f"{kills}"] == [line.split(" | ")[place] for place in (2, 4)]


def test_so_much_in_all(files: tuple[Path, Path]) -> None:
    """Hours and KILLs that are there already are not made again."""
    programs = Programs()
    wanted = Wanted(simulated_hours=2.0 * 3 * PART_SEEDS, kills=6)
    assert Reporter(*files, "abc", programs).add_up(wanted)
    assert (3, 3) == tuple(
        len(list(programs.asked(module))) for module in ("tests.simulation", "tests.soak")
    )
    assert Reporter(*files, "abc", programs).add_up(wanted)
    assert 6 == len(programs.calls)


def test_kill_loops_at_once_have_blows_of_their_own(files: tuple[Path, Path]) -> None:
    """Each has its own seed, and all of them count once all are over."""
    programs = Programs()
    assert Reporter(*files, "abc", programs).add_up(Wanted(kills=12, loops=3))

    assert set(range(6)) == {one["seed"] for one in programs.asked("tests.soak")}
    assert list(range(6)) == [one.seed for one in read(files[0]).kill_loops]


def test_what_is_violated_is_not_added_and_comes_again(files: tuple[Path, Path]) -> None:
    """Parts before it are kept; the next call begins with the same seeds."""
    programs = Programs()
    programs.finds = {PART_SEEDS + 1}
    wanted = Wanted(seeds=3 * PART_SEEDS, minutes=10)
    assert not Reporter(*files, "abc", programs).add_up(wanted)
    assert PART_SEEDS == read(files[0]).next_seed
    assert [] == list(programs.asked("tests.soak"))

    programs.finds = set()
    assert Reporter(*files, "def", programs).add_up(wanted)
    firsts = [one["first"] for one in programs.asked("tests.simulation")]
    assert [0, PART_SEEDS, PART_SEEDS] == firsts[:3]


def test_seeds_that_are_counted_are_not_counted_again() -> None:
    """Two that were simulated at the same time by mistake are one."""
    part = simulated("abc", "2026-11-30", 0, asdict(Summary(seeds=10)))
    blows = beaten("abc", "2026-11-30", asdict(SOAK))
    record = Record().with_simulation(part).with_kill_loop(blows)
    with pytest.raises(ValueError, match="seed 9 was simulated before"):
        record.with_simulation(msgspec.structs.replace(part, first_seed=9))
    with pytest.raises(ValueError, match="the blows of seed 0 were dealt before"):
        record.with_kill_loop(blows)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Nothing of a part is lost on its way to the file and back."""
    part = simulated("abc", "2026-11-30", 0, asdict(Summary(seeds=10)))
    record = (
        Record().with_simulation(part).with_kill_loop(beaten("abc", "2026-11-30", asdict(SOAK)))
    )
    write(tmp_path / "data.json", record)
    assert record == read(tmp_path / "data.json")
    assert Record() == read(tmp_path / "none.json")


@pytest.mark.parametrize(
    "changes", [{"commit": "def"}, {"date": "2026-12-01"}, {"first_seed": 11}], ids=str
)
def test_only_more_of_the_same_is_one_part(changes: dict[str, Any]) -> None:
    """Another commit, another day and a gap between the seeds stay apart in the file."""
    one = simulated("abc", "2026-11-30", 0, asdict(Summary(seeds=10, lives=1)))
    more = msgspec.structs.replace(one, first_seed=10, seeds=5)

    def simulations(part: Simulated) -> tuple[Simulated, ...]:
        return Record().with_simulation(one).with_simulation(part).simulations

    (both,) = simulations(more)
    assert (0, 15, 2) == (both.first_seed, both.seeds, both.lives)
    assert 2 == len(simulations(msgspec.structs.replace(more, **changes)))


def test_a_changed_checkout_has_a_plus(tmp_path: Path) -> None:
    """What was not committed is told apart, but for the page and its data."""

    def git(*arguments: str) -> None:
        who = ("-c", "user.name=tester", "-c", "user.email=tester@example.org")
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True)

    (tmp_path / "docs").mkdir()
    (tmp_path / "setup.cfg").write_text("old")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message=first")
    commit = commit_of(tmp_path)
    (tmp_path / "docs" / "reliability.json").write_text("{}")
    assert commit == commit_of(tmp_path)
    (tmp_path / "setup.cfg").write_text("new")
    assert f"{commit}+" == commit_of(tmp_path)


def test_only_the_figures_are_replaced() -> None:
    """Around the marks a page stays as it is; without marks nothing is written."""
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert f"before\n{BEGIN}\nnew\n{END}\nafter\n" == with_figures(page, "new")
    with pytest.raises(ValueError, match="has no lines"):
        with_figures("no marks", "new")


def test_the_page_shows_what_is_kept() -> None:
    """The figures of the page are those of the data beside it, and there are some of each kind."""
    record = read(DATA)
    assert table(record) == PAGE.read_text().partition(BEGIN)[2].partition(END)[0].strip()
    assert record.simulated_hours > 0
    assert record.kills > 0


def test_the_data_has_no_seed_twice() -> None:
    """Each seed of a world and of blows counts once."""
    record = read(DATA)
    seeds = [seed for one in record.simulations for seed in range(one.first_seed, one.end)]
    blows = [one.seed for one in record.kill_loops]
    assert sorted(set(seeds)) == sorted(seeds)
    assert sorted(set(blows)) == sorted(blows)


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
