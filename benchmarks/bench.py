"""What a scenario is given: where to work, with which build, how long, and whom to tell.

Made by the command line; used by the scenarios.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from benchmarks.builds import THIS_BUILD, Build
from benchmarks.populations import Population, Populations
from benchmarks.profiling import Profiler
from benchmarks.service_process import ServiceProcess

Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True)
class Bench:
    """One call of `make bench`, for one build of the service; the other one has its own."""

    folder: Path
    populations: Populations
    build: Build = THIS_BUILD
    #: The same call for the build that this one takes turns with, when one was asked for.
    before: Bench | None = None
    rounds: int = 3
    sandbox: str = "require"
    #: Of how many runs the scenario of growth is at most made, and how long it may take.
    runs: int = 1_000_000
    minutes: float = 5.0
    #: Of the scenario of cost.
    charms: int = 20_000
    is_quick: bool = False
    profiler: Profiler | None = None

    def pick(self, full: Kind, quick: Kind) -> Kind:
        """Choose between the size that counts and one to try things out with."""
        return quick if self.is_quick else full

    def turns(self, number: int) -> list[Bench]:
        """Give those of all builds in the order of a round: who is first changes every time."""
        both = [self] if self.before is None else [self, self.before]
        return both if number % 2 == 0 else both[::-1]

    def say(self, text: str) -> None:
        """Tell what is going on."""
        click.echo(text, err=True)

    @contextmanager
    def directory(self, population: Population) -> Iterator[Path]:
        """Give a data directory with these charms, none of which has run; it goes at the end."""
        data_dir = self.populations.copy(population)
        try:
            yield data_dir
        finally:
            shutil.rmtree(data_dir, ignore_errors=True)

    def start(self, data_dir: Path, *flags: str) -> ServiceProcess:
        """Give a service on a data directory, to be entered."""
        return ServiceProcess(data_dir, *flags, sandbox=self.sandbox, program=self.build.program)

    @contextmanager
    def service(self, population: Population, *flags: str) -> Iterator[ServiceProcess]:
        """Run a service on a data directory of its own."""
        with self.directory(population) as data_dir, self.start(data_dir, *flags) as service:
            yield service

    @contextmanager
    def measuring(self, service: ServiceProcess) -> Iterator[None]:
        """Surround what is measured; a profile is taken here when one was asked for."""
        if self.profiler is None:
            yield
            return
        with self.profiler.over(service):
            yield
