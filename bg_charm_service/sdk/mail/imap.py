"""A mailbox over IMAP: what has changed in it since last time, in one round trip where it can be.

On Python's `imaplib`, whose traps are dealt with here: QRESYNC (RFC 7162) where the server has it,
CONDSTORE where it has that, else a comparison; a mailbox that was made anew; a logout that would
hide the error before it. Imported by authors.
"""

from __future__ import annotations

import imaplib
import re
import socket
import ssl
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final

from bg_charm_service.sdk.endings import ProviderDown, RunEnding, Wait
from bg_charm_service.sdk.mail.imap_faults import not_signed_in, unreachable
from bg_charm_service.sdk.mail.imap_wire import (
    UID,
    MailHead,
    flags_in,
    heads_in,
    mailbox_name,
    mails_in,
    number_in,
    uids_in,
)
from bg_charm_service.sdk.mail.uid_set import UidSet
from bg_charm_service.sdk.tls_context import shared_tls_context

#: So many mails are asked for at a time, and so many bytes of them: they are held together.
_MAILS_A_PIECE: Final = 50
_BYTES_A_PIECE: Final = 16 * 1024 * 1024

#: The heads of so many mails are asked for at a time: more would make a long command.
_HEADS_A_PIECE: Final = 500

#: Of a mail so much is fetched, unless more is asked for: most of what is larger is attached.
_MOST_BYTES: Final = 1024 * 1024

_TLS_PORT: Final = 993

#: What a server says when it is not to be had now, and when it is asked too often (RFC 5530).
_AWAY: Final = ("UNAVAILABLE", "SERVERBUG", "INUSE")
_LIMITED: Final = ("LIMIT", "OVERQUOTA")

_CODE: Final = re.compile(r"\[([A-Z]+)")


@dataclass(frozen=True, slots=True)
class MailPoint:
    """How far a mailbox was read; a field of a charm keeps it from run to run.

    `uid_validity` changes when the mailbox was made anew, and no number of a mail counts any more.
    `mod_seq` is 0 where the server counts no changes. `next_uid` is more than any UID until then.
    """

    uid_validity: int
    mod_seq: int = 0
    next_uid: int = 0


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


