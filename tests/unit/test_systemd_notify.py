"""Promises of the systemd notifications."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bg_charm_service.daemon.systemd import notify, watchdog_interval_seconds


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """The socket on which systemd would listen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.settimeout(5)
        yield channel


def test_fields_arrive_as_one_message(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All fields of a call arrive in one datagram, one a line."""
    address = str(tmp_path / "n")
    listener.bind(address)
    monkeypatch.setenv("NOTIFY_SOCKET", address)

    assert notify(READY=1, STATUS="2 charms, 0 running")

    assert b"READY=1\nSTATUS=2 charms, 0 running" == listener.recv(4096)


def test_abstract_socket_is_reached(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that starts with @ names a socket in the abstract namespace."""
    name = f"bg-charm-service-test-{os.getpid()}"
    listener.bind("\0" + name)
    monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)

    assert notify(WATCHDOG=1)

    assert b"WATCHDOG=1" == listener.recv(4096)


def test_line_break_in_a_value_makes_no_field(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A status of several lines stays one field, and cannot smuggle in another."""
    address = str(tmp_path / "n")
    listener.bind(address)
    monkeypatch.setenv("NOTIFY_SOCKET", address)

    notify(STATUS="charm said\nSTOPPING=1")

    assert b"STATUS=charm said STOPPING=1" == listener.recv(4096)


@pytest.mark.parametrize("address", [None, "", "nonsense", "/nowhere/at/all"])
def test_without_a_usable_socket_nothing_happens(
    address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside systemd, or with an address that leads nowhere, a call does nothing and says so."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)

    assert not notify(READY=1)


@pytest.mark.parametrize("pid", [None, str(os.getpid())], ids=["nobody named", "this process"])
def test_watchdog_is_fed_twice_as_often_as_checked(
    pid: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interval is half of WatchdogSec, whether or not systemd names the process."""
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    if pid is not None:
        monkeypatch.setenv("WATCHDOG_PID", pid)

    assert 30.0 == watchdog_interval_seconds()


@pytest.mark.parametrize(
    ("usec", "pid"), [(None, None), ("0", None), ("soon", None), ("60000000", "1"), ("5", "x")]
)
def test_no_watchdog_for_this_process(
    usec: str | None, pid: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No limit, an unreadable one, or one meant for another process: nothing to feed."""
    for name, value in {"WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}.items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)

    assert watchdog_interval_seconds() is None
