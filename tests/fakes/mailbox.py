"""A mailbox behind `FakeImap`, which keeps what a server of some kind keeps of it.

    box = FakeMailbox()
    box.append("text")
    with box.server("ENABLE CONDSTORE QRESYNC") as server:

Numbers, counts of changes and what is told of them are as RFC 3501, 4731 and 7162 have them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.fakes.imap_server import FakeImap, Lines

#: What kinds of servers say that they can do.
QRESYNC = "ENABLE CONDSTORE QRESYNC ESEARCH"
CONDSTORE = "CONDSTORE ESEARCH"
PLAIN = ""

MAIL = """\
From: =?utf-8?q?Gr=C3=BC?= <you@example.org>\r
Subject: Mail {text}\r
Date: Mon, 30 Nov 2026 10:00:00 +0100\r
Content-Type: text/plain; charset=utf-8\r
\r
{text}\r
"""


@dataclass
class FakeMail:
    """One mail; `broken` is what its server answers when it is asked for, None for cutting off."""

    text: str
    mod_seq: int
    flags: set[str] = field(default_factory=set)
    broken: tuple[str | None, ...] = ()

    @property
    def data(self) -> str:
        """The mail as it came."""
        return MAIL.format(text=self.text)


class FakeMailbox:
    """Mails by their UIDs; `faults` are answers to commands to come, by their names, once each."""

    def __init__(self) -> None:
        self.validity = 7
        self.next_uid = 1
        self.mod_seq = 1
        self.mails: dict[int, FakeMail] = {}
        self.faults: dict[str, Lines] = {}
        self._gone: list[tuple[int, int]] = []

    def server(self, capabilities: str) -> FakeImap:
        """Make a server of a kind."""
        self._has_counts = "CONDSTORE" in capabilities
        script = {
            "AUTHENTICATE": self._or_fault("AUTHENTICATE", lambda _: []),
            "EXAMINE": self._or_fault("EXAMINE", self._examine),
            "SEARCH": self._or_fault("SEARCH", self._search),
            "FETCH": self._or_fault("FETCH", self._fetch),
        }
        return FakeImap(script, capabilities)

    def append(self, text: str, *flags: str) -> int:
        """Let a mail come; gives its UID."""
        uid, self.next_uid = self.next_uid, self.next_uid + 1
        self.mails[uid] = FakeMail(text, self._count(), set(flags))
        return uid

    def flag(self, uids: Iterable[int], flag: str) -> None:
        """Set a flag, or take it away where it is set."""
        mod_seq = self._count()
        for uid in uids:
            self.mails[uid].flags ^= {flag}
            self.mails[uid].mod_seq = mod_seq

    def expunge(self, uids: Iterable[int]) -> None:
        """Let mails go."""
        mod_seq = self._count()
        for uid in list(uids):
            del self.mails[uid]
            self._gone.append((uid, mod_seq))

    def make_anew(self) -> None:
        """Give all mails other numbers, as a server does that has lost its own."""
        self.validity += 1
        old, self.mails, self.next_uid, self._gone = self.mails, {}, 1, []
        for _, mail in sorted(old.items()):
            self.append(mail.text, *mail.flags)

    def _count(self) -> int:
        self.mod_seq += 1
        return self.mod_seq

    def _or_fault(self, name: str, answer: Callable[[str], Lines]) -> Callable[[str], Lines]:
        def asked(command: str) -> Lines:
            fault = self.faults.pop(name, None)
            return answer(command) if fault is None else fault

        return asked

    def _examine(self, command: str) -> Lines:
        lines = [
            f"* {len(self.mails)} EXISTS",
            f"* OK [UIDVALIDITY {self.validity}] valid",
            f"* OK [UIDNEXT {self.next_uid}] next",
        ]
        if self._has_counts:
            lines.append(f"* OK [HIGHESTMODSEQ {self.mod_seq}] highest")
        known = re.search(r"\(QRESYNC \((\d+) (\d+)\)\)", command)
        if known and int(known[1]) == self.validity:
            since = int(known[2])
            gone = ",".join(str(uid) for uid, mod_seq in self._gone if mod_seq > since)
            lines += [f"* VANISHED (EARLIER) {gone}"] if gone else []
            lines += self._told(self.mails, since, "UID FLAGS")
        return lines

    def _search(self, command: str) -> Lines:
        among = re.search(r"UID (\d+:[\d*]+)$", command)
        uids = [uid for uid in sorted(self.mails) if among is None or self._is_in(uid, among[1])]
        if "RETURN" not in command:
            return [f"* SEARCH {' '.join(map(str, uids))}".rstrip()]
        said = f" ALL {','.join(map(str, uids))}" if uids else ""
        return [f'* ESEARCH (TAG "x") UID{said}']

    def _fetch(self, command: str) -> Lines:
        where, _, what = command.removeprefix("UID ").removeprefix("FETCH ").partition(" ")
        if not command.startswith("UID"):
            uid = sorted(self.mails)[int(where) - 1]
            return [f"* {where} FETCH (UID {uid})"]
        uids = [uid for uid in sorted(self.mails) if self._is_in(uid, where)]
        if "BODY" in what:
            for uid in uids:
                if self.mails[uid].broken:
                    return self.mails[uid].broken
        since = re.search(r"CHANGEDSINCE (\d+)", what)
        return self._told(uids, int(since[1]) if since else 0, what)

    def _told(self, uids: Iterable[int], since: int, what: str) -> list[str]:
        places = {uid: place for place, uid in enumerate(sorted(self.mails), 1)}
        lines = []
        for uid in uids:
            mail = self.mails[uid]
            if mail.mod_seq <= since:
                continue
            facts = [f"UID {uid}"]
            if "FLAGS" in what:
                facts.append(f"FLAGS ({' '.join(sorted(mail.flags))})")
            if "RFC822.SIZE" in what:
                facts.append(f"RFC822.SIZE {len(mail.data.encode())}")
                facts.append('INTERNALDATE "30-Nov-2026 09:00:00 +0000"')
            if "BODY" in what:
                facts.append(f"BODY[]<0> {{{len(mail.data.encode())}}}\r\n{mail.data}")
            lines.append(f"* {places[uid]} FETCH ({' '.join(facts)})")
        return lines

    def _is_in(self, uid: int, where: str) -> bool:
        for part in where.split(","):
            first, _, last = part.partition(":")
            if int(first) <= uid <= (self.next_uid if last == "*" else int(last or first)):
                return True
        return False
