"""Connections that come out of the service itself are told from others."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from bg_charm_service.api.auth.peers import is_from_own_child

#: Takes a name that is no text, and connects.
_NAMELESS = """
import ctypes, socket, sys
ctypes.CDLL(None).prctl(15, b"\\xff) \\xfe")
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    sys.stdin.read()
"""


def test_process_below_is_known_whatever_its_name(tmp_path: Path) -> None:
    """A process may call itself anything: bytes that are no text, and brackets."""
    address = str(tmp_path / "service.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        command = [sys.executable, "-c", _NAMELESS, address]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
            connection, _ = listener.accept()
            with connection:
                assert is_from_own_child(connection)
            assert child.stdin is not None
            child.stdin.close()


def test_process_itself_is_not_below(tmp_path: Path) -> None:
    """What the service connects to by itself comes from no charm."""
    address = str(tmp_path / "service.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(address)
        listener.listen()
        client.connect(address)
        connection, _ = listener.accept()
        with connection:
            assert not is_from_own_child(connection)
