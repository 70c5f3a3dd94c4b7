"""Copies of the database as one file, by pg_dump: one moment of it, while it is in use.

pg_dump has a session of its own. Called by backups, from a thread.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from bg_charm_service.domain.errors import BackupError, ServiceStopping
from bg_charm_service.storage.whole_files import written

#: The program, as it is found on the PATH.
PG_DUMP = "pg_dump"

#: What it has to know of the server; of the rest its own library may know less than ours.
_OF_SERVER = {
    *("host", "hostaddr", "port", "user", "dbname"),
    *("sslmode", "sslrootcert", "sslcert", "sslkey"),
}

#: So often it is asked whether to go on, in seconds.
_LOOK_SECONDS = 0.05


def dump_database(
    info: psycopg.ConnectionInfo,
    target: Path,
    should_stop: Callable[[], bool],
    *,
    program: str = PG_DUMP,
) -> None:
    """Write all that is committed into a new file of mode 0600, and see it to the disk.

    Raises BackupError, or ServiceStopping when asked to stop; a copy that is not whole is removed.
    """
    with written(target):
        _dump(info, target, should_stop, program)


def _dump(
    info: psycopg.ConnectionInfo, target: Path, should_stop: Callable[[], bool], program: str
) -> None:
    command = [program, "--format=custom", f"--file={target}", "--no-owner", "--no-acl"]
    server = {name: value for name, value in info.get_parameters().items() if name in _OF_SERVER}
    command.append(f"--dbname={make_conninfo(**server)}")
    environ = os.environ | {"PGPASSWORD": info.password}
    if should_stop():
        raise ServiceStopping("The service is stopping; the backup was given up.")
    try:
        dumping = subprocess.Popen(
            command, env=environ, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
    except OSError as error:
        raise BackupError(f"{program} cannot be run: {error.strerror}.") from None
    said = None
    with dumping:
        while said is None:
            with suppress(subprocess.TimeoutExpired):
                _, said = dumping.communicate(timeout=_LOOK_SECONDS)
            if said is None and should_stop():
                dumping.kill()
                raise ServiceStopping("The service is stopping; the backup was given up.")
    if dumping.returncode:
        raise BackupError(f"No copy of the database was made: {' '.join(said.split())}")
