"""honker on SQLite: two processes that claim, count, store the result and ack.

Its wheel is fetched without being installed: it asks for a newer C library than many systems have,
of which only the SQLite needs something that it brings for connections of its own. Those wait for
no disk; here its extension is loaded into `sqlite3` (see `honker_tasks`).
"""

from __future__ import annotations

import platform
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.contender import process
from benchmarks.peers.programs import environ
from benchmarks.sampling import Unmeasurable
from benchmarks.service_process import ROOT

VERSION = "0.5.0"
TASKS = Path(__file__).parent / "honker_tasks.py"

#: Where it is unpacked, below the checkout; git ignores it.
FOLDER = ROOT / ".bench-peers" / f"honker-{VERSION}"
EXTENSION = FOLDER / "honker" / "_lib" / "libhonker_ext.so"

#: Tells whether a Python's `sqlite3` loads extensions: many are built without.
_LOADS = "import sqlite3; sqlite3.Connection.enable_load_extension"


class HonkerBatches:
    """A contender."""

    name = "honker, SQLite, batches"
    batch = 32
    walls = "none"

    def __init__(self, total: int, python: str) -> None:
        self.total = total
        self._python = python
        self._file = ""

    @property
    def note(self) -> str:
        """What one has to know about its figures."""
        how = f"claims of {self.batch}, results and acks in one commit"
        if self.batch == 1:
            how = "one job at a time, as its workers do: three commits"
        by = "" if self._python == sys.executable else f"; run by {self._python}"
        return f"{VERSION}, its extension in sqlite3, synchronous=FULL; two processes; {how}{by}"

    @contextmanager
    def prepare(self, folder: Path) -> Iterator[None]:
        """Queue the tasks."""
        self._file = str(folder / "honker.db")
        filled = subprocess.run(
            self._command("fill", self.total), capture_output=True, text=True, check=False
        )
        if filled.returncode:
            raise Unmeasurable(f"honker was not filled: {filled.stderr[-1000:]}")
        yield

    @contextmanager
    def run(self) -> Iterator[None]:
        """Run two workers."""
        with ExitStack() as stack:
            for _ in range(2):
                stack.enter_context(process(*self._command("work", self.batch), environ=environ()))
            yield

    def count(self) -> int:
        """Count the results that are stored."""
        connection = sqlite3.connect(self._file)
        try:
            (stored,) = connection.execute("SELECT count(*) FROM _honker_results").fetchone()
        finally:
            connection.close()
        return int(stored)

    def _command(self, task: str, number: int) -> tuple[str, ...]:
        return (self._python, str(TASKS), task, self._file, str(EXTENSION), str(number))


class HonkerOneByOne(HonkerBatches):
    """A contender."""

    name = "honker, SQLite, one by one"
    batch = 1


def honker_peers(part: int) -> tuple[list[HonkerBatches], str]:
    """Give both, with a part of their tasks; none with the reason where it cannot be had."""
    python = find_python()
    if python is None:
        return [], "honker is left out: no Python here loads extensions into sqlite3."
    if not EXTENSION.exists() and (problem := _fetch()):
        return [], f"honker is left out: {problem}"
    return [HonkerBatches(60_000 // part, python), HonkerOneByOne(12_000 // part, python)], ""


def find_python() -> str | None:
    """Give a Python whose `sqlite3` loads extensions: this one, or the system's."""
    candidates = (sys.executable, shutil.which("python3", path="/usr/bin:/bin"))
    return next((one for one in candidates if one and _loads_extensions(one)), None)


def _loads_extensions(python: str) -> bool:
    done = subprocess.run([python, "-c", _LOADS], capture_output=True, check=False)
    return done.returncode == 0


def _fetch() -> str:
    """Unpack its wheel; gives what went wrong."""
    wheel = ("--python-version=3.11", "--implementation=cp", "--abi=abi3")
    system = f"--platform=manylinux_2_38_{platform.machine()}"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    where = (f"--target={FOLDER}", "--no-deps", "--only-binary=:all:", system, *wheel)
    done = subprocess.run(
        [*pip, *where, f"honker=={VERSION}"], capture_output=True, text=True, check=False
    )
    return (done.stderr.strip().splitlines() or ["pip failed"])[-1] if done.returncode else ""
