"""A database that cannot be written for a while: nothing is lost, and work goes on afterwards."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bg_charm_service.domain.errors import DataDirectoryBusy
from bg_charm_service.storage.data_directory import DataDirectory
from tests.process.program import wait_until
from tests.process.running import Gate, Refused, Runner, RunningCharm, Service

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits another process")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB; only root can make one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m,mode=0700", "none", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("only root, outside of a container, can mount a small disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_run_that_ends_while_nothing_can_be_written(tmp_path: Path) -> None:
    """A run whose settlement cannot be stored is settled later, once; what is sent is refused."""
    with Service(tmp_path / "data", "--interval=3600") as service:
        gate = service.gate()
        charm = service.add(values={"folder": str(gate.folder)})
        job = charm.send(mode="wait", number=1)
        gate.wait_for_run()
        limit_files(service, 0)
        gate.let_go()
        service.wait_for("storage_problem")
        with pytest.raises(Refused) as refused:
            charm.send(number=2)
        assert 503 == refused.value.status
        status = service.status()
        assert not status["healthy"]
        assert "disk" in status["problems"][0]
        limit_files(service, resource.RLIM_INFINITY)
        charm.wait_until_settled(job)
        assert [1] == charm.get("numbers")
        charm.perform(number=3)
        assert [1, 3] == charm.get("numbers")
        assert [] == problems_but_late(service)


def test_kill_while_nothing_can_be_written(tmp_path: Path) -> None:
    """KILL of a service that cannot write: the run counts once, after the next start."""
    with Service(tmp_path / "data", "--interval=3600") as service:
        gate = service.gate()
        charm = service.add(values={"folder": str(gate.folder)})
        job = charm.send(mode="wait", number=1)
        gate.wait_for_run()
        limit_files(service, 0)
        gate.let_go()
        service.wait_for("storage_problem")
        service.kill()
        service.start()
        gate.wait_for_run()
        gate.let_go()
        charm.wait_until_settled(job)
        assert ([1], 1) == (charm.get("numbers"), charm.view()["executions"])


def problems_but_late(service: Service) -> list[str]:
    """What is wrong with a service, but that what waited for the disk began late."""
    return [text for text in service.status()["problems"] if not text.startswith("Runs start")]


def test_full_disk(small_disk: Path) -> None:
    """No room on the disk: the service says so once, claims nothing, and shows what it has.

    When there is room again it goes on by itself; what it took on before runs once, and only that.
    """
    with Service(small_disk / "data", "--interval=3600") as service:
        charm = service.add()
        charm.perform(number=1)
        filler = fill(small_disk)
        sent = send_until_refused(charm)
        service.wait_for("storage_problem")
        status = service.status()
        assert (False, True) == (status["healthy"], "full" in status["problems"][0])
        assert charm.get("numbers") == [1, *sent][: len(charm.get("numbers"))]
        assert 1 == service.count("storage_problem")
        filler.unlink()
        service.wait_for("storage_back")
        service.wait_for("run.succeeded", charm=charm.charm_id, times=1 + len(sent))
        assert [1, *sent] == charm.get("numbers")
        assert 1 + len(sent) == charm.view()["executions"]
        # Its first look may have been at the full disk, and the next one comes in an hour.
        assert 0 == service.cli("doctor").returncode
        assert [] == problems_but_late(service)


def test_start_on_a_full_disk_after_a_kill(small_disk: Path) -> None:
    """A start that has to write and cannot says why in one line; with room, nothing is lost."""
    with Service(small_disk / "data", "--interval=3600") as service:
        gate = Gate(small_disk.parent / "gate")
        charm = service.add(values={"folder": str(gate.folder)})
        job = charm.send(mode="wait", number=1)
        gate.wait_for_run()
        service.kill()
        # What is kept for this is gone already.
        (small_disk / "data" / ".reserve").unlink()
        filler = fill(small_disk)
        service.boot()
        assert 1 == service.wait()
        assert "disk is full" in service.errors
        assert 1 == len(service.errors.splitlines())
        filler.unlink()
        service.start()
        gate.wait_for_run()
        gate.let_go()
        charm.wait_until_settled(job)
        assert ([1], 1) == (charm.get("numbers"), charm.view()["executions"])


def test_read_only_data_directory(small_disk: Path) -> None:
    """On a file system that may only be read, service and commands say so, and change nothing."""
    data = small_disk / "data"
    with Service(data, "--interval=3600") as service:
        charm = service.add()
        charm.perform(number=1)
        service.stop()
        before = {path.name: path.read_bytes() for path in data.iterdir() if path.is_file()}
        remount(small_disk, "ro")
        service.boot()
        assert 1 == service.wait()
        assert "Read-only file system" in service.errors
        assert 1 == len(service.errors.splitlines())
        refused = service.cli("charm", "list")
        assert (1, True) == (refused.returncode, "Read-only file system" in refused.stderr)
        after = {path.name: path.read_bytes() for path in data.iterdir() if path.is_file()}
        assert before == after
        remount(small_disk, "rw")
        service.start()
        charm.perform(number=2)
        assert [1, 2] == charm.get("numbers")


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that, while it is there, lets each sync of the service's disk fail."""
    return tmp_path / "syncs fail"


