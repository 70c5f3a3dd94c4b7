"""Puts the page of libraries together: a table for each group, and what else was tried."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from libraries.catalogue import GROUPS, NUMERIC, REFUSED
from libraries.cost import MOST_TIMES, Cost
from libraries.many_processors import ASKED, ASKED_OF, COUNTS, Loaded
from libraries.measuring import Measured

#: Where this was tried is nobody's business.
_PLACES = re.compile(rf"{re.escape(str(Path(__file__).parents[1]))}|/var/tmp/\w+")

_HEAD = """\
# Libraries

Made by `make libraries`: {count} small charms, each of which uses a library as one would, in a real
service with all walls up and the default limits. The charms are in `libraries/charms/`, the
versions in `libraries/requirements.txt`. The command fails where one of them does otherwise than
is told here.

- **First** and **later** are milliseconds of a run as its record has them: the first with the
  imports, and the middle one of the four after it. Between two runs the worker stays with its
  space, and what was imported with it.
- **Memory** is what the worker holds after the last run, of 512 MB that it may use. The worker
  itself holds about 20 MB.
- A library starts one thread, and sees one processor, unless the class asks for more:
  `limits = {{"processors": 2}}`.

{about}. {in_the_unit}
"""

_TABLE = """
## {title}

| library | version | use | works | first, ms | later, ms | memory, MB | to know |
|---|---|---|---|---|---|---|---|
"""

_REFUSED = """
## What cannot be done, and what is said of it

These charms fail, each by its cause; the error says what to do where anything can be done.

| library | version | use | cause | what the error says |
|---|---|---|---|---|
"""

_COST = """
## What a poll costs

A charm that imports pandas and works {handler:.1f} ms with it, {count} runs in one worker after the
first, in processor time: its worker spends {worker:.1f} ms on a run, {times:.2f} times its handler
(to be at most {most} times). The whole service spends {service:.1f} ms, with the request by which
a run was asked for, and the answer to it.
"""

_MANY = """
## On more processors

The same charms where the service and all that it starts believe to have more processors, by the
answers of the C library and the files of the kernel: what the worker has mapped for data after a
run, touched or not, in MB. A class has one processor of them; in the last column it asks for
{asked}.

| library | {counts} | {asked} of {asked_of} |
|---|{rule}---|
"""


@dataclass(frozen=True)
class Found:
    """All that was found out; `about` tells of the machine, the two after it of what was apart."""

    measured: Sequence[Measured]
    about: str
    in_the_unit: str
    on_many: Sequence[Loaded] | str
    cost: Cost
    runs: int


def page(found: Found) -> str:
    """Write the page."""
    text = _HEAD.format(count=len(found.measured), about=found.about, in_the_unit=found.in_the_unit)
    by_name = {one.charm.name: one for one in found.measured}
    for title, names in GROUPS.items():
        text += _TABLE.format(title=title)
        text += "".join(f"{row(by_name[name])}\n" for name in names)
    text += _REFUSED + "".join(f"{_refused_row(by_name[name])}\n" for name in REFUSED)
    text += _COST.format(
        handler=found.cost.handler_ms,
        worker=found.cost.worker_ms,
        service=found.cost.service_ms,
        times=found.cost.times,
        most=MOST_TIMES,
        count=found.runs,
    )
    return text + _many(found.on_many)


def row(one: Measured) -> str:
    """Write a line of the table that a charm belongs to."""
    if one.charm.refused is not None:
        return _refused_row(one)
    works = "yes"
    if one.problem:
        works = f"no: {_cell(one.problem)}"
    elif one.retired:
        works = f"yes, at the cost of a worker a run: {_cell(one.retired)}"
    memory = f"{one.memory_mb:.0f}" if one.memory_mb else "-"
    times = (_ms(one.first_ms), _ms(one.later_ms)) if one.first_ms else ("-", "-")
    cells = (
        *(one.charm.library, one.version, one.charm.use, works),
        *(*times, memory, one.charm.to_know),
    )
    return f"| {' | '.join(cells)} |"


def loaded_cell(one: Loaded) -> str:
    """Say how a charm did on more processors."""
    return f"no: {_cell(one.problem)}" if one.problem else f"{one.mapped_mb:.0f}"


def _refused_row(one: Measured) -> str:
    cause = one.charm.refused[0] if one.charm.refused else ""
    said = f"another than it should: {one.problem}" if one.problem else one.told
    cells = (one.charm.library, one.version, one.charm.use, f"`{cause}`", _cell(said, 400))
    return f"| {' | '.join(cells)} |"


def _many(on_many: Sequence[Loaded] | str) -> str:
    columns = [*((count, 1) for count in COUNTS), (ASKED_OF, ASKED)]
    text = _MANY.format(
        counts=" | ".join(map(str, COUNTS)),
        asked=ASKED,
        asked_of=ASKED_OF,
        rule="---|" * len(COUNTS),
    )
    if isinstance(on_many, str):
        return f"{text.partition('| library')[0]}{on_many}\n"
    cells = {(one.charm.name, one.processors, one.asked): loaded_cell(one) for one in on_many}
    libraries = {one.charm.name: one.charm.library for one in on_many}
    for name in NUMERIC:
        line = [libraries[name], *(cells[name, *column] for column in columns)]
        text += f"| {' | '.join(line)} |\n"
    return text


def _ms(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _cell(text: str, most: int = 200) -> str:
    """Make one line of a text; of a long one without its middle: what to do comes last."""
    line = " ".join(_PLACES.sub("…", text.replace("|", "/")).split())
    return line if len(line) <= most else f"{line[: most // 2]} … {line[-most // 2 :]}"
