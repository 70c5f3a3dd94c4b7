"""A service that cannot run charms ends with 1 and says why; it does not try for ever."""

from __future__ import annotations

import resource
import shutil
from pathlib import Path

import pytest

from tests.process.running import ROOT, Service

#: What a half-finished upgrade may do: workers that end at once, a zygote that cannot be loaded.
BROKEN = {
    "workers/runtime/boot.py": "def run_worker(*_):\n    raise SystemExit('not this version')\n",
    "workers/runtime/zygote.py": "raise ImportError('not this version')\n",
}


@pytest.mark.parametrize("module", BROKEN)
def test_workers_that_cannot_boot_stop_the_service(tmp_path: Path, module: str) -> None:
    """Where no worker gets ready, the service ends with 1 and one clear line."""
    package = tmp_path / "installed" / "bg_charm_service"
    shutil.copytree(ROOT / "bg_charm_service", package)
    with (package / module).open("a") as file:
        file.write("\n\n" + BROKEN[module])
    service = Service(tmp_path / "data", "--interval=3600", cwd=package.parent).boot()
    assert 1 == service.wait()
    assert "died before they were ready" in service.errors.strip().splitlines()[-1]


def test_smallest_memory_is_enough_to_run(tmp_path: Path) -> None:
    """With the least memory that the settings take, workers boot and run charms."""
    with Service(tmp_path / "data", "--interval=3600", "--worker-memory=32M") as service:
        assert "success" == service.add().run()["status"]


def test_as_many_files_may_be_open_as_the_system_allows(tmp_path: Path) -> None:
    """A low limit that is only usual, and no rule, does not limit how many workers there are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard - 1, 512), hard))
    try:
        with Service(tmp_path / "data") as service:
            assert (hard, hard) == resource.prlimit(service.pid, resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
