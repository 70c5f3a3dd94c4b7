"""What a mail server writes, taken apart: its answers to FETCH and the like. Used by `imap`."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

from bg_charm_service.sdk.mail.uid_set import UidSet

UID: Final = re.compile(rb"\bUID (\d+)")
_FLAGS: Final = re.compile(rb"\bFLAGS \(([^)]*)\)")
_ORIGIN: Final = re.compile(rb"\bBODY\[\](?:<\d+>)? ")
_SIZE: Final = re.compile(rb"\bRFC822\.SIZE (\d+)")
_RECEIVED: Final = re.compile(
    rb'\bINTERNALDATE " ?(\d{1,2})-(\w{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)"'
)
_MONTHS: Final = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


@dataclass(frozen=True, slots=True)
class MailHead:
    """What a server says of a mail without giving it; `size` is in bytes."""

    flags: frozenset[str]
    size: int = 0
    received: datetime | None = None


def mailbox_name(name: str) -> str:
    """Write the name of a mailbox as a server knows it: in modified UTF-7 (RFC 3501, 5.1.3)."""
    found = []
    for part in re.split(r"([^\x20-\x7e]+)", name):
        if part and not ("\x20" <= part[0] <= "\x7e"):
            packed = part.encode("utf-16-be")
            coded = b64encode(packed).decode("ascii").rstrip("=").replace("/", ",")
            found.append(f"&{coded}-")
        else:
            found.append(part.replace("&", "&-"))
    quoted = "".join(found).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"'


def number_in(untagged: dict[str, list[Any]], name: str) -> int | None:
    """The number that was said last under a name."""
    lines = untagged.get(name, ())
    return int(lines[-1]) if lines and lines[-1].isdigit() else None


def flags_in(lines: Iterable[Any]) -> dict[int, frozenset[str]]:
    """The flags of mails in answers to FETCH."""
    found: dict[int, frozenset[str]] = {}
    for line in lines:
        text = line[0] if isinstance(line, tuple) else line
        uid, flags = UID.search(text), _FLAGS.search(text)
        if uid is not None and flags is not None:
            names = flags[1].decode("utf-8", "replace").split()
            # Of the session, and of nothing that is stored.
            found[int(uid[1])] = frozenset(names) - {"\\Recent"}
    return found


def mails_in(lines: Iterable[Any]) -> Iterator[tuple[int, bytes]]:
    """The mails in answers to FETCH; the UID may stand before a mail or behind it."""
    head: bytes | None = None
    mail = b""
    for line in lines:
        if isinstance(line, tuple):
            if _ORIGIN.search(line[0]):
                head, mail = line
                if (uid := UID.search(head)) is not None:
                    yield int(uid[1]), mail
                    head = None
        elif head is not None and (uid := UID.search(line)) is not None:
            yield int(uid[1]), mail
            head = None


def heads_in(lines: Iterable[Any]) -> Iterator[tuple[int, MailHead]]:
    """What is said of mails in answers to FETCH."""
    for line in lines:
        text = line[0] if isinstance(line, tuple) else line
        uid, size, flags = UID.search(text), _SIZE.search(text), flags_in([text])
        # Of a mail whose flags change just now a server says no more than that.
        if uid is not None and size is not None:
            yield (
                int(uid[1]),
                MailHead(flags.get(int(uid[1]), frozenset()), int(size[1]), _received_in(text)),
            )


def _received_in(text: bytes) -> datetime | None:
    match = _RECEIVED.search(text)
    if match is None:
        return None
    day, month, year, hour, minute, second, sign, hours, minutes = match.groups()
    offset = timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == b"-" else 1)
    try:
        return datetime(
            int(year),
            _MONTHS.index(month.title()) + 1,
            int(day),
            int(hour),
            int(minute),
            int(second),
            tzinfo=timezone(offset),
        ).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def uids_in(line: bytes) -> UidSet:
    """The UIDs at the end of a line, however many they are."""
    return UidSet.parse(line.decode("ascii", "replace").rpartition(" ")[2])
