"""Charm code is loaded in workers only; a source that cannot be loaded says file and line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.process.running import Refused, Service

#: A source that cannot be loaded -> what the error says.
BROKEN = {
    "import os\nclass Broken(:\n": "broken.py:2: ",
    "import os\nimport no_such_module\n": "broken.py:2: ",
    "from bg_charm_service import Charm\n\nclass Broken(Charm):\n    count: int = 0\n": (
        "broken.py:3: Broken has no handler"
    ),
    "count = 1\n": "broken.py:1: no charm here",
    "count = 1\nraise SystemExit(3)\n": "broken.py:2: ",
    "import os\nos._exit(1)\n": "broken.py: loading it ended the worker",
}

#: Tells by a file which process loaded it.
TELLING = """
import os
from typing import Any
from bg_charm_service import Charm

with open({path!r}, "a") as file:
    print(os.getpid(), file=file)

class Telling(Charm):
    count: int = 0

    async def bg_updater(self, event: dict[str, Any]) -> None:
        self.count += 1
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that polls nothing by itself."""
    flags = ("--interval=3600", "--max-concurrent=2")
    with Service(tmp_path_factory.mktemp("loading") / "data", *flags) as running:
        yield running


@pytest.mark.parametrize("source", BROKEN)
def test_broken_source_is_refused(service: Service, source: str) -> None:
    """A source that cannot be loaded is not added; the error names file, line and reason."""
    with pytest.raises(Refused) as refused:
        service.request(
            "POST", "/api/charms", {"source": source, "space": "x", "file": "broken.py"}
        )
    assert 400 == refused.value.status
    assert BROKEN[source] in str(refused.value)
    assert [] == service.request("GET", "/api/charms?space=x")["charms"]


def test_broken_source_is_refused_by_the_command_line(service: Service, tmp_path: Path) -> None:
    """`charm add` of a broken file ends with 1 and one line that names file and line."""
    file = tmp_path / "broken.py"
    file.write_text("import os\nimport no_such_module\n")
    done = service.cli("charm", "add", str(file), "--space", "test")
    assert (1, "") == (done.returncode, done.stdout)
    (line,) = done.stderr.strip().splitlines()
    assert "broken.py:2: " in line
    assert "no_such_module" in line


@pytest.mark.parametrize("is_running", [True, False])
def test_source_is_loaded_in_a_worker(
    service: Service, tmp_path: Path, *, is_running: bool
) -> None:
    """Adding a charm runs its import in a worker: not in the service, not in the command."""
    told, file = tmp_path / "told", tmp_path / "telling.py"
    file.write_text(TELLING.format(path=str(told)))
    where = service if is_running else Service(tmp_path / "data")
    # Without a service the command has workers of its own, behind walls unless it is told.
    flags = () if is_running else ("--sandbox=off",)
    done = where.cli(*flags, "charm", "add", str(file), "--space", "test", "--set", "count=5")
    assert 0 == done.returncode, done.stderr
    loaders = {int(line) for line in told.read_text().split()}
    own = {service.pid, service.zygote_pid()}
    assert loaders
    assert not loaders & own
    # The worker that loaded a source is used for nothing else, and is gone.
    assert not any(psutil.pid_exists(pid) for pid in loaders)


def test_source_that_no_longer_loads_fails_its_runs(service: Service, tmp_path: Path) -> None:
    """A charm whose import fails later on fails its run with the compiler's words."""
    needed = tmp_path / "needed"
    needed.write_text("1")
    source = (
        TELLING.format(path=str(tmp_path / "told"))
        + f"\nLIMIT = int(open({str(needed)!r}).read())\n"
    )
    charm = service.add(source)
    needed.unlink()
    run = charm.run()
    assert ("failure", "compiler") == (run["status"], run["cause"])
    assert "scripted.py:" in run["error"]