def on_failing_disk(marker: Path) -> Runner:
    """Run a service on such a disk."""
    return Runner(program=("-m", "tests.failing_disk", str(marker)))


def test_sync_that_fails_leaves_the_request_in_doubt(tmp_path: Path, marker: Path) -> None:
    """A KILL after an answer that is no promise: the event is there or not, as its answer said."""
    runner = on_failing_disk(marker)
    with Service(tmp_path / "data", "--interval=3600", runner=runner) as service:
        charm = service.add()
        charm.perform(number=1)
        marker.touch()
        with pytest.raises(Refused, match="in doubt") as refused:
            charm.send(number=2)
        assert 500 == refused.value.status
        assert not service.status()["healthy"]
        assert "doubt" not in service.status()["problems"][0]
        assert [1] == charm.get("numbers")
        service.kill()
        marker.unlink()
        service.start()
        charm.perform(number=3)
        assert charm.get("numbers") in ([1, 3], [1, 2, 3])


def test_what_was_in_doubt_is_gone_once_writing_works(tmp_path: Path, marker: Path) -> None:
    """As soon as something is stored again, no KILL brings back what was not acknowledged."""
    runner = on_failing_disk(marker)
    with Service(tmp_path / "data", "--interval=3600", runner=runner) as service:
        charm = service.add()
        charm.perform(number=1)
        marker.touch()
        with pytest.raises(Refused, match="in doubt"):
            charm.send(number=2)
        marker.unlink()
        service.wait_for("storage_back")
        service.kill()
        service.start()
        charm.perform(number=3)
        assert [1, 3] == charm.get("numbers")


