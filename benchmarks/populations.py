"""Data directories full of charms, made once by `charm import` and then copied.

Each build makes its own, since an older one refuses the data of a newer one. A scenario gets a copy
of its own, because running changes it. Used by the scenarios.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.builds import THIS_BUILD, Build
from benchmarks.service_process import Failed

CHARMS = Path(__file__).parent / "charms"


@dataclass(frozen=True, slots=True)
class Population:
    """So many charms of one file in each of so many spaces, all registered."""

    spaces: int
    charms_per_space: int
    file: str = "counter.py"
    values: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def size(self) -> int:
        """How many charms there are."""
        return self.spaces * self.charms_per_space

    def lines(self) -> Iterator[str]:
        """Give it as `charm import` reads it."""
        for space in range(self.spaces):
            for number in range(self.charms_per_space):
                charm = {
                    "file": str(CHARMS / self.file),
                    "space": f"space {space}",
                    "cause": f"charm {number}",
                    "set": self.values,
                    "register": True,
                }
                yield json.dumps(charm) + "\n"


class Populations:
    """Those that a build made so far, in a folder of its own."""

    def __init__(self, folder: Path, build: Build = THIS_BUILD) -> None:
        self._folder = folder
        self._build = build
        self._made: dict[Population, Path] = {}
        self._copies = 0

    def prepare(self, population: Population) -> None:
        """Make a population unless it was made."""
        if population not in self._made:
            self._made[population] = self._make(population)

    def copy(self, population: Population) -> Path:
        """Give a data directory with these charms, none of which has run."""
        self.prepare(population)
        self._copies += 1
        copy = self._folder / f"data-{self._copies}"
        shutil.copytree(self._made[population], copy)
        # Else the copy is written back while the service waits for the disk.
        os.sync()
        return copy

    def _make(self, population: Population) -> Path:
        directory = self._folder / f"population-{len(self._made)}"
        lines = self._folder / "import.jsonl"
        lines.write_text("".join(population.lines()))
        command = [
            *(str(self._build.program), f"--data-dir={directory}"),
            *("charm", "import", str(lines)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines.unlink()
        if done.returncode:
            raise Failed(f"The charms could not be imported: {done.stderr[-1000:]}")
        return directory
