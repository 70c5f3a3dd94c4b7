"""What the process that sends notices refuses, wherever an address leads it."""

from __future__ import annotations

import os
from typing import Any

import pytest

from bg_charm_service.notices.messages import Check, Errand
from bg_charm_service.notices.notice_process import _guard


def errand(*, may_be_local: bool = False) -> Errand:
    """One that may connect to port 443, on a machine that has one address of its own."""
    return Errand(
        Check("jsons://example.org"),
        os.getpid(),
        1.0,
        has_walls=False,
        missing_walls=(),
        ports=frozenset({443}),
        own=frozenset({"192.0.2.7"}),
        may_be_local=may_be_local,
    )


@pytest.mark.parametrize(
    ("event", "args", "why"),
    [
        ("socket.connect", (None, ("127.0.0.1", 443)), "leads to this machine"),
        ("socket.connect", (None, ("::1", 443, 0, 0)), "leads to this machine"),
        ("socket.connect", (None, ("::ffff:127.0.0.1", 443, 0, 0)), "leads to this machine"),
        ("socket.connect", (None, ("192.0.2.7", 443)), "leads to this machine"),
        ("socket.connect", (None, ("198.51.100.1", 8000)), "port 8000"),
        ("socket.connect", (None, "/run/dbus/system_bus_socket"), "a program of this machine"),
        ("subprocess.Popen", ("notify-send", [], None, None), "start a program"),
        ("os.posix_spawn", ("notify-send", [], {}), "start a program"),
    ],
)
def test_what_is_refused(event: str, args: tuple[Any, ...], why: str) -> None:
    """Where the connection is made, whatever name led there; and it is told why."""
    told: list[str] = []
    with pytest.raises(PermissionError, match=why):
        _guard(errand(), told.append)(event, args)
    assert 1 == len(told)


def test_what_is_allowed() -> None:
    """Others, on the ports of the errand; and this machine where that is meant."""
    told: list[str] = []
    _guard(errand(), told.append)("socket.connect", (None, ("198.51.100.1", 443)))
    _guard(errand(), told.append)("open", ("/etc/hosts", "r", 0))
    allowed = _guard(errand(may_be_local=True), told.append)
    allowed("socket.connect", (None, ("127.0.0.1", 443)))
    assert [] == told