@dataclass(frozen=True, slots=True)
class MailboxNews:
    """What a server says of a mailbox when it is opened, as far as it does.

    `count` is how many mails it has. `changed` has the flags of mails that came or changed since
    the point, by UID, and is None where the server does not count changes; `vanished` are UIDs
    that are gone, None where it does not say. Neither is told when `is_new`.
    """

    point: MailPoint
    count: int
    changed: dict[int, frozenset[str]] | None = None
    vanished: UidSet | None = None
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
        self._mailbox = ""
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

        Of these, `removed` names those that are gone. What is said of all mails is held at once:
        `open` and what goes with it is for mailboxes of any size.
        """
        news = self.open(mailbox, point)
        if news.is_new:
            return MailChanges(news.point, self.flags(), frozenset(known), is_new=True)
        # Where nothing is told of changes, all flags are read.
        changed = self.flags() if news.changed is None else news.changed
        if news.vanished is not None:
            gone = frozenset(uid for uid in known if uid in news.vanished and uid not in changed)
        elif news.changed is None:
            gone = frozenset(uid for uid in known if uid not in changed)
        else:
            there = self.search()
            gone = frozenset(uid for uid in known if uid not in there)
        return MailChanges(news.point, changed, gone)

    def open(self, mailbox: str, point: MailPoint | None = None) -> MailboxNews:
        """Open a mailbox; says what its server tells by itself of changes since a point."""
        untagged = self._examine(mailbox, point if self._has_qresync else None)
        now = MailPoint(
            number_in(untagged, "UIDVALIDITY") or 0,
            number_in(untagged, "HIGHESTMODSEQ") or 0,
            # Not every server says it (RFC 3501, 6.3.1).
            number_in(untagged, "UIDNEXT") or self.search().highest + 1,
        )
        count = number_in(untagged, "EXISTS") or 0
        if point is None or point.uid_validity != now.uid_validity:
            return MailboxNews(now, count, is_new=True)
        if not (point.mod_seq and now.mod_seq):
            return MailboxNews(now, count)
        if self._has_qresync:
            vanished = UidSet()
            for line in untagged.get("VANISHED", ()):
                vanished |= uids_in(line)
            return MailboxNews(now, count, flags_in(untagged.get("FETCH", ())), vanished)
        if point.mod_seq == now.mod_seq:
            return MailboxNews(now, count, {})
        # What came has changed too. What went changes nothing that is counted.
        since = f"(CHANGEDSINCE {point.mod_seq})"
        return MailboxNews(now, count, self._flags("1:*", since))

    def search(self, first: int = 1, last: int | None = None) -> UidSet:
        """Say which UIDs there are in the mailbox that was opened, from one to another."""
        wanted = "ALL" if (first, last) == (1, None) else f"UID {first}:{last or '*'}"
        if self._has_esearch:
            # As ranges: a list of all is a line that may be too long for imaplib.
            lines = self._ask("UID", "SEARCH", "RETURN (ALL)", wanted).get("ESEARCH", ())
        else:
            lines = [
                line.replace(b" ", b",")
                for line in self._ask("UID", "SEARCH", wanted).get("SEARCH", ())
            ]
        found = UidSet()
        for line in lines:
            found |= uids_in(line)
        return found

    def newest(self, among: UidSet, count: int) -> tuple[list[int], UidSet]:
        """Give the newest that there are of some UIDs, and those of them that are left to ask for.

        Up to `count`, the newest first. Those that are gone are in neither.
        """
        found: list[int] = []
        # A part at a time: what is asked for may be as good as all numbers.
        width = among.highest if self._has_esearch else 4 * count
        while among and len(found) < count:
            low = max(among.lowest, among.highest - width + 1)
            there = self.search(low, among.highest) & among
            found += there.newest(count - len(found))
            among = among.up_to((found[-1] if len(found) == count else low) - 1)
            width *= 4
        return found, among

    def uid_at(self, place: int) -> int:
        """Give the UID of the mail at a place: the oldest one is at 1."""
        lines = self._ask("FETCH", str(place), "(UID)").get("FETCH", ())
        uids = [int(uid[1]) for line in lines if (uid := UID.search(line)) is not None]
        if not uids:
            raise MailError(f"{self._host}: there is no mail at place {place}")
        return uids[0]

    def flags(self, among: UidSet | None = None) -> dict[int, frozenset[str]]:
        """Give the flags of all mails of the mailbox that was opened, or of some, by UID."""
        return self._flags("1:*" if among is None else str(among)) if among != UidSet() else {}

    def heads(self, uids: Iterable[int]) -> dict[int, MailHead]:
        """Say what there is to say of mails without reading them; one that is gone is left out."""
        found: dict[int, MailHead] = {}
        wanted = list(uids)
        for place in range(0, len(wanted), _HEADS_A_PIECE):
            piece = str(UidSet.of(wanted[place : place + _HEADS_A_PIECE]))
            lines = self._ask("UID", "FETCH", piece, "(UID FLAGS INTERNALDATE RFC822.SIZE)")
            found.update(heads_in(lines.get("FETCH", ())))
        return found

    def fetch(
        self, uids: Iterable[int], *, most_bytes: int = _MOST_BYTES
    ) -> Iterator[tuple[int, bytes]]:
        """Give mails of the mailbox that was opened, by UID, each up to `most_bytes`.

        They stay unread. One that is gone by now is left out.
        """
        for piece in _pieces(sorted(set(uids)), most_bytes):
            yield from self._fetch(piece, most_bytes)

    def fetch_each(
        self, uids: Iterable[int], *, most_bytes: int = _MOST_BYTES
    ) -> Iterator[tuple[int, bytes | Exception]]:
        """Give mails as `fetch` does, in the order of `uids`, and for one that fails its error.

        What fails is asked for again, each mail by itself and on a new connection. One is to blame
        only where the server gives another one after it; else the error is raised.
        """
        failed: list[int] = []
        given = 0
        pieces = _pieces(list(dict.fromkeys(uids)), most_bytes)[::-1]
        while pieces:
            piece = pieces.pop()
            try:
                found = dict(self._fetch(piece, most_bytes))
            except (ProviderDown, MailError) as error:
                self._reopen()
                if len(piece) > 1:
                    pieces += [[uid] for uid in reversed(piece)]
                    continue
                failed += piece
                if not self._gives_another(given, failed, most_bytes):
                    raise
                yield piece[0], error
                continue
            for uid in piece:
                if uid in found:
                    given = uid
                    yield uid, found[uid]

    def _fetch(self, uids: list[int], most_bytes: int) -> Iterator[tuple[int, bytes]]:
        what = f"(UID BODY.PEEK[]<0.{most_bytes}>)"
        lines = self._ask("UID", "FETCH", ",".join(map(str, uids)), what)
        yield from mails_in(lines.get("FETCH", ()))

    def _gives_another(self, given: int, failed: Collection[int], most_bytes: int) -> bool:
        """Whether the server gives a mail: the one that it gave before, else the newest, oldest."""
        others = [given]
        if not given:
            there = self.search() - UidSet.of(failed)
            others = list(dict.fromkeys((there.highest, there.lowest)))
        for uid in filter(None, others):
            with suppress(RunEnding, MailError):
                if dict(self._fetch([uid], most_bytes)):
                    return True
                continue
            self._reopen()
        return False

    def _reopen(self) -> None:
        """Connect anew and open the same mailbox: nobody knows what the old connection is worth."""
        self._close()
        self._open()
        self._examine(self._mailbox, None)

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
        except ssl.SSLError as error:
            # Alone: what is made of it otherwise says less of mail servers.
            raise self._unreachable(error) from None
        except (OSError, imaplib.IMAP4.error) as error:
            raise self._unreachable(error) from error
        # It sends an answer and the end of its line by themselves, and would wait in between.
        self._opened.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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
            refused = self._refused(str(error), MailError)
            if isinstance(refused, MailError):
                refused = not_signed_in(self._host, self._user, str(error))
            raise refused from None

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
        try:
            untagged = self._ask("EXAMINE", mailbox_name(mailbox), *parameters)
        except MailError as error:
            raise MailError(f"the mailbox {mailbox!r} cannot be opened: {error}") from None
        self._mailbox = mailbox
        imap = self._imap
        # `select` of imaplib takes no parameters, and would note these two.
        imap.state = "SELECTED"
        imap.is_readonly = True
        return untagged

    def _flags(self, uids: str, *also: str) -> dict[int, frozenset[str]]:
        return flags_in(self._ask("UID", "FETCH", uids, "(UID FLAGS)", *also).get("FETCH", ()))

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
            name = f"UID {arguments[0]}" if command == "UID" else command
            raise self._refused(f"{name}: {said}", MailError)
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

    def _unreachable(self, error: BaseException) -> ProviderDown:
        return unreachable(self._host, self._port, error, is_plain=self._is_plain)

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


def _pieces(uids: list[int], most_bytes: int) -> list[list[int]]:
    """Cut a list into what is asked for at a time."""
    count = max(1, min(_MAILS_A_PIECE, _BYTES_A_PIECE // most_bytes))
    return [uids[place : place + count] for place in range(0, len(uids), count)]
