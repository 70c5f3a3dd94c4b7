"""Backups of a service that works, and what is made of them: nothing lost, nothing overwritten."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sqlite3
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bg_charm_service.storage.sqlite.integrity import problems_of
from tests.process.program import PATIENCE_SECONDS, Program
from tests.process.running import Refused, RunningCharm, Service

NAME = "bg-charm-service.db"

#: Tells what it was given, and fails if it is told to.
HOOK = """
import json, os, pathlib, sys
folder = pathlib.Path(sys.argv[1])
given = {"arguments": sys.argv[2:], "secrets": [n for n in ("OPERATOR_PASS",) if n in os.environ]}
with open(folder / "told", "a") as told:
    told.write(json.dumps(given) + "\\n")
if (folder / "fail").exists():
    print("no room there")
    sys.exit(3)
"""


def make_backup(service: Service, file: Path) -> None:
    """Make a backup by the command, which must succeed."""
    done = service.cli("backup", str(file))
    assert (0, "") == (done.returncode, done.stderr)
    assert f"Backup made and verified: {file}" in done.stdout


def error_of(service: Service, *arguments: str, code: int = 1) -> str:
    """Give the one line that a command says when it fails, as it must."""
    done = service.cli(*arguments)
    assert code == done.returncode, done
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("Error: ")
    return line


def rows(path: Path, sql: str) -> list[Any]:
    """Look into a database file that nobody has open."""
    connection = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def send(charms: list[RunningCharm], numbers: range) -> None:
    """Send numbers to charms."""
    for number in numbers:
        for charm in charms:
            charm.send(number=number)


def spoil(path: Path, index: str) -> None:
    """Overwrite the first page of an index."""
    roots = dict(rows(path, "SELECT name, rootpage FROM sqlite_master"))
    with open(path, "r+b") as file:
        file.seek((roots[index] - 1) * 4096)
        file.write(bytes(4096))


def test_backup_under_load_is_restored_and_goes_on(tmp_path: Path) -> None:
    """A backup made while runs come and go is one moment of the database, and can be worked on.

    Each charm's value is what its counted runs made it, the run that was under way is made again,
    and what was accepted before the backup is done once.
    """
    backup = tmp_path / "backup.db"
    with Service(tmp_path / "data", "--interval=3600") as service:
        gate = service.gate()
        held = service.add(values={"folder": str(gate.folder)})
        busy = [service.add() for _ in range(4)]
        held.send(mode="wait", number=0)
        gate.wait_for_run()
        send(busy, range(1, 31))
        making = service.later("POST", "/api/backups", {"path": str(backup)})
        send(busy, range(31, 61))
        assert str(backup) == making.result()["path"]
        gate.let_go()
    assert 0o600 == stat.S_IMODE(backup.stat().st_mode)
    assert [(2,)] == rows(backup, "SELECT status FROM ack_queue_jobs WHERE status = 2 LIMIT 1")
    pending = rows(backup, "SELECT count(*) FROM ack_queue_jobs WHERE status IN (1, 2)")[0][0]
    with Service(tmp_path / "restored", "--interval=3600") as restored:
        restored.stop()
        done = restored.cli("restore", "--force", str(backup))
        assert (0, True) == (done.returncode, "run again at its next start" in done.stdout)
        restored.start()
        gate.wait_for_run()
        gate.let_go()
        restored.wait_for("run.succeeded", times=pending)
        for charm in busy:
            view = restored.request("GET", charm.path)["charm"]
            numbers = restored.request("GET", f"{charm.path}/state/numbers")
            assert list(range(1, len(numbers) + 1)) == numbers
            assert len(numbers) == view["successes"] >= 30
        assert [0] == restored.request("GET", f"{held.path}/state/numbers")
        assert 0 == restored.cli("doctor").returncode


def test_other_files_are_not_overwritten(tmp_path: Path) -> None:
    """An older backup is replaced as a whole; any other file, and the database itself, stays."""
    backup, other = tmp_path / "backup.db", tmp_path / "notes.txt"
    other.write_text("not yours")
    with Service(tmp_path / "data", "--interval=3600") as service:
        make_backup(service, backup)
        service.add()
        make_backup(service, backup)
        assert [(1,)] == rows(backup, "SELECT count(*) FROM charms")
        assert "is no backup of this service, and stays" in error_of(service, "backup", str(other))
        assert "not yours" == other.read_text()
        own = tmp_path / "data" / NAME
        assert "is the database itself" in error_of(service, "backup", str(own))
        (tmp_path / "hard").hardlink_to(own)
        assert "is the database itself" in error_of(service, "backup", str(tmp_path / "hard"))
        assert "stays" in error_of(service, "backup", str(tmp_path))
        nowhere = tmp_path / "nowhere" / "b.db"
        assert "cannot take the file b.db: No such file" in error_of(
            service, "backup", str(nowhere)
        )
        service.stop()
        make_backup(service, tmp_path / "offline.db")
    assert {"backup.db", "notes.txt", "data", "hard", "offline.db"} == {
        path.name for path in tmp_path.iterdir()
    }


def test_a_file_that_the_service_cannot_write_is_sent(tmp_path: Path) -> None:
    """Where the caller's folder is none of the service's, the caller gets the backup itself."""
    with Service(tmp_path / "data", "--interval=3600") as service:
        service.add()
        # As in a unit whose /tmp is its own: the same name, and another folder.
        elsewhere = {"path": str(tmp_path / "backup.db"), "folder": [0, 0]}
        with pytest.raises(Refused, match="cannot write into"):
            service.request("POST", "/api/backups", elsewhere)
        transport = httpx2.HTTPTransport(uds=str(service.data_dir / "service.sock"), verify=False)
        with httpx2.Client(transport=transport, timeout=PATIENCE_SECONDS) as client:
            content = client.post("http://service/api/backups/content").content
        newest = service.request("GET", "/api/audit?limit=1")[0]
        assert ("backup", "sent to a command") == (newest["action"], newest["detail"])
        assert [".reserve"] == [
            each.name for each in (tmp_path / "data").iterdir() if each.name.startswith(".")
        ]
    (tmp_path / "sent.db").write_bytes(content)
    assert [] == problems_of(tmp_path / "sent.db")
    assert [(1,)] == rows(tmp_path / "sent.db", "SELECT count(*) FROM charms")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_is_not_led_astray_by_the_owner(tmp_path: Path) -> None:
    """A link of the owner's leads root to no file of others, neither to read nor to write it."""
    tmp_path.chmod(0o700)
    with tempfile.TemporaryDirectory(prefix="open-") as name:
        Path(name).chmod(0o755)
        program = Program(Path(name) / "data")
        others = tmp_path / "others.db"
        other = Program(tmp_path / "other")
        for one in (program, other):
            one.output("add-admin-charm")
        other.output("backup", str(others))
        (program.data_dir / "kept.db").symlink_to(others)
        (program.data_dir / "backups").symlink_to(tmp_path)
        for path in (program.data_dir, *program.data_dir.iterdir()):
            os.chown(path, 54_321, 54_321, follow_symlinks=False)
        told = program.error("restore", "--force", str(program.data_dir / "kept.db"))
        assert "root does not follow there" in told
        told = program.error("backup", str(program.data_dir / "backups" / "new.db"))
        assert "root does not follow there" in told
        assert {"others.db", "other"} == {each.name for each in tmp_path.iterdir()}


