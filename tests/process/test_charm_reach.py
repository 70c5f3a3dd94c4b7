"""A charm cannot get at the service that it runs in: neither by its port nor by its socket."""

from __future__ import annotations

from pathlib import Path

from tests.process.reaching import reached

PROBE = '''\
import os
import socket
import subprocess
import sys

from bg_charm_service import Charm

CHILD = """
import socket, sys
family = socket.AF_INET6 if sys.argv[1].startswith("::") else socket.AF_INET
with socket.socket(family) as one:
    one.connect((sys.argv[1], int(sys.argv[2])))
    one.sendall(b"GET /api/status HTTP/1.0\\\\r\\\\n\\\\r\\\\n")
    print(one.recv(12).decode())
"""


class Probe(Charm):
    answers: dict[str, str] = {}

    def bg_updater(self, event: dict) -> None:
        port = event["port"]
        for host in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self.ask(host, family, (host, port))
        self.ask("socket", socket.AF_UNIX, event["path"])
        command = [sys.executable, "-c", CHILD, "127.0.0.1", str(port)]
        done = subprocess.run(command, capture_output=True, text=True)
        self.answers["child"] = done.stdout.strip()

    def ask(self, name: str, family: int, address: object) -> None:
        with socket.socket(family) as one:
            try:
                one.connect(address)
                one.sendall(b"GET /api/status HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
                self.answers[name] = one.recv(12).decode()
            except OSError:
                self.answers[name] = ""
'''


def test_a_charm_is_hung_up_on(tmp_path: Path) -> None:
    """Its connections, and those of what it starts, end without an answer."""
    with reached(tmp_path) as door:
        charm = door.service.add(PROBE, cause="probe")
        path = str(door.service.data_dir / "service.sock")
        run = charm.perform(port=int(door.url.rpartition(":")[2]), path=path)
        assert "success" == run["status"], run
        names = ("127.0.0.1", "::1", "::ffff:127.0.0.1", "socket", "child")
        assert dict.fromkeys(names, "") == charm.get("answers")
        with door.client() as client:
            assert 200 == client.get("/api/status").status_code
