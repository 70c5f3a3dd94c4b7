"""A disk that a charm fills: others go on, nothing of the charm stays, and a start finds room.

On file systems of their own, which only root can make; the charm has no walls, which would refuse
it the call that takes a whole disk at once.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from bg_charm_service.storage.disk_reserve import DiskReserve
from bg_charm_service.storage.records import SUSPECT_DELIVERIES
from tests.process.program import wait_until
from tests.process.running import Gate, Refused, RunningCharm, Service

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mounts file systems of Linux")

MEGABYTE = 1024 * 1024
SIZE_MB = 64

#: The charm may run for longer than any test.
FLAGS = ("--interval=3600", "--sandbox=off", "--max-retries=0", "--timeout=600")

FILLER = """\
import ctypes
import os
import time
from pathlib import Path

from bg_charm_service import Charm

KEEP_SIZE = 1
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong]

class Filler(Charm):
    told: str = ""

    def bg_updater(self, event: dict) -> None:
        if not os.path.exists(event["told"]):
            return
        for number in range(500):
            os.makedirs(f"tree/{number}/below/below")
        # All room there is, in a file that stays empty.
        with open("file", "wb") as file:
            at = 0
            for size in (1 << 20, 1 << 12):
                while not LIBC.fallocate(file.fileno(), KEEP_SIZE, at, size):
                    at += size
        Path(event["told"]).write_text("full")
        time.sleep(600)
"""

COUNTER = """\
from bg_charm_service import Charm

class Counter(Charm):
    counter: int = 0

    def bg_updater(self, event: dict) -> None:
        self.counter += 1
"""


def mount(kind: str, place: Path, image: Path) -> bool:
    """Make a file system of that kind; False where that is not to be had."""
    if kind == "tmpfs":
        options = f"size={SIZE_MB}m,mode=0700"
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(place)]
    else:
        if shutil.which(f"mkfs.{kind}") is None:
            return False
        with open(image, "wb") as file:
            file.truncate(SIZE_MB * MEGABYTE)
        subprocess.run([f"mkfs.{kind}", "-q", str(image)], check=True)
        command = ["mount", "-o", "loop", str(image), str(place)]
    return not subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode


@pytest.fixture(params=["tmpfs", "ext4"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0 or not mount(request.param, place, tmp_path / "image"):
        pytest.skip(f"only root, outside of a container, can mount a small disk of {request.param}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """Where the charm tells that the disk is full; on another disk."""
    os.mkfifo(tmp_path / "told")
    return tmp_path / "told"


def free_mb(disk: Path) -> int:
    """How much is free."""
    return shutil.disk_usage(disk).free // MEGABYTE


def fill(disk: Path) -> Path:
    """Write a file that takes all the room there is."""
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


def refused(charm: RunningCharm) -> int:
    """Send events until there is no room for one; gives the status of the answer then."""
    for _ in range(10_000):
        try:
            charm.send(text="x" * 10_000)
        except Refused as error:
            return error.status
    raise AssertionError("there was room for everything")


def deliveries(data: Path, copy: Path, job: int) -> int:
    """How often a job counts as handed out, of a directory that nobody has open."""
    copy.mkdir()
    for path in data.glob("bg-charm-service.db*"):
        shutil.copy(path, copy)
    with closing(sqlite3.connect(copy / "bg-charm-service.db")) as database:
        sql = "SELECT deliveries FROM ack_queue_jobs WHERE _id = ?"
        return int(database.execute(sql, (job,)).fetchone()[0])


def test_charm_that_takes_a_whole_disk(disk: Path, told: Path) -> None:
    """It is ended for the room that it holds, nothing of it stays, and others go on."""
    with Service(disk / "data", *FLAGS, "--scratch-size=8M") as service:
        other = service.add(COUNTER, space="other", cause="other")
        before = free_mb(disk)
        charm = service.add(FILLER, space="filler", cause="filler")
        run = charm.wait_until_settled(charm.send(told=str(told)))
        assert ("run.failed", "scratch") == (run["event"], run["cause"])
        assert "success" == other.perform()["status"]
        assert wait_until(lambda: free_mb(disk) >= before - 8)
        assert 0 == service.count("scratch_left")
        assert wait_until(lambda: service.status()["healthy"])
        assert DiskReserve(service.data_dir).is_held


def test_kill_while_a_charm_holds_the_disk(disk: Path, told: Path, tmp_path: Path) -> None:
    """The next start finds room by itself, and the job that had taken it is a suspect."""
    with Service(disk / "data", *FLAGS, "--scratch-size=1G") as service:
        other = service.add(COUNTER, space="other", cause="other")
        before = free_mb(disk)
        charm = service.add(FILLER, space="filler", cause="filler")
        job = charm.send(told=str(told))
        assert "full" == told.read_text()
        assert 503 == refused(other)
        service.wait_for("disk_filled", job=job)
        service.kill()
        assert SUSPECT_DELIVERIES == deliveries(service.data_dir, tmp_path / "copy", job)
        told.unlink()
        service.start()
        run = charm.wait_until_settled(job)
        assert "run.succeeded" == run["event"]
        assert "success" == other.perform()["status"]
        assert free_mb(disk) >= before - 8
        assert wait_until(lambda: service.status()["healthy"])


def test_run_that_ends_on_a_full_disk(disk: Path, tmp_path: Path) -> None:
    """What it did is stored in the room that was kept; nothing else begins before there is more."""
    with Service(disk / "data", *FLAGS) as service:
        gate = Gate(tmp_path / "gate")
        charm = service.add(values={"folder": str(gate.folder)})
        other = service.add(COUNTER, space="other", cause="other")
        job = charm.send(mode="wait", number=1)
        gate.wait_for_run()
        filler = fill(disk)
        assert 503 == refused(other)
        gate.let_go()
        charm.wait_until_settled(job)
        assert [1] == charm.get("numbers")
        assert 503 == refused(other)
        assert 1 == service.count("storage_problem")
        filler.unlink()
        service.wait_for("storage_back")
        assert "success" == other.perform()["status"]
        assert DiskReserve(service.data_dir).is_held


def test_start_on_a_full_disk(disk: Path, tmp_path: Path) -> None:
    """The room that was kept is enough to start with; nothing begins, and the status says why."""
    with Service(disk / "data", *FLAGS) as service:
        gate = Gate(tmp_path / "gate")
        charm = service.add(values={"folder": str(gate.folder)})
        job = charm.send(mode="wait", number=1)
        gate.wait_for_run()
        service.kill()
        filler = fill(disk)
        service.start()
        status = service.status()
        assert (False, True) == (status["healthy"], "full" in status["problems"][0])
        filler.unlink()
        gate.wait_for_run()
        gate.let_go()
        charm.wait_until_settled(job)
        assert ([1], 1) == (charm.get("numbers"), charm.view()["executions"])
        assert wait_until(lambda: service.status()["healthy"])
