"""The process that sends one notice: behind walls, and gone with the service.

Apprise knows how targets are spoken to; it is loaded here and nowhere else, with one target, so
that its answer is about that one. It follows no redirect (a POST would become an empty GET that
counts as sent), keeps no files, and is given plain text. Connections to this machine are refused
where they are made, whatever a name leads to. Started by `notice_client`; knows no charm.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from bg_charm_service.domain.errors import SandboxError
from bg_charm_service.domain.notice_urls import is_this_machine, secret_parts
from bg_charm_service.domain.redaction import mask, redact
from bg_charm_service.domain.text_limits import cut
from bg_charm_service.notices.messages import Beat, Check, Deliver, Errand, Report, ReportKind
from bg_charm_service.workers.protocol.processes import die_with_parent
from bg_charm_service.workers.sandbox.client_walls import raise_client_walls

#: An errand is not larger, in bytes.
_MOST_BYTES: Final = 1024 * 1024

#: Of the library's own words so many characters are told.
_TOLD_CHARACTERS: Final = 200

#: Who asks an address that is to know that the service is well.
_AGENT: Final = "bg-charm-service"

#: What starts a program, as Python tells its auditors.
_PROGRAMS: Final = ("subprocess.", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.fork")


def main() -> None:
    """Do what the errand on standard input says; the report goes to standard output."""
    errand = msgspec.msgpack.decode(sys.stdin.buffer.read(_MOST_BYTES), type=Errand)
    sys.stdout.buffer.write(msgspec.msgpack.encode(_report(errand)))
    sys.stdout.buffer.flush()


def _report(errand: Errand) -> Report:
    die_with_parent(errand.parent)
    try:
        raise_client_walls(errand.ports, errand.missing_walls, has_walls=errand.has_walls)
    except (OSError, SandboxError) as error:
        return Report(ReportKind.FAULT, f"There are no walls for who sends notices: {error}.")
    refused: list[str] = []
    sys.addaudithook(_guard(errand, refused.append))
    deed = errand.deed
    try:
        if isinstance(deed, Beat):
            return _beat(deed.url, errand.timeout_seconds)
        found = _send(deed, errand.timeout_seconds)
    except Exception as error:  # its text may hold what it was about
        return Report(ReportKind.UNKNOWN, f"It could not be sent: {type(error).__name__}.")
    if refused and found.kind is ReportKind.REFUSED:
        return Report(ReportKind.REFUSED, refused[0])
    return found


def _guard(errand: Errand, note: Callable[[str], None]) -> Callable[[str, tuple[Any, ...]], None]:
    """Give what is asked before each connection, and before a program is started."""

    def refuse(why: str) -> None:
        note(why)
        raise PermissionError(why)

    def look(event: str, args: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            address = args[1]
            if not isinstance(address, tuple):
                refuse("It would speak to a program of this machine.")
            host, port = address[0], address[1]
            if not errand.may_be_local and is_this_machine(str(host), errand.own):
                refuse(
                    "Its address leads to this machine; --notify-local allows that where it is "
                    "meant."
                )
            if port not in errand.ports:
                refuse(f"Nothing is sent to port {port}.")
        elif event.startswith(_PROGRAMS):
            refuse("It would start a program.")

    return look


class _LastWords(logging.Handler):
    """Remembers what the library complained about last."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


def _send(deed: Deliver | Check, timeout_seconds: float) -> Report:
    # Behind walls: nothing of it was imported before.
    import apprise
    from apprise import common

    words = _LastWords()
    logger = logging.getLogger("apprise")
    logger.addHandler(words)
    asset = apprise.AppriseAsset(
        app_id="Background Charm Service",
        app_desc="Background Charm Service",
        storage_mode=common.PersistentStoreMode.MEMORY,
        async_mode=False,
        http_redirects=False,
        secure_logging=True,
        interpret_escapes=False,
        # This process has an end of its own.
        service_timeout=0,
    )
    target = apprise.Apprise.instantiate(deed.url, asset=asset, suppress_exceptions=True)
    if target is None:
        return Report(ReportKind.REFUSED, "Its address is not complete for its scheme.")
    if isinstance(deed, Check):
        return Report(ReportKind.DONE)
    # Else whoever takes four seconds to answer would be sent it again.
    target.socket_connect_timeout = target.socket_read_timeout = timeout_seconds
    sender = apprise.Apprise(asset=asset)
    sender.add(target)
    started = time.monotonic()
    found = sender.notify(
        deed.body,
        title=deed.title,
        notify_type=common.NotifyType(deed.severity),
        body_format=common.NotifyFormat.TEXT,
    )
    if found.status == apprise.AppriseResultStatus.SUCCESS:
        return Report(ReportKind.DONE)
    if time.monotonic() - started >= timeout_seconds:
        return Report(ReportKind.UNKNOWN, f"There was no answer within {timeout_seconds:g} s.")
    why = mask(redact(" ".join(words.text.split()), secret_parts(deed.url)))
    return Report(ReportKind.REFUSED, cut(why, _TOLD_CHARACTERS) or "It was not taken.")


def _beat(url: str, timeout_seconds: float) -> Report:
    import http.client
    import ssl

    parts = urlsplit(url)
    host, path = parts.hostname or "", parts.path or "/"
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            host, parts.port, timeout=timeout_seconds, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=timeout_seconds)
    try:
        connection.request(
            "GET", f"{path}?{parts.query}" if parts.query else path, headers={"User-Agent": _AGENT}
        )
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else ""
        return Report(ReportKind.REFUSED, f"It was not reached: {why or type(error).__name__}.")
    finally:
        connection.close()
    if 200 <= status < 300:
        return Report(ReportKind.DONE)
    return Report(ReportKind.REFUSED, f"It answered {status}.")
