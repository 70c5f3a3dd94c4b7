"""A mailbox over IMAP: what has changed in it since last time, in one round trip where it can be.

On Python's `imaplib`, whose traps are dealt with here: QRESYNC (RFC 7162) where the server has it,
CONDSTORE where it has that, else a comparison; a mailbox that was made anew; a logout that would
hide the error before it. Imported by authors.
"""

from __future__ import annotations

import imaplib
import re
import sys
from base64 import b64encode
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final

from bg_charm_service.sdk.endings import ProviderDown, SignInNeeded, Wait
from bg_charm_service.sdk.tls_context import shared_tls_context

#: So many mails are asked for at a time.
_MAILS_A_PIECE: Final = 50

#: Of a mail so much is fetched, unless more is asked for: most of what is larger is attached.
_MOST_BYTES: Final = 1024 * 1024

_TLS_PORT: Final = 993

#: What a server says when it is not to be had now, and when it is asked too often (RFC 5530).
_AWAY: Final = ("UNAVAILABLE", "SERVERBUG", "INUSE")
_LIMITED: Final = ("LIMIT", "OVERQUOTA")

_CODE: Final = re.compile(r"\[([A-Z]+)")
_UID: Final = re.compile(rb"\bUID (\d+)")
_FLAGS: Final = re.compile(rb"\bFLAGS \(([^)]*)\)")
_ORIGIN: Final = re.compile(rb"\bBODY\[\](?:<\d+>)? ")


@dataclass(frozen=True, slots=True)
class MailPoint:
    """How far a mailbox was read; a field of a charm keeps it from run to run.

    `uid_validity` changes when the mailbox was made anew, and no number of a mail counts any more.
    `mod_seq` is 0 where the server counts no changes.
    """

    uid_validity: int
    mod_seq: int = 0


@dataclass(frozen=True, slots=True)
class MailChanges:
    """What is new in a mailbox: the flags of mails that came or changed, and those that are gone.

    Mails are named by their UID. When `is_new`, the mailbox was never read, or was made anew:
    `removed` is all that was known, and `changed` all that it has now.
    """

    point: MailPoint
    changed: dict[int, frozenset[str]] = field(default_factory=dict)
    removed: frozenset[int] = frozenset()
    is_new: bool = False


