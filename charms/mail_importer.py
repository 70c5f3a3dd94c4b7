"""The mails of one mailbox, over IMAP: Gmail with an app password, Fastmail, any mail server.

bg-charm-service charm add --from mail_importer

It reads, and changes nothing: what was unread stays unread.
"""

import logging
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.parser import BytesParser
from email.utils import parsedate_to_datetime
from typing import Any

from pydantic import BaseModel, Field

from bg_charm_service import (
    Charm,
    Imap,
    Items,
    MailboxNews,
    MailError,
    MailHead,
    MailPoint,
    ProviderDown,
    Secret,
    UidSet,
    Wait,
    mail_header,
    mail_text,
)

#: A run looks at so many mails, unless its time or its room is over before.
PORTION = 500

#: So much of a mail is read, in bytes: the rest is what is attached.
MOST_BYTES = 256 * 1024

#: So much of its text is kept, and of each of its headers, in characters.
MOST_TEXT = 20_000
MOST_HEADER = 1000

#: A mail takes no more than this when it is kept, in bytes.
ROOM_FOR_ONE = 4 * (MOST_TEXT + 10 * MOST_HEADER)

#: So many mails are let go in a run, of another mailbox, or since they are gone.
PORTION_GONE = 5000

#: The oldest are let go once there are so many more than are to be kept.
SPARE = 1000

#: What could not be read is tried again after this.
RETRY_AFTER = timedelta(days=1)

#: UIDs have 32 bits.
UID_LIMIT = 2**32


class Mail(BaseModel):
    """One mail; `received` is when its server got it, `sent` what its sender says."""

    uid: int
    received: datetime | None = Field(default=None, title="Received")
    sender: str = Field(default="", title="From")
    subject: str = Field(default="", title="Subject")
    flags: list[str] = Field(default_factory=list, title="Flags")
    text: str = ""
    to: str = ""
    cc: str = ""
    sent: datetime | None = None
    message_id: str = ""
    in_reply_to: str = ""
    size: int = 0


class Unreadable(BaseModel):
    """A mail that could not be read, and why."""

    uid: int
    why: str


