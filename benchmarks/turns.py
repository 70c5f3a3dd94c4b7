"""Takes turns with the build before, round by round, where a scenario does not do so by itself.

Used by the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from benchmarks.bench import Bench
from benchmarks.rows import Row, over_tables


def in_turns(bench: Bench, run: Callable[[Bench], Iterable[Row]]) -> list[Row]:
    """Run a whole scenario for each build in each round; once, where there is no build before."""
    if bench.before is None:
        return list(run(bench))
    tables: dict[Bench, list[list[Row]]] = {bench: [], bench.before: []}
    for number in range(bench.rounds):
        for one in bench.turns(number):
            # Of a scenario with rounds of its own, each turn is one.
            tables[one].append(list(run(replace(one, rounds=1, before=None))))
            bench.say(f"  round {number + 1} of {bench.rounds}, {one.build.name}")
    return over_tables(tables[bench], tables[bench.before])