def test_command_says_that_its_change_is_in_doubt(tmp_path: Path, marker: Path) -> None:
    """A person reads it in one line, with the service running or not."""
    runner = on_failing_disk(marker)
    with Service(tmp_path / "data", "--interval=3600", runner=runner) as service:
        charm = service.add(register=True, integration="manual")
        marker.touch()
        told = service.cli("charm", "disable", charm.ref)
        assert (1, True) == (told.returncode, "in doubt" in told.stderr), told.stderr
        assert 1 == len(told.stderr.splitlines())
        marker.unlink()
        service.wait_for("storage_back")
        service.stop()
        marker.touch()
        told = subprocess.run(
            [
                *(sys.executable, *runner.program, "--data-dir", str(service.data_dir)),
                *("charm", "disable", charm.ref),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (1, True) == (told.returncode, "in doubt" in told.stderr), told.stderr
        assert 1 == len(told.stderr.splitlines())


def test_run_that_ends_while_no_sync_works(tmp_path: Path, marker: Path) -> None:
    """Its settlement is made until it holds; a KILL in between counts it once all the same."""
    runner = on_failing_disk(marker)
    with Service(tmp_path / "data", "--interval=3600", runner=runner) as service:
        gate = service.gate()
        charm = service.add(values={"folder": str(gate.folder)})
        job = charm.send(mode="wait", number=1)
        gate.wait_for_run()
        marker.touch()
        gate.let_go()
        service.wait_for("storage_problem")
        service.kill()
        marker.unlink()
        gate.let_go()
        service.start()
        # Found made at the start, or made again; either way once.
        wait_until(lambda: charm.view()["executions"])
        assert ([1], 1) == (charm.get("numbers"), charm.view()["executions"])
        assert job == charm.runs()[0]["job_id"]


FILES = ("bg-charm-service.db", "bg-charm-service.db-wal")


@pytest.mark.parametrize("file", FILES)
def test_file_that_is_deleted_under_the_service(tmp_path: Path, file: str) -> None:
    """Nothing more is acknowledged; a backup has what was, and a start from it loses nothing."""
    with Service(tmp_path / "data", "--interval=3600") as service:
        charm = service.add()
        charm.perform(number=1)
        (tmp_path / "data" / file).unlink()
        with pytest.raises(Refused, match="was deleted, moved or replaced") as refused:
            charm.send(number=2)
        assert 503 == refused.value.status
        status = service.status()
        assert (False, True) == (status["healthy"], file in status["problems"][0])
        saved = service.cli("backup", str(tmp_path / "saved.db"))
        assert 0 == saved.returncode, saved.stderr
        service.kill()
        restored = service.cli("restore", str(tmp_path / "saved.db"), "--force")
        assert 0 == restored.returncode, restored.stderr
        service.start()
        charm.perform(number=3)
        assert [1, 3] == charm.get("numbers")


def test_start_without_the_log(tmp_path: Path) -> None:
    """A start that would go on without what was stored last says so, and changes nothing."""
    with Service(tmp_path / "data", "--interval=3600") as service:
        charm = service.add()
        charm.perform(number=1)
        service.kill()
        log = tmp_path / "data" / FILES[1]
        log.rename(tmp_path / "log")
        for command in ("status", "doctor"):
            told = service.cli(command)
            assert told.returncode
            assert "missing or empty" in told.stdout + told.stderr
        service.boot()
        assert 1 == service.wait()
        assert "missing or empty" in service.errors
        assert 1 == len(service.errors.splitlines())
        (tmp_path / "log").rename(log)
        service.start()
        charm.perform(number=2)
        assert [1, 2] == charm.get("numbers")


def test_lock_and_socket_that_are_deleted(tmp_path: Path) -> None:
    """Both are made anew: commands reach the service, and nobody else takes the directory."""
    with Service(tmp_path / "data", "--interval=3600") as service:
        charm = service.add()
        (tmp_path / "data" / "lock").unlink()
        (tmp_path / "data" / "service.sock").unlink()
        service.wait_for("socket_remade")
        charm.perform(number=1)
        service.wait_for("lock_remade")
        assert str(service.pid) == (tmp_path / "data" / "lock").read_text().strip()
        with pytest.raises(DataDirectoryBusy):
            DataDirectory.open(tmp_path / "data")
        assert 0 == service.stop()
        assert not (tmp_path / "data" / "service.sock").exists()


def test_another_directory_in_its_place(tmp_path: Path) -> None:
    """A service whose directory was moved away leaves alone what is put in its place."""
    with Service(tmp_path / "data", "--interval=3600") as moved:
        charm = moved.add()
        (tmp_path / "data").rename(tmp_path / "moved")
        with Service(tmp_path / "data", "--interval=3600") as service:
            moved.wait_for("storage_problem")
            moved.wait_for("socket_replaced")
            moved.stop()
            other = service.add()
            other.perform(number=1)
            assert [1] == other.get("numbers")
        moved.data_dir = tmp_path / "moved"
        moved.start()
        charm.perform(number=1)


def fill(disk: Path) -> Path:
    """Write a file that takes all the room there is."""
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return filler


def send_until_refused(charm: RunningCharm) -> list[int]:
    """Send numbers until the service cannot take one; gives those that it took."""
    taken: list[int] = []
    told = (0, False)
    for number in range(2, 1000):
        try:
            charm.send(number=number)
        except Refused as refused:
            told = (refused.status, "full" in str(refused))
            break
        taken.append(number)
    assert (503, True) == told
    return taken


def remount(disk: Path, how: str) -> None:
    """Let a file system be written, or only read."""
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


def limit_files(service: Service, size: int) -> None:
    """Let a running service's files grow to a size and no further."""
    resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