class Imap:
    """A connection to a mail server, for a `with`; it reads, and changes nothing.

        with Imap("imap.example.org", self.user, self.password) as imap:
            changes = imap.changes("INBOX", self.point, known=self.mails)
            for uid, mail in imap.fetch(changes.changed):
                self.mails[uid] = mail_text(mail)
        self.point = changes.point

    Raises ProviderDown where the server cannot be reached or goes away, SignInNeeded where it
    refuses user and password (or, for `is_token`, an OAuth token instead of the password).
    """

    def __init__(
        self,
        host: str,
        user: str,
        password: str,
        *,
        is_token: bool = False,
        port: int = _TLS_PORT,
        is_plain: bool = False,
        timeout: float = 10.0,
    ) -> None:
        """Say where; `is_plain` is for a server of one's own that speaks no TLS."""
        self._host, self._port = host, port
        self._user, self._password = user, password
        self._is_token, self._is_plain = is_token, is_plain
        self._timeout = timeout
        self._opened: imaplib.IMAP4 | None = None
        self._has_qresync = self._has_condstore = self._has_esearch = False

    def __enter__(self) -> Imap:
        try:
            self._open()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def changes(
        self, mailbox: str, point: MailPoint | None = None, known: Collection[int] = ()
    ) -> MailChanges:
        """Open a mailbox and say what has changed since a point; `known` are the UIDs known then.

        Of these, `removed` names those that are gone.
        """
        untagged = self._examine(mailbox, point if self._has_qresync else None)
        validity = _number(untagged, "UIDVALIDITY") or 0
        now = MailPoint(validity, _number(untagged, "HIGHESTMODSEQ") or 0)
        if point is None or point.uid_validity != validity:
            return MailChanges(now, self._flags("1:*"), frozenset(known), is_new=True)
        is_told = bool(self._has_qresync and point.mod_seq and now.mod_seq)
        if is_told:
            changed = _flags_in(untagged.get("FETCH", ()))
            gone = _Uids(untagged.get("VANISHED", ()))
            removed = frozenset(uid for uid in known if uid in gone and uid not in changed)
            return MailChanges(now, changed, removed)
        if point.mod_seq and now.mod_seq:
            # What came has changed too. What went changes nothing that is counted.
            since = f"(CHANGEDSINCE {point.mod_seq})"
            changed = {} if point.mod_seq == now.mod_seq else self._flags("1:*", since)
            there = self._search_all()
            return MailChanges(now, changed, frozenset(uid for uid in known if uid not in there))
        # Nothing is told of changes: all flags are.
        flags = self._flags("1:*")
        return MailChanges(now, flags, frozenset(uid for uid in known if uid not in flags))

    def fetch(
        self, uids: Iterable[int], *, most_bytes: int = _MOST_BYTES
    ) -> Iterator[tuple[int, bytes]]:
        """Give mails of the mailbox that was opened, by UID, each up to `most_bytes`.

        They stay unread. One that is gone by now is left out.
        """
        wanted = sorted(set(uids))
        for place in range(0, len(wanted), _MAILS_A_PIECE):
            piece = ",".join(map(str, wanted[place : place + _MAILS_A_PIECE]))
            lines = self._ask("UID", "FETCH", piece, f"(UID BODY.PEEK[]<0.{most_bytes}>)")
            yield from _mails_in(lines.get("FETCH", ()))

    def _open(self) -> None:
        try:
            if self._is_plain:
                self._opened = imaplib.IMAP4(self._host, self._port, self._timeout)
            else:
                self._opened = imaplib.IMAP4_SSL(
                    self._host,
                    self._port,
                    ssl_context=shared_tls_context(),
                    timeout=self._timeout,
                )
        except (OSError, imaplib.IMAP4.error) as error:
            raise self._down(error) from error
        self._sign_in(self._opened)
        offered = self._capabilities()
        self._has_esearch = "ESEARCH" in offered
        self._has_qresync = "QRESYNC" in offered
        self._has_condstore = self._has_qresync or "CONDSTORE" in offered
        if self._has_qresync:
            # Without it a server need not say how far its count of changes is.
            self._ask("ENABLE", "QRESYNC")

    def _sign_in(self, imap: imaplib.IMAP4) -> None:
        text = f"user={self._user}\x01auth=Bearer {self._password}\x01\x01"
        try:
            if self._is_token:
                # A refusal is told in a question, which wants an empty answer.
                imap.authenticate("XOAUTH2", lambda said: b"" if said else text.encode())
            elif "AUTH=PLAIN" in imap.capabilities:
                # Takes any letter, where LOGIN of imaplib takes those of ASCII.
                plain = f"\0{self._user}\0{self._password}"
                imap.authenticate("PLAIN", lambda _: plain.encode())
            else:
                imap.login(self._user, self._password)
        except (OSError, imaplib.IMAP4.abort) as error:
            raise self._down(error) from error
        except imaplib.IMAP4.error as error:
            raise self._refused(str(error), SignInNeeded) from None

    def _capabilities(self) -> frozenset[str]:
        """What the server can do now: some say it only to whoever is signed in."""
        found = b" ".join(self._ask("CAPABILITY").get("CAPABILITY", ()))
        return frozenset(found.decode("ascii", "replace").upper().split())

    def _examine(self, mailbox: str, point: MailPoint | None) -> dict[str, list[Any]]:
        """Open a mailbox to read; gives what the server says of it."""
        parameters: tuple[str, ...] = ()
        if point is not None and point.mod_seq and point.uid_validity:
            parameters = (f"(QRESYNC ({point.uid_validity} {point.mod_seq}))",)
        elif self._has_condstore:
            parameters = ("(CONDSTORE)",)
        untagged = self._ask("EXAMINE", mailbox_name(mailbox), *parameters)
        imap = self._imap
        # `select` of imaplib takes no parameters, and would note these two.
        imap.state = "SELECTED"
        imap.is_readonly = True
        return untagged

    def _flags(self, uids: str, *also: str) -> dict[int, frozenset[str]]:
        return _flags_in(self._ask("UID", "FETCH", uids, "(UID FLAGS)", *also).get("FETCH", ()))

    def _search_all(self) -> _Uids:
        if self._has_esearch:
            # As ranges: a list of all is a line that may be too long for imaplib.
            return _Uids(self._ask("UID", "SEARCH", "RETURN (ALL)", "ALL").get("ESEARCH", ()))
        lines = self._ask("UID", "SEARCH", "ALL").get("SEARCH", ())
        return _Uids([line.replace(b" ", b",") for line in lines])

    @property
    def _imap(self) -> imaplib.IMAP4:
        if self._opened is None:
            raise RuntimeError("Imap is for a `with`: it is not open")
        return self._opened

    def _ask(self, command: str, *arguments: str) -> dict[str, list[Any]]:
        """Send a command; gives what came untagged. Raises what a refusal means."""
        imap = self._imap
        imap.untagged_responses.clear()
        try:
            answer, data = imap._simple_command(command, *arguments)
        except (OSError, imaplib.IMAP4.abort) as error:
            raise self._down(error) from error
        except imaplib.IMAP4.error as error:
            raise self._refused(str(error), ProviderDown) from None
        if answer != "OK":
            said = data[0].decode("utf-8", "replace") if data and data[0] else ""
            raise self._refused(f"{command}: {said}", MailError)
        found: dict[str, list[Any]] = dict(imap.untagged_responses)
        # What none came of is a list of nothing.
        return {name: [one for one in lines if one is not None] for name, lines in found.items()}

    def _refused(self, said: str, otherwise: type[Exception]) -> Exception:
        """What a refusal means, by its code (RFC 5530)."""
        code = match[1] if (match := _CODE.search(said)) else ""
        text = f"{self._host}: {said:.200}"
        if code in _AWAY:
            return ProviderDown(text, host=self._host)
        if code in _LIMITED:
            return Wait(0, text)
        if otherwise is ProviderDown:
            return ProviderDown(text, host=self._host)
        return otherwise(text)

    def _down(self, error: BaseException) -> ProviderDown:
        said = " ".join(str(error).split())
        return ProviderDown(f"{self._host}: {type(error).__name__}: {said}", host=self._host)

    def _close(self) -> None:
        """Say good-bye, and close: whatever comes of it hides no error."""
        imap, self._opened = self._opened, None
        if imap is not None:
            with suppress(Exception):
                imap.logout()
            with suppress(Exception):
                imap.shutdown()