def test_restore_refuses(tmp_path: Path) -> None:
    """What is no whole backup that this version can open is refused, and nothing is changed."""
    backup, data = tmp_path / "backup.db", tmp_path / "data"
    with Service(data, "--interval=3600") as service:
        service.add()
        make_backup(service, backup)
        assert "in use by process" in error_of(service, "restore", "--force", str(backup))
        service.stop()
        before = (data / NAME).read_bytes()
        assert "With --force it is replaced" in error_of(service, "restore", str(backup))
        refused = tmp_path / "refused.db"
        refused.write_text("anything " * 1000)
        assert "is no backup" in error_of(service, "restore", "--force", str(refused))
        shutil.copy(backup, refused)
        spoil(refused, "nonces_by_expiry")
        assert "is damaged" in error_of(service, "restore", "--force", str(refused))
        shutil.copy(backup, refused)
        with sqlite3.connect(refused) as connection:
            connection.execute("PRAGMA user_version = 999")
        connection.close()
        assert "has schema 999" in error_of(service, "restore", "--force", str(refused))
        (tmp_path / "refused.db-wal").write_bytes(b"x")
        assert "copy of a database in use" in error_of(service, "restore", "--force", str(refused))
        assert "There is no file" in error_of(service, "restore", "--force", str(tmp_path / "no"))
        own = str(data / NAME)
        assert "is the database itself" in error_of(service, "restore", "--force", own)
        assert before == (data / NAME).read_bytes()
    assert [NAME] == [path.name for path in data.iterdir() if NAME in path.name]


def test_restore_keeps_what_it_replaces(tmp_path: Path) -> None:
    """With --force the database that was there is kept, with what only its log had."""
    backup, data = tmp_path / "backup.db", tmp_path / "data"
    with Service(data, "--interval=3600") as service:
        make_backup(service, backup)
        service.add()
        service.kill()
        done = service.cli("restore", "--force", str(backup))
        assert 0 == done.returncode, done.stderr
        (kept,) = data.glob(f"{NAME}.replaced-*")
        assert f"is kept as {kept}" in done.stderr
        assert [(1,)] == rows(kept, "SELECT count(*) FROM charms")
        assert [(0,)] == rows(data / NAME, "SELECT count(*) FROM charms")
        assert 0 == service.cli("doctor", "--full").returncode