class MailImporter(Charm):
    """Keeps what a mailbox holds: the newest first, then each change."""

    integration = "mail"
    every = "2m"

    host: str = Field(
        min_length=1,
        title="IMAP server",
        description="such as imap.gmail.com or imap.fastmail.com",
    )
    user: str = Field(min_length=1, title="User", description="mostly the whole address")
    password: Secret[str] = Field(
        title="Password", description="an app password at Gmail, Fastmail, iCloud and Yahoo"
    )
    mailbox: str = Field(
        default="INBOX", title="Mailbox", description="as its server calls it; a charm for each"
    )
    port: int = Field(default=993, ge=1, le=65535, title="Port", description="IMAP over TLS")
    is_plain: bool = Field(
        default=False, title="Without TLS", description="only for a server on this machine"
    )
    keep: int = Field(default=20_000, ge=1)  # about so many mails, the newest
    progress: str = ""
    mails: Items[Mail]  # the newest first
    unreadable: Items[Unreadable]

    # How far it was read, and what is still to do: sets of UIDs, as `1:9000,9004`.
    point: MailPoint | None = None
    wanted: str = ""  # to be read; none of them is in `mails`
    changed: str = ""  # whose flags may be others now
    flags: dict[str, str] = Field(default_factory=dict)  # where a server does not tell of changes
    lowest: int = 1  # the UID from which on mails are kept, for so many that are to be
    lowest_for: int = 0
    older: int = 0  # how many mails the server has below it
    read_from: str = ""  # the mailbox that all of this is about
    retried_at: datetime = datetime(1970, 1, 1, tzinfo=UTC)

    def bg_updater(self, event: dict[str, Any]) -> None:
        place = f"{self.user} at {self.host}:{self.port}, {self.mailbox}"
        if self.read_from != place:
            self.point, self.read_from = None, place
        seconds = min(10.0, self.context.seconds_left / 5)
        with Imap(
            self.host,
            self.user,
            self.password,
            port=self.port,
            is_plain=self.is_plain,
            timeout=seconds,
        ) as imap:
            news = imap.open(self.mailbox, self.point)
            if news.is_new and not self._let_go():
                self.point = None
                self.again(after=0)
                return
            self._note(imap, news)
            self._choose_lowest(imap, news)
            self._update_flags(imap)
            self._read(imap)
            if self.wanted or self.changed:
                self.again(after=0)
            else:
                self._compare(imap, news.count)
        self.point = news.point
        self.progress = self._progress(news.count - self.older)

    def _let_go(self) -> bool:
        """Remove mails of another mailbox, or of this one before it was made anew; True if all."""
        self.wanted, self.changed, self.flags = "", "", {}
        for items in (self.mails, self.unreadable):
            items.remove(items.first(PORTION_GONE))
        return not self.mails and not self.unreadable

    def _note(self, imap: Imap, news: MailboxNews) -> None:
        """Note what there is to do: it outlasts this run, and the point moves along with it."""
        wanted, changed = UidSet.parse(self.wanted), UidSet.parse(self.changed)
        first = 1 if self.point is None or news.is_new else self.point.next_uid
        wanted |= UidSet([(first, news.point.next_uid - 1)])
        if news.changed is not None:
            changed |= UidSet.of(news.changed)
        elif not (news.is_new and news.point.mod_seq):
            changed |= self._other_flags(imap.flags())
        gone = (news.vanished or UidSet()) - UidSet.of(news.changed or ())
        if len(gone) <= PORTION:
            # More than that is found by comparing.
            self._remove(gone)
        if len(self.unreadable) and datetime.now(UTC) - self.retried_at > RETRY_AFTER:
            wanted |= UidSet.of(map(uid_of, self.unreadable.first(PORTION_GONE)))
            self.retried_at = datetime.now(UTC)
        self.wanted, self.changed = str(wanted - gone), str(changed - wanted - gone)

    def _choose_lowest(self, imap: Imap, news: MailboxNews) -> None:
        """Choose from which UID on mails are kept, where that has to be done anew."""
        count = len(self.mails)
        is_thin = self.older > 0 and not self.wanted and count < self.keep - SPARE
        has_to = news.is_new or is_thin or count > self.keep + SPARE
        if not has_to and self.lowest_for == self.keep:
            return
        before = 1 if news.is_new else self.lowest
        self.older = max(0, news.count - self.keep)
        self.lowest = imap.uid_at(self.older + 1) if self.older else 1
        self.lowest_for = self.keep
        wanted = UidSet.parse(self.wanted) | UidSet([(self.lowest, before - 1)])
        self.wanted = str(wanted - UidSet([(1, self.lowest - 1)]))

    def _other_flags(self, now: dict[int, frozenset[str]]) -> UidSet:
        """Give the mails whose flags are others than they were."""
        flagged: dict[str, list[int]] = {}
        for uid, flags in now.items():
            for flag in flags:
                flagged.setdefault(flag, []).append(uid)
        before, changed = self.flags, UidSet()
        self.flags = {flag: str(UidSet.of(uids)) for flag, uids in flagged.items()}
        for flag in before.keys() | self.flags.keys():
            old, new = (UidSet.parse(flags.get(flag, "")) for flags in (before, self.flags))
            changed |= (old - new) | (new - old)
        return changed

    def _update_flags(self, imap: Imap) -> None:
        """Take over the flags of mails that have changed, and keep the rest for the next run."""
        changed = UidSet.parse(self.changed)
        portion = changed.newest(PORTION)
        left = []
        has_room = True
        for uid, flags in imap.flags(UidSet.of(portion)).items():
            mail = self.mails.get(key_of(uid))
            if mail is not None and has_room:
                self.mails[key_of(uid)] = mail.model_copy(update={"flags": sorted(flags)})
                has_room = self.context.has_room(ROOM_FOR_ONE, 1, seconds=0)
            elif mail is not None:
                left.append(uid)
        self.changed = str(changed - UidSet.of(set(portion).difference(left)))

    def _read(self, imap: Imap) -> None:
        """Read the newest of what is wanted, and keep the rest for the next run."""
        wanted = UidSet.parse(self.wanted) - UidSet([(1, self.lowest - 1)])
        if not wanted:
            self.wanted = ""
            return
        uids, rest = imap.newest(wanted, PORTION)
        heads = imap.heads(uids)
        done = self._fetch(imap, {uid: heads[uid] for uid in uids if uid in heads})
        self.wanted = str(rest | UidSet.of(heads.keys() - done))

    def _fetch(self, imap: Imap, heads: dict[int, MailHead]) -> set[int]:
        """Read mails as long as there are time and room; gives those that are done with."""
        done: set[int] = set()
        has_unreadable = len(self.unreadable) > 0
        enough = self.context.seconds_left / 2
        try:
            for uid, found in imap.fetch_each(heads, most_bytes=MOST_BYTES):
                self._keep(uid, heads[uid], found)
                if has_unreadable and not isinstance(found, Exception):
                    self.unreadable.remove([key_of(uid)])
                done.add(uid)
                if not self.context.has_room(ROOM_FOR_ONE, 2, seconds=enough):
                    return done
        except (MailError, ProviderDown, Wait):
            # What was read is kept; the next run sees whether it is still so.
            if not done:
                raise
            return done
        # Those that are gone by now are done with too.
        return set(heads)

    def _keep(self, uid: int, head: MailHead, found: bytes | Exception) -> None:
        key = key_of(uid)
        try:
            if isinstance(found, Exception):
                raise found
            self.mails[key] = read_mail(uid, head, found)
        except Exception as error:
            # Whatever it is: the others are there.
            logging.warning("The mail with UID %d cannot be read: %.500r", uid, error)
            if not len(self.unreadable):
                self.retried_at = datetime.now(UTC)
            self.unreadable[key] = Unreadable(uid=uid, why=f"{type(error).__name__}: {error}"[:500])

    def _compare(self, imap: Imap, count: int) -> None:
        """Compare what is here with what the server has, where there are not as many."""
        known = len(self.mails) + len(self.unreadable)
        if known + self.older == count:
            return
        older = UidSet([(1, self.lowest - 1)])
        there = imap.search()
        self.older = len(there & older)
        here = UidSet.of(
            uid_of(key) for items in (self.mails, self.unreadable) for key in items.first(known)
        )
        there -= older
        gone = (here - there).newest(PORTION_GONE)
        self._remove(UidSet.of(gone))
        self.wanted = str(there - here)
        if len(gone) == PORTION_GONE:
            self.again(after=0)

    def _remove(self, uids: UidSet) -> None:
        keys = [key_of(uid) for uid in uids]
        self.mails.remove(keys)
        if keys and len(self.unreadable):
            self.unreadable.remove(keys)

    def _progress(self, count: int) -> str:
        known = len(self.mails)
        if self.wanted:
            return f"{known:,} of about {count:,} mails"
        text = f"{known:,} mail{'' if known == 1 else 's'}"
        unreadable = len(self.unreadable)
        return f"{text}, {unreadable:,} cannot be read" if unreadable else text


def key_of(uid: int) -> str:
    """Give the key of a mail: the newest one comes first, as in a mail program."""
    return f"{UID_LIMIT - uid:010}"


def uid_of(key: str) -> int:
    """Give the UID of a mail by its key."""
    return UID_LIMIT - int(key)


def read_mail(uid: int, head: MailHead, data: bytes) -> Mail:
    """Read a mail."""
    message = BytesParser().parsebytes(data)

    def header(name: str) -> str:
        return mail_header(message, name, limit=MOST_HEADER)

    return Mail(
        uid=uid,
        received=head.received,
        sender=header("From"),
        subject=header("Subject"),
        flags=sorted(head.flags),
        text=mail_text(message, limit=MOST_TEXT),
        to=header("To"),
        cc=header("Cc"),
        sent=_date(message),
        message_id=header("Message-ID"),
        in_reply_to=header("In-Reply-To"),
        size=head.size,
    )


def _date(message: Message) -> datetime | None:
    try:
        date = parsedate_to_datetime(mail_header(message, "Date"))
        # -0000 stands for a place that is not told.
        return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
