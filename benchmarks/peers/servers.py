"""Servers that peers need, started for them in an empty folder and ended again.

Only where a program of theirs is installed. One that runs already is not used: nobody knows how
durable it is told to be, nor whose data is in it. Both are told to have every commit on disk.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.contender import process
from benchmarks.sampling import Unmeasurable

#: Where Debian keeps what is not in the path.
_POSTGRES_FOLDERS = "/usr/lib/postgresql"

#: What Debian's packages ask whether they may start a service; 101 is no.
POLICY = Path("/usr/sbin/policy-rc.d")

#: PostgreSQL does not run as root; then it runs as one of these.
_USERS = ("postgres", "nobody")

_PATIENCE_SECONDS = 30.0


def find_redis() -> str | None:
    """Give the path of a Redis server."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


def provide_redis(say: Callable[[str], None]) -> str:
    """Have a Redis server, installed from Debian's packages where that may be; gives why not."""
    if find_redis():
        return ""
    apt_get = shutil.which("apt-get")
    if os.geteuid() != 0 or apt_get is None:
        return "there is no redis-server here, and only root of a Debian can install it"
    say("  Installing redis-server.")
    words = ""
    with starting_nothing():
        for command in (("update",), ("install", "-y", "--no-install-recommends", "redis-server")):
            done = subprocess.run(
                [apt_get, "-q", *command],
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                capture_output=True,
                text=True,
                check=False,
            )
            words = (done.stderr.strip().splitlines() or [f"it gave {done.returncode}"])[-1]
    return "" if find_redis() else f"apt-get could not install redis-server: {words}"


@contextmanager
def starting_nothing() -> Iterator[None]:
    """Have packages start no service of theirs: each round starts its own.

    Debian asks `POLICY` before it starts one; where there is such a file, it stays as it is.
    """
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)


def find_postgres() -> Path | None:
    """Give the folder with PostgreSQL's programs."""
    found = shutil.which("postgres")
    if found and shutil.which("initdb"):
        return Path(found).resolve().parent
    folders = sorted(Path(_POSTGRES_FOLDERS).glob("*/bin"))
    return next((folder for folder in reversed(folders) if (folder / "initdb").exists()), None)


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """Run a Redis that writes every command to its log and the disk; gives its URL."""
    program = find_redis()
    assert program is not None
    port = _free_port()
    flags = ("--appendonly", "yes", "--appendfsync", "no", "--save", "")
    where = ("--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder))
    with process(program, *where, *flags, environ=os.environ):
        _wait_until(lambda: _is_open(port), "Redis")
        yield f"redis://127.0.0.1:{port}"


def make_durable(url: str) -> None:
    """Tell a Redis to wait for the disk from now on: it is filled faster without."""
    from redis import Redis

    with Redis.from_url(url) as server:
        server.config_set("appendfsync", "always")


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL with its own defaults, which are durable; gives how to connect to it."""
    programs = find_postgres()
    assert programs is not None
    user = _user()
    data = folder / "postgres"
    data.mkdir(mode=0o700)
    if user is not None:
        folder.chmod(0o711)
        os.chown(data, user.pw_uid, user.pw_gid)
    name = user.pw_name if user else None
    made = subprocess.run(
        [str(programs / "initdb"), "-D", str(data / "db"), "-U", "bench", "--auth=trust"],
        capture_output=True,
        text=True,
        check=False,
        user=name,
        group=user.pw_gid if user else None,
        extra_groups=[] if user else None,
    )
    if made.returncode:
        raise Unmeasurable(f"initdb failed: {made.stderr[-1000:]}")
    port = _free_port()
    flags = ("-D", str(data / "db"), "-h", "127.0.0.1", "-p", str(port), "-k", str(data))
    with process(str(programs / "postgres"), *flags, environ=os.environ, user=user):
        where = f"host=127.0.0.1 port={port} user=bench dbname=postgres"
        _wait_until(lambda: _is_postgres_ready(where), "PostgreSQL")
        yield where


def _user() -> pwd.struct_passwd | None:
    """Give whom to run PostgreSQL as; None for whoever we are."""
    if os.geteuid() != 0:
        return None
    known = {one.pw_name: one for one in pwd.getpwall()}
    return next((known[name] for name in _USERS if name in known), None)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until(is_ready: Callable[[], bool], name: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not is_ready():
        if time.monotonic() > deadline:
            raise Unmeasurable(f"{name} did not answer within {_PATIENCE_SECONDS:g} s.")
        time.sleep(0.05)


def _is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _is_postgres_ready(where: str) -> bool:
    """Whether it takes connections: its port is open before it does."""
    import psycopg

    try:
        psycopg.connect(where).close()
    except psycopg.OperationalError:
        return False
    return True
