"""Databases that earlier versions wrote, one of each schema, opened by the code of today."""

from __future__ import annotations

import gzip
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bg_charm_service.storage.sqlite.migrations import STEPS
from tests.process.running import Service

DATABASES = Path(__file__).parents[1] / "fixtures" / "databases"
NAME = "bg-charm-service.db"
OPERATOR_PASS = "a passphrase of this operator"
SCHEMAS = {int(re.findall(r"\d+", path.name)[0]): path for path in DATABASES.glob("schema-*.db.gz")}

#: Writes a schema of the future into the log of a database, and dies with it.
CRASH = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA locking_mode = EXCLUSIVE")
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("CREATE TABLE from_the_future (x)")
connection.execute("PRAGMA user_version = 999")
os._exit(0)
"""


def unpack(schema: int, tmp_path: Path) -> Path:
    """Make a data directory with the database of a schema."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / NAME).touch(0o600)
    (data / NAME).write_bytes(gzip.decompress(SCHEMAS[schema].read_bytes()))
    return data


def query(path: Path, sql: str) -> list[Any]:
    """Look into a database file that nobody has open."""
    connection = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def contents(data: Path) -> dict[str, bytes]:
    """Give what every file of a database holds."""
    return {path.name: path.read_bytes() for path in data.glob(f"{NAME}*")}


def refusal(data: Path) -> str:
    """Start the service, which must refuse with one line; gives that."""
    service = Service(data, OPERATOR_PASS=OPERATOR_PASS)
    assert 1 == service.boot().wait()
    (line,) = service.errors.splitlines()
    return line


def test_every_schema_has_its_database() -> None:
    """The steps of the schema and the databases kept of them are the same numbers."""
    assert list(range(1, len(STEPS) + 1)) == sorted(SCHEMAS)


@pytest.mark.parametrize("schema", sorted(SCHEMAS))
def test_service_goes_on_with_an_old_database(schema: int, tmp_path: Path) -> None:
    """Charms, state, secrets, links, waiting and claimed jobs of every schema are all still there.

    The job that was claimed when that service was killed runs again, and the one behind it after
    it. A copy of the database as it was lies beside it, if it had to be changed.
    """
    data = unpack(schema, tmp_path)
    (slow,) = query(data / NAME, "SELECT charm_id FROM charms WHERE cause = 'slow'")
    (counter,) = query(data / NAME, "SELECT charm_id FROM charms WHERE cause = 'counter'")
    (counted,) = query(
        data / NAME,
        "SELECT value FROM cells JOIN charms USING (charm_key)"
        " WHERE cause = 'counter' AND field = 'counter'",
    )
    rows = query(data / NAME, "SELECT count(*), sum(executions) FROM health")
    with Service(data, "--interval=3600", "--max-retries=0", OPERATOR_PASS=OPERATOR_PASS) as new:
        new.wait_for("run.failed", charm=slow[0])
        new.wait_for("run.succeeded", charm=slow[0])
        # Its poll was due when that service was killed.
        new.wait_for("run.succeeded", charm=counter[0])
        found = {one["cause"]: one for one in new.request("GET", "/api/charms")["charms"]}
        assert {"counter", "failing", "idle", "reader", "secretive", "slow"} == set(found)
        assert "hand" == found["idle"]["disabled_by"]
        path = {
            cause: f"/api/charms/{one['space']}/{one['charm_id']}" for cause, one in found.items()
        }
        for cause in ("counter", "secretive", "reader"):
            assert "success" == new.request("POST", f"{path[cause]}/run")["run"]["status"]
        value = new.request("GET", f"{path['counter']}/state/counter")
        assert value > int(counted[0])
        assert value == found["counter"]["executions"] + 1
        assert {"$secret": True} == new.request("GET", f"{path['secretive']}/state/password")
        assert value == new.request("GET", f"{path['reader']}/state/seen")
        # A poll's, and the events that were given up, then and now.
        assert 3 == new.status()["dead_letters"]
        assert 0 == new.cli("doctor").returncode
        assert 0 == new.stop()
    assert [(len(STEPS),)] == query(data / NAME, "PRAGMA user_version")
    kept = data / f"{NAME}.before-{len(STEPS)}"
    assert (schema < len(STEPS)) == kept.exists()
    if kept.exists():
        assert [(schema,)] == query(kept, "PRAGMA user_version")
        assert rows == query(kept, "SELECT count(*), sum(executions) FROM health")
        assert 0o600 == kept.stat().st_mode & 0o777


@pytest.mark.parametrize("is_in_the_log", [False, True])
def test_newer_database_is_refused_untouched(tmp_path: Path, *, is_in_the_log: bool) -> None:
    """A schema of a later version: service and commands say so, and not one byte changes.

    Also when that version was killed, and only the log has its schema yet.
    """
    data = unpack(max(SCHEMAS), tmp_path)
    subprocess.run([sys.executable, "-c", CRASH, str(data / NAME)], check=True)
    if not is_in_the_log:
        sqlite3.connect(data / NAME).execute("PRAGMA user_version").connection.close()
    before = contents(data)
    assert ([NAME, f"{NAME}-wal"] if is_in_the_log else [NAME]) == sorted(before)
    assert "has schema 999" in refusal(data)
    told = Service(data).cli("charm", "list")
    assert (1, True) == (told.returncode, "has schema 999" in told.stderr)
    assert before == contents(data)


def test_upgrade_that_fails_changes_nothing(tmp_path: Path) -> None:
    """A step that cannot be applied: the start is refused in one line, the file stays as it was."""
    data = unpack(min(SCHEMAS), tmp_path)
    with sqlite3.connect(data / NAME) as connection:
        connection.execute("CREATE TABLE audit (in_the_way)")
    connection.close()
    before = (data / NAME).read_bytes()
    assert "table audit already exists" in refusal(data)
    assert before == (data / NAME).read_bytes()
    assert not (data / f"{NAME}-wal").exists()


def test_no_upgrade_without_a_copy(tmp_path: Path) -> None:
    """Where no copy can be made first, the schema stays what it is, and the reason is told."""
    data = unpack(min(SCHEMAS), tmp_path)
    before = (data / NAME).read_bytes()
    os.mkdir(data / f"{NAME}.before-{len(STEPS)}")
    assert f"cannot take the file {NAME}.before-{len(STEPS)}" in refusal(data)
    assert before == (data / NAME).read_bytes()


def test_no_upgrade_of_a_damaged_database(tmp_path: Path) -> None:
    """A database that is damaged is not brought up to date: what can be saved stays as it is."""
    data = unpack(min(SCHEMAS), tmp_path)
    with open(data / NAME, "r+b") as file:
        (root,) = query(
            data / NAME, "SELECT rootpage FROM sqlite_master WHERE name = 'runs_by_age'"
        )
        file.seek((root[0] - 1) * 4096)
        file.write(bytes(4096))
    before = (data / NAME).read_bytes()
    assert "is damaged, and was not brought up to date" in refusal(data)
    assert before == (data / NAME).read_bytes()
