"""What systemd is told: how the service is (sd_notify), and how much a line of the log matters.

Owns both protocols; it decides nothing: the supervisor says what to tell and when.
Outside systemd every call does nothing, so that callers need not ask where they run.
"""

from __future__ import annotations

import os
import socket
from typing import TextIO

#: Systemd's own advice: tell it twice as often as it checks.
_WATCHDOG_SHARE = 0.5

#: A notification that systemd does not take by then is given up, so that the loop goes on.
_SEND_TIMEOUT_SECONDS = 1.0


#: From which level of logging on a line has which mark: critical, error, warning, info, debug.
_PRIORITIES = ((50, "<2>"), (40, "<3>"), (30, "<4>"), (20, "<6>"), (0, "<7>"))


def is_listening() -> bool:
    """Whether anybody takes notifications, so that it is worth the work to make them."""
    return os.environ.get("NOTIFY_SOCKET", "")[:1] in ("/", "@")


def notify(**fields: str | int) -> bool:
    """Send fields such as `READY=1`, `STATUS="…"`, `STOPPING=1`, `WATCHDOG=1` in one message.

    Returns whether systemd got them. Line breaks inside a value become spaces: in the
    protocol a line is a field.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not fields or address[:1] not in ("/", "@"):
        return False
    message = "\n".join(f"{name}={_one_line(value)}" for name, value in fields.items())
    # A leading @ stands for the zero byte of an abstract socket's name.
    name = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(_SEND_TIMEOUT_SECONDS)
            channel.sendto(message.encode(), name)
    except OSError:
        # A lost notification must never stop the service; a lost READY shows in systemd itself.
        return False
    return True


def is_journal(stream: TextIO) -> bool:
    """Whether what is written to a stream goes into the journal, as systemd says by JOURNAL_STREAM.

    That names the device and inode of the stream that systemd opened: one that was redirected
    since, or is another process's, is a different one.
    """
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(stream.fileno())
        return (found.st_dev, found.st_ino) == (int(device), int(inode))
    except (OSError, ValueError):
        return False


def priority(level: int) -> str:
    """Give the mark by which the journal knows how much a line matters, from a level of logging.

    The marks of sd-daemon(3): the priorities of syslog, in angle brackets.
    """
    return next(mark for least, mark in _PRIORITIES if level >= least)


def watchdog_interval_seconds() -> float | None:
    """How often to send `WATCHDOG=1`; None when systemd does not watch this process."""
    try:
        limit_seconds = int(os.environ.get("WATCHDOG_USEC", "")) / 1_000_000
        watched = int(os.environ.get("WATCHDOG_PID") or os.getpid())
    except ValueError:
        return None
    if limit_seconds <= 0 or watched != os.getpid():
        return None
    return limit_seconds * _WATCHDOG_SHARE


def _one_line(value: str | int) -> str:
    return " ".join(str(value).splitlines())