def test_restored_secrets_are_read_by_their_owner(tmp_path: Path) -> None:
    """Secrets stay encrypted in a backup: its bytes do not have them, and its owner reads them."""
    backup = tmp_path / "backup.db"
    source = (Path(__file__).parents[1] / "fixtures" / "charms" / "secretive.py").read_text()
    with Service(tmp_path / "data", "--interval=3600", OPERATOR_PASS="mine") as service:
        charm = service.add(source, values={"token": "open sesame"})
        make_backup(service, backup)
        service.stop()
        assert b"open sesame" not in backup.read_bytes()
        assert 0 == service.cli("restore", "--force", str(backup)).returncode
        service.start()
        assert "success" == charm.run()["status"]
    stranger = Service(tmp_path / "data", OPERATOR_PASS="another")
    assert 1 == stranger.boot().wait()
    assert "may not act on the system space" in stranger.errors


def test_regular_backups_are_kept_and_carried_away(tmp_path: Path) -> None:
    """Backups are made so often, the newest are kept, and a command gets each of them.

    No shell reads the command; the operator's secrets are not in its environment.
    """
    place, folder = tmp_path / "a place; of mine", tmp_path / "hook's $HOME"
    folder.mkdir()
    script = folder / "hook.py"
    script.write_text(HOOK)
    hook = shlex.join([sys.executable, str(script), str(folder), "$(id)", "a b"])
    flags = ("--interval=3600", "--backup-every=0.2", "--backup-keep=2")
    with Service(
        tmp_path / "data",
        *flags,
        f"--backup-dir={place}",
        f"--backup-hook={hook}",
        OPERATOR_PASS="mine",
    ) as service:
        service.wait_for("backup_hook", times=4)
        service.stop()
        told = [json.loads(line) for line in (folder / "told").read_text().splitlines()]
    names = [Path(one["arguments"][-1]) for one in told]
    assert {place} == {name.parent for name in names}
    assert len(names) == len(set(names))
    assert {("$(id)", "a b")} == {tuple(one["arguments"][:-1]) for one in told}
    assert [] == [secret for one in told for secret in one["secrets"]]
    kept = sorted(path.name for path in place.iterdir())
    assert 2 == len([name for name in kept if not name.startswith(".")])


def test_a_moved_service_leaves_the_backups_of_the_one_in_its_place(tmp_path: Path) -> None:
    """Where its directory was, another service has its own: it makes none there, removes none."""
    flags = ("--interval=3600", "--backup-every=0.2", "--backup-keep=1")
    with Service(tmp_path / "data", *flags) as moved:
        moved.wait_for("backup")
        (tmp_path / "data").rename(tmp_path / "moved")
        with Service(tmp_path / "data", "--interval=3600") as service:
            backups = tmp_path / "data" / "backups"
            backups.mkdir(mode=0o700)
            for number in range(3):
                made = backups / f"bg-charm-service-2026010{number}T000000Z.db"
                assert 0 == service.cli("backup", str(made)).returncode
            kept = sorted(backups.iterdir())
            told = moved.count("backup_failed")
            moved.wait_for("backup_failed", times=told + 2)
            assert kept == sorted(backups.iterdir())


def test_failing_hook_is_told(tmp_path: Path) -> None:
    """A command that fails is in the log and in the status, until it succeeds; the backup stays."""
    script = tmp_path / "hook.py"
    script.write_text(HOOK)
    (tmp_path / "fail").touch()
    hook = f"{sys.executable} {script} {tmp_path}"
    with Service(tmp_path / "data", "--interval=3600", f"--backup-hook={hook}") as service:
        make_backup(service, tmp_path / "backup.db")
        told = service.wait_for("backup_hook_failed")
        assert "ended with 3: no room there" in told["message"]
        status = service.status()
        assert not status["healthy"]
        assert status["problems"][0].endswith(
            "was not carried away: " + hook.split()[0] + " ended with 3."
        )
        assert "no room there" == status["backup"]["hook_output"]
        assert str(tmp_path / "backup.db") == status["backup"]["last"]["path"]
        (tmp_path / "fail").unlink()
        make_backup(service, tmp_path / "backup.db")
        service.wait_for("backup_hook")
        assert service.status()["healthy"]


def test_backup_directory_that_cannot_be_used(tmp_path: Path) -> None:
    """Where regular backups cannot be made, the service works on, and says so."""
    (tmp_path / "file").touch()
    with Service(
        tmp_path / "data",
        "--interval=3600",
        "--backup-every=3600",
        f"--backup-dir={tmp_path / 'file' / 'below'}",
    ) as service:
        service.wait_for("backup_failed")
        assert "The last backup failed" in service.status()["problems"][0]
        service.add().perform(number=1)


def test_damaged_database_gives_no_backup(tmp_path: Path) -> None:
    """Damage that nobody ran into yet is found by a backup, which is not kept, and by doctor."""
    data = tmp_path / "data"
    with Service(data, "--interval=3600") as service:
        service.add()
        service.stop()
        spoil(data / NAME, "nonces_by_expiry")
        service.start()
        backup = tmp_path / "backup.db"
        assert "The backup is damaged" in error_of(service, "backup", str(backup))
        assert [] == [path.name for path in tmp_path.glob("*backup*")]
        service.stop()
        found = service.cli("doctor", "--full")
        assert (4, True) == (found.returncode, "error    integrity: " in found.stdout)
        assert 0 == service.cli("doctor").returncode