class MailError(Exception):
    """A mail server refused a command: a mailbox that is not there, for one."""


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


def _number(untagged: dict[str, list[Any]], name: str) -> int | None:
    lines = untagged.get(name, ())
    return int(lines[-1]) if lines and lines[-1].isdigit() else None


def _flags_in(lines: Iterable[Any]) -> dict[int, frozenset[str]]:
    """The flags of mails in answers to FETCH."""
    found: dict[int, frozenset[str]] = {}
    for line in lines:
        text = line[0] if isinstance(line, tuple) else line
        uid, flags = _UID.search(text), _FLAGS.search(text)
        if uid is not None and flags is not None:
            names = flags[1].decode("utf-8", "replace").split()
            # Of the session, and of nothing that is stored.
            found[int(uid[1])] = frozenset(names) - {"\\Recent"}
    return found


def _mails_in(lines: Iterable[Any]) -> Iterator[tuple[int, bytes]]:
    """The mails in answers to FETCH; the UID may stand before a mail or behind it."""
    head: bytes | None = None
    mail = b""
    for line in lines:
        if isinstance(line, tuple):
            if _ORIGIN.search(line[0]):
                head, mail = line
                if (uid := _UID.search(head)) is not None:
                    yield int(uid[1]), mail
                    head = None
        elif head is not None and (uid := _UID.search(line)) is not None:
            yield int(uid[1]), mail
            head = None


class _Uids:
    """A set of UIDs as a server writes it, `1:3,7`, at the end of a line; however large it is."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        ends: list[tuple[int, int]] = []
        for line in lines:
            for piece in line.decode("ascii", "replace").rpartition(" ")[2].split(","):
                first, _, last = piece.partition(":")
                if first.isdigit() and (not last or last.isdigit()):
                    pair = (int(first), int(last or first))
                    ends.append((min(pair), max(pair)))
        self._ends: list[tuple[int, int]] = []
        for begin, end in sorted(ends):
            if self._ends and begin <= self._ends[-1][1]:
                begin, end = self._ends[-1][0], max(end, self._ends.pop()[1])
            self._ends.append((begin, end))

    def __contains__(self, uid: int) -> bool:
        place = bisect_right(self._ends, (uid, sys.maxsize)) - 1
        return place >= 0 and self._ends[place][0] <= uid <= self._ends[place][1]
