"""The doctor as people call it: on a running service and on a stopped directory."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from tests.process.running import Service

NAME = "bg-charm-service.db"


def damage(path: Path, *statements: str) -> None:
    """Change a database that nobody has open, as only a fault could."""
    with sqlite3.connect(path) as connection:
        for sql in statements:
            connection.execute(sql)
    connection.close()


def test_exit_code_tells_how_bad_it_is(tmp_path: Path) -> None:
    """0 for nothing or notes, 3 for warnings, 4 for errors; what was repaired does not count."""
    data = tmp_path / "data"
    with Service(data, "--interval=3600") as service:
        service.add(register=True, integration="manual")
        service.stop()
        sound = service.cli("doctor")
        assert (0, "All is well.\n") == (sound.returncode, sound.stdout)
        damage(data / NAME, "INSERT INTO registrations VALUES (77, 'manual', 0, 0)")
        assert 3 == service.cli("doctor").returncode
        damage(data / NAME, "UPDATE health SET due_at = NULL")
        found = service.cli("doctor", "--json")
        assert 4 == found.returncode
        told = {one["check"]: one for one in json.loads(found.stdout)["findings"]}
        assert ("error", True) == (told["schedule"]["severity"], told["schedule"]["repairable"])
        assert "warning" == told["leftovers"]["severity"]
        assert 0 == service.cli("doctor", "--repair").returncode
        assert "All is well.\n" == service.cli("doctor").stdout


def test_running_service_shows_what_it_finds(tmp_path: Path) -> None:
    """What is wrong at a start is in the log once, in the status, and gone when it was repaired."""
    data = tmp_path / "data"
    with Service(data, "--interval=0.2") as service:
        service.stop()
        damage(data / NAME, "INSERT INTO registrations VALUES (77, 'manual', 0, 0)")
        service.start()
        told = service.wait_for("doctor")
        assert "have rows in registrations: 1 (charm number 77)" in told["message"]
        (problem,) = service.status()["problems"]
        assert "Doctor: Charms that do not exist any more" in problem
        assert (1, 3) == (service.count("doctor"), service.cli("doctor").returncode)
        repaired = service.cli("doctor", "--repair")
        assert (0, True) == (repaired.returncode, "(repaired)" in repaired.stdout)
        service.wait_for("doctor_repaired")
        assert service.status()["healthy"]
        assert 1 == service.count("doctor")
        actions = [entry["action"] for entry in service.request("GET", "/api/audit")]
        assert "doctor repair" in actions


def test_running_service_has_its_newest_backup_read(tmp_path: Path) -> None:
    """A backup that went bad on its disk is found while the service runs; the database is fine."""
    data, backup = tmp_path / "data", tmp_path / "backup.db"
    with Service(data, "--interval=3600") as service:
        assert "There is no backup" in service.cli("doctor").stdout
        assert 0 == service.cli("backup", str(backup)).returncode
        sound = service.cli("doctor")
        assert (0, True) == (sound.returncode, f"Every page of {backup} was read" in sound.stderr)
        with open(backup, "r+b") as file:
            file.seek(4096 * 5)
            file.write(bytes(4096 * 5))
        assert (4, True) == (service.cli("doctor").returncode, service.status()["healthy"])
        assert 2 == service.cli("doctor", "--full").returncode


def test_stopped_directory_that_cannot_be_opened(tmp_path: Path) -> None:
    """No database, one of a later version, or no database at all in the file: each is told."""
    data = tmp_path / "data"
    service = Service(data)
    missing = service.cli("doctor")
    assert (1, True) == (missing.returncode, "has no database" in missing.stderr)
    assert not data.exists()
    service.start().stop()
    damage(data / NAME, "PRAGMA user_version = 999")
    before = (data / NAME).read_bytes()
    newer = service.cli("doctor", "--repair")
    assert (4, True) == (newer.returncode, "only a later version can open" in newer.stdout)
    assert before == (data / NAME).read_bytes()
    (data / NAME).write_bytes(b"no database " * 1000)
    broken = service.cli("doctor", "--full", "--repair")
    assert (4, True) == (broken.returncode, "file is not a database" in broken.stdout)


def test_files_open_to_others_are_found_and_closed(tmp_path: Path) -> None:
    """Files that other users may read are an error, also in a directory that nobody has open."""
    data = tmp_path / "data"
    with Service(data, "--interval=3600") as service:
        (data / NAME).chmod(0o644)
        assert 4 == service.cli("doctor").returncode
        assert 0 == service.cli("doctor", "--repair").returncode
        assert 0o600 == (data / NAME).stat().st_mode & 0o777
        service.stop()
        (data / NAME).chmod(0o640)
        assert 4 == service.cli("doctor").returncode
        assert 0 == service.cli("doctor", "--repair").returncode
        assert 0o600 == (data / NAME).stat().st_mode & 0o777
