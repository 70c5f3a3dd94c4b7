"""Shows results to people: tables for a page, the short one for README, lines for a terminal.

Measures and judges nothing. Used by the command line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from benchmarks.machine import Machine
from benchmarks.results import Result, Results
from benchmarks.rows import Row, Spread

#: Between these two lines of a page stands what is written here.
BEGIN = "<!-- benchmarks: made by `make bench` -->"
END = "<!-- end of benchmarks -->"

#: The picture beside the tables.
PICTURE = "throughput.svg"

#: Where the numbers of the tables are, for programs.
DATA = "results.json"


def shown(value: float, unit: str = "") -> str:
    """Write a value with three digits that say something, and its unit."""
    size = abs(value)
    if size >= 100 or value == int(value):
        number = f"{value:,.0f}"
    elif size >= 10:
        number = f"{value:.1f}"
    else:
        number = f"{value:.2f}" if size >= 1 else f"{value:.3g}"
    return f"{number} {unit}".strip()


def spread(row: Row) -> str:
    """Write the least and the most of the rounds."""
    if row.low is None or row.high is None:
        return ""
    return f"{shown(row.low)} to {shown(row.high)}"


def asked(row: Row) -> str:
    """Write what was asked for."""
    if row.asked is None:
        return ""
    if row.asked.beside_before:
        return f"{row.asked.bound} {shown(row.asked.value, 'times')} before"
    return f"{row.asked.bound} {shown(row.asked.value, row.unit)}"


def before(row: Row) -> str:
    """Write what the build before had."""
    return _with_spread(row.before.value, row.unit) if row.before else ""


def ratio(row: Row) -> str:
    """Write how many times as much as the build before it is, with the spread of the rounds."""
    return _with_spread(row.before.ratio, "times") if row.before and row.before.ratio else ""


def line(row: Row) -> str:
    """Write a row for a terminal."""
    told = [f"{row.name:58} {shown(row.value, row.unit):>16}  {spread(row):20}"]
    if row.before:
        told.append(f"before {before(row):32} {ratio(row):30}")
    told += [f"{asked(row)}: {row.verdict}".removesuffix(": ")] if row.asked else []
    return "  ".join(told).rstrip()


def page(results: Results, titles: Mapping[str, str]) -> str:
    """Write everything, as it stands in the page about benchmarks."""
    parts = [*_picture(results, ""), "\n".join(_machine(results))]
    for name, title in titles.items():
        result = results.scenarios.get(name)
        if result is not None:
            parts.append("\n".join(_section(title, result)))
    return "\n\n".join(parts)


def short_table(results: Results, titles: Mapping[str, str], folder: str) -> str:
    """Write what README shows: who was compared, and all that was asked for."""
    told = [line for picture in _picture(results, f"{folder}/") for line in (picture, "")]
    told += ["| | measured | min to max | asked for | |", "|---|---|---|---|---|"]
    for name, title in titles.items():
        result = results.scenarios.get(name)
        rows = [row for row in result.rows if row.asked or row.picture] if result else []
        told += [f"| **{title}** | | | | |"] if rows else []
        told += [_cells(row.name, *_figures(row, with_ratio=True)) for row in rows]
    machine = results.machine
    told += ["", f"{machine.processor}, {machine.cores} cores, {machine.kernel},"]
    told[-1] += f" {python(machine)}, SQLite {machine.sqlite}, {machine.file_system};"
    told[-1] += f" {flush(results)}."
    if before := {one.before for one in results.scenarios.values() if one.before}:
        told[-1] += f" In turns with the build before, {', '.join(sorted(before))}."
    return "\n".join(told)


def python(machine: Machine) -> str:
    """Write what runs all of it: how it was built makes a third of a difference."""
    return f"Python {machine.python}" + (f" ({machine.built})" if machine.built else "")


def flush(results: Results) -> str:
    """Write how long the disk took to have 4 kB for sure: in the quickest and slowest scenario.

    Where each task waits for the disk that is the limit, whoever runs it.
    """
    taken = [one.sync_ms * 1000 for one in results.scenarios.values()]
    low, high = (f"{moment:,.0f}" for moment in (min(taken, default=0), max(taken, default=0)))
    return f"a flush takes {low if low == high else f'{low} to {high}'} µs"


def between_marks(text: str, content: str) -> str:
    """Put something between the marks of a page; raises ValueError when it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no lines {BEGIN!r} and {END!r}")
    return f"{before}{begin}\n{content}\n{end}{after}"


def bars(results: Results) -> list[Row]:
    """Give the rows of the picture."""
    return [row for one in results.scenarios.values() for row in one.rows if row.picture]


def _with_spread(found: Spread, unit: str) -> str:
    """Write a median, with the least and the most where they differ: one round has no spread."""
    write = _ratio if unit == "times" else shown
    over = "" if found.low == found.high else f" ({write(found.low)} to {write(found.high)})"
    return f"{write(found.median)} {unit}".strip() + over


def _ratio(value: float) -> str:
    """Write a ratio so that one of 1.003 is told from 1."""
    return f"{value:.3f}" if value < 10 else shown(value)


def _picture(results: Results, folder: str) -> list[str]:
    return [f"![Runs a second beside others]({folder}{PICTURE})"] if bars(results) else []


def _machine(results: Results) -> Iterator[str]:
    machine = results.machine
    yield f"The same as numbers: [{DATA}]({DATA})."
    yield ""
    yield "| machine | |"
    yield "|---|---|"
    yield f"| processor | {machine.processor}, {machine.cores} cores |"
    yield f"| memory | {machine.memory_gb} GB |"
    yield f"| kernel, file system | {machine.kernel}, {machine.file_system} |"
    yield f"| Python, SQLite | {python(machine)}, {machine.sqlite} |"
    yield f"| disk | {flush(results)} |"


def _section(title: str, result: Result) -> Iterator[str]:
    rounds = "one round" if result.rounds == 1 else f"median of {result.rounds} rounds"
    quick = " **Sizes to try things out with: nothing to compare.**" if result.is_quick else ""
    turns = f" In turns with the build before, {result.before}." if result.before else ""
    yield f"### {title}"
    yield ""
    yield (
        f"{result.date}, commit {result.commit}, {result.seconds:.0f} s, {rounds} where min and max"
        f" are given; the disk took {shown(result.sync_ms, 'ms')} to have 4 kB for sure."
        f"{turns}{quick}"
    )
    if result.scenario == "throughput":
        told = ", ".join(f"{name} {version}" for name, version in result.versions.items())
        yield f"Versions: {told}."
    yield ""
    names = ["measured", "min to max", "asked for", "", "walls", ""]
    if result.before:
        names[2:2] = ["before", "beside before"]
    yield _cells("", *names)
    yield "|" + "---|" * (len(names) + 1)
    for row in result.rows:
        measured, over, wanted, verdict = _figures(row)
        beside = (before(row), ratio(row)) if result.before else ()
        yield _cells(row.name, measured, over, *beside, wanted, verdict, row.walls, row.note)


def _figures(row: Row, *, with_ratio: bool = False) -> tuple[str, ...]:
    verdict = f"**{row.verdict}**" if row.verdict == "not met" else row.verdict
    measured = shown(row.value, row.unit)
    if with_ratio and row.asked and row.asked.beside_before and ratio(row):
        measured += f"; beside before {ratio(row)}"
    return (measured, spread(row), asked(row), verdict)


def _cells(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
