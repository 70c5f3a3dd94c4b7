"""The mails of one Gmail account, by Google's own API: the newest first, then each change.

bg-charm-service auth client google
bg-charm-service charm add --from gmail_importer
bg-charm-service auth login google --space gmail

It reads, and changes nothing: what was unread stays unread.
"""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
from pydantic import BaseModel, Field

from bg_charm_service import (
    BodyTooLarge,
    Charm,
    HttpClient,
    Items,
    OAuth,
    ProviderDown,
    SignInNeeded,
    Wait,
    mail_header,
    mail_text,
)

#: What lets it read mail, each more than the one before it.
READING = {
    "https://www.googleapis.com/auth/gmail.readonly",
    "https://www.googleapis.com/auth/gmail.modify",
    "https://mail.google.com/",
}

#: A run looks at so many mails, unless its time or its room is over before; so many at a time.
PORTION = 500
TOGETHER = 10

#: So many ids come with one page of a list, and so many pages are asked for in one run.
PAGE = 500
MOST_PAGES = 10

#: So many mails are let go in a run.
PORTION_GONE = 2000

#: So much of a mail's text is kept, and of each of its headers, in characters.
MOST_TEXT = 20_000
MOST_HEADER = 1000

#: What is written of mails that are read together, at most, in bytes.
ROOM = TOGETHER * 4 * (MOST_TEXT + 10 * MOST_HEADER)

#: What could not be read is tried again after this, then after twice as long, up to a day.
RETRY_AFTER = timedelta(minutes=10)
LONGEST_RETRY = timedelta(days=1)

#: What is here is compared with what Gmail lists, once in so long.
COMPARE_AFTER = timedelta(days=1)

#: Labels whose mails are listed only where they are asked for.
HIDDEN = {"SPAM", "TRASH"}

#: Times are in milliseconds since 1970; keys count down from this, so that the newest come first.
LAST_MS = 10**15 - 1
NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class Mail(BaseModel):
    """One mail; `received` is when Gmail got it, `sent` what its sender says; `id` is Gmail's."""

    id: str
    received: datetime = Field(title="Received")
    sender: str = Field(default="", title="From")
    subject: str = Field(default="", title="Subject")
    # Their ids: `label_names` says what people call them.
    labels: list[str] = Field(default_factory=list, title="Labels")
    text: str = ""
    to: str = ""
    cc: str = ""
    sent: datetime | None = None
    thread: str = ""
    message_id: str = ""
    in_reply_to: str = ""
    size: int = 0


class Unreadable(BaseModel):
    """A mail that could not be read, why, and when it is tried again."""

    why: str
    tries: int = 1
    again_at: datetime


class GmailImporter(Charm):
    """Keeps what a Gmail account holds: the newest first, then each change."""

    integration = "gmail"
    every = "2m"

    # Type checkers take its texts for types.
    auth: OAuth["google", "https://www.googleapis.com/auth/gmail.readonly"]  # type: ignore[name-defined, type-arg, valid-type]  # noqa: F722, F821
    labels: list[str] = Field(
        default=["INBOX"], title="Labels", description="mails with all of these; none for all mail"
    )
    query: str = Field(
        default="", title="Search", description="as in Gmail, such as newer_than:1y from:bank"
    )
    keep: int = Field(default=20_000, ge=1)  # about so many mails, the newest
    base: str = "https://gmail.googleapis.com/gmail/v1/users/me/"
    progress: str = ""
    mails: Items[Mail]  # the newest first
    unreadable: Items[Unreadable]  # by the ids of mails
    label_names: dict[str, str] = Field(default_factory=dict)

    keys: Items[str]  # the key of each mail in `mails`, by its id
    read_from: str = ""  # the account that all of this is about

    # How far its history was read, and what is still to do. The point moves together with what is
    # done, or noted here, of everything up to it.
    point: str = ""
    next_point: str = ""  # where it moves when the last page of the history was read
    history_page: str = ""
    wanted: list[str] = Field(default_factory=list)  # ids of mails to read
    changed: list[str] = Field(default_factory=list)  # ids of mails whose labels may be others

    # What Gmail lists, page by page, until it is compared with what is here.
    listing: list[str] | None = None
    list_page: str = ""
    is_listed: bool = False
    listed_for: str = ""  # labels, query and keep
    listed_at: datetime = NEVER
    label_ids: list[str] = Field(default_factory=list)
    about: int = 0  # how many there may be, as Gmail says
    has_more: bool = False  # older ones than are kept
    oldest: str = ""  # the id of the oldest one that is kept then
    thin_for: int = -1  # so many were here when older ones were looked for
    has_pages: bool = False  # a list of several pages shifts when a mail goes meanwhile
    has_news: bool = False  # in the pages of history that were read so far
    has_losses: bool = False
    has_missed: bool = False  # changes that no history tells of any more

    async def bg_updater(self, event: dict[str, Any]) -> None:
        if self.auth.scopes and not READING.intersection(self.auth.scopes):
            raise SignInNeeded(
                "Google was not allowed to let it read mail: sign in again, and tick the box for "
                "reading mail on Google's page"
            )
        account = f"{self.auth.user.get('email', '')} {self.base}"
        if self.read_from != account:
            if not self._let_go():
                self.again(after=0)
                return
            self.read_from = account
        self._has_moved = False
        async with self.http(base_url=self.base, auth=self.auth) as http:
            try:
                await self._follow(http)
            except (ProviderDown, SignInNeeded, Wait):
                # What is done is stored; the next run meets what was the matter, if it still is.
                if not self._has_moved:
                    raise
                self.again(after=0)
            except httpx2.HTTPStatusError as error:
                raise ValueError(refusal_of(error.response)) from None
        self.progress = self._progress()

    async def _follow(self, http: HttpClient) -> None:
        wish = f"{sorted(self.labels)} {self.query} {self.keep}"
        if self.listed_for != wish or not self.point:
            await self._begin_list(http)
            self.listed_for = wish
        if self.listing is not None:
            await self._list(http)
        # Without a point there was no mail, and there is no history.
        if self.listing is None and self.point:
            await self._read_history(http)
        if self.listing is None:
            await self._update_labels(http)
        await self._read(http)
        if self.wanted or self.changed or self.listing is not None or self.history_page:
            self.again(after=0)
        else:
            self._try_again()
            await self._begin_list_if_due(http)

    # What there is.

    async def _begin_list(self, http: HttpClient) -> None:
        """Begin to list the mails that are to be kept; what happens from now on is history."""
        found = (await self._get(http, "labels")).get("labels") or []
        names = {one["id"]: one["name"] for one in found}
        ids = {name.casefold(): label for label, name in names.items()}
        for label in self.labels:
            if label not in names and label.casefold() not in ids:
                raise ValueError(f"There is no label {label!r}: {', '.join(sorted(ids))}")
        label_ids = [one if one in names else ids[one.casefold()] for one in self.labels]
        profile = await http.json("profile", none_on=404) or {}
        about = 0 if label_ids or self.query else int(profile.get("messagesTotal") or 0)
        if len(label_ids) == 1 and not self.query:
            only = await self._get(http, "labels/{id}", id=label_ids[0])
            about = int(only.get("messagesTotal") or 0)
        if not self.point:
            self.point = profile.get("historyId") or await self._newest_point(http)
        self.next_point = self.history_page = self.list_page = ""
        self.label_names, self.label_ids, self.about = names, label_ids, about
        self.listing, self.is_listed = [], False
        self.has_pages = self.has_news = self.has_losses = False
        self._has_moved = True

    async def _newest_point(self, http: HttpClient) -> str:
        """Where there is no profile: the history begins with the newest mail of all."""
        newest = await self._get(http, "messages", maxResults=1, includeSpamTrash=True)
        for one in newest.get("messages") or ():
            found = await http.json("messages/{id}", id=one["id"], format="minimal", none_on=404)
            return str(found["historyId"]) if found else ""
        return ""

    async def _list(self, http: HttpClient) -> None:
        """List some pages more; once that was the last one, compare."""
        enough = self.context.seconds_left * 3 / 4
        known = {key: one for page in self.keys.pages(1000) for key, one in page.items()}
        for _ in range(0 if self.is_listed else MOST_PAGES):
            assert self.listing is not None
            self.has_pages = self.has_pages or bool(self.list_page)
            try:
                found = await self._get(
                    http,
                    "messages",
                    q=self.query or None,
                    labelIds=self.label_ids or None,
                    includeSpamTrash=not HIDDEN.isdisjoint(self.label_ids),
                    maxResults=max(1, min(PAGE, self.keep - len(self.listing))),
                    pageToken=self.list_page or None,
                )
            except httpx2.HTTPStatusError as error:
                if error.response.status_code != httpx2.codes.BAD_REQUEST or not self.list_page:
                    raise
                # The way to the next page is known no more: from the first one again.
                self.listing, self.list_page = [], ""
                continue
            ids = [one["id"] for one in found.get("messages") or ()]
            self.listing = list(dict.fromkeys([*self.listing, *ids]))
            self.list_page = found.get("nextPageToken") or ""
            self.has_more = bool(self.list_page)
            self.is_listed = not self.list_page or len(self.listing) >= self.keep
            self._has_moved = True
            if self.is_listed or self.context.seconds_left < enough:
                break
        unreadable = set(self.unreadable.first(PORTION_GONE))
        self.wanted = [one for one in self.listing or () if one not in known.keys() | unreadable]
        if self.is_listed:
            self._compare(known)

    def _compare(self, known: dict[str, str]) -> None:
        """Let go what is not listed, as much as a run can, and go on by the history."""
        assert self.listing is not None
        listed = set(self.listing)
        gone = [one for one in known if one not in listed]
        gone += [one for one in self.unreadable.first(PORTION_GONE) if one not in listed]
        self._remove(gone[:PORTION_GONE], known)
        if len(gone) > PORTION_GONE:
            return
        if self.has_missed:
            self.changed = [one for one in self.listing if one in known]
        else:
            self.changed = [one for one in self.changed if one in listed]
        self.oldest = self.listing[-1] if self.has_more and self.listing else ""
        self.listing, self.list_page, self.has_missed = None, "", False
        self.listed_at = datetime.now(UTC)

    async def _begin_list_if_due(self, http: HttpClient) -> None:
        """List anew where that is due; the next run does it."""
        count = len(self.keys) + len(self.unreadable)
        spare = min(1000, self.keep // 10 + 1)
        is_thin = self.has_more and count < self.keep - spare and count != self.thin_for
        is_over = count > self.keep + spare
        if is_thin:
            self.thin_for = count
        if is_thin or is_over or datetime.now(UTC) - self.listed_at > COMPARE_AFTER:
            await self._begin_list(http)
            self.again(after=0)

    # What has changed.

    async def _read_history(self, http: HttpClient) -> None:
        """Note what has changed since the point: from all pages, or it stays where it is."""
        enough = self.context.seconds_left * 3 / 4
        while True:
            try:
                found = await http.json(
                    "history",
                    startHistoryId=self.point,
                    maxResults=PAGE,
                    pageToken=self.history_page or None,
                    none_on=404,
                )
            except httpx2.HTTPStatusError as error:
                if error.response.status_code != httpx2.codes.BAD_REQUEST or not self.history_page:
                    raise
                # The way to the next page is known no more: from the first one again.
                self.history_page = self.next_point = ""
                continue
            if found is None:
                # It is too old: what has changed since then is told by no history.
                self.point, self.has_missed = "", True
                await self._begin_list(http)
                return
            records = found.get("history") or ()
            self.has_losses = self._note(records) or self.has_losses
            self.has_news = bool(records) or self.has_news
            # That of the first page: what comes while pages are read is told by the next poll.
            self.next_point = self.next_point or str(found.get("historyId") or self.point)
            self.history_page = found.get("nextPageToken") or ""
            self._has_moved = self._has_moved or bool(records)
            if not self.history_page:
                break
            if self.context.seconds_left < enough:
                return
        if (self.query and self.has_news) or (self.has_pages and self.has_losses):
            # Only Gmail knows what matches a query; and a list of several pages may have left out
            # what moved to a page that was read already.
            point = self.next_point
            await self._begin_list(http)
            self.point = point
        else:
            self.has_pages = self.has_news = self.has_losses = False
            self.point, self.next_point = self.next_point, ""

    def _note(self, records: Any) -> bool:
        """Note what a page of the history says; True where mails may have gone from a list."""
        new: dict[str, None] = {}
        changed: dict[str, None] = {}
        gone: dict[str, None] = {}
        for record in records:
            for name, noted in (
                ("messagesAdded", new),
                ("messagesDeleted", gone),
                ("labelsAdded", changed),
                ("labelsRemoved", changed),
            ):
                noted.update({one["message"]["id"]: None for one in record.get(name) or ()})
        # The newest first; what is gone needs no look.
        new = {one: None for one in reversed(new) if one not in gone}
        self._remove(list(gone))
        if not self.query:
            wanted = [*new, *(one for one in self.wanted if one not in new)]
            self.wanted = [one for one in wanted if one not in gone]
        more = {**dict.fromkeys(self.changed), **changed}
        self.changed = [one for one in more if one not in new and one not in gone]
        return bool(gone or changed)

    async def _update_labels(self, http: HttpClient) -> None:
        """Take over labels that have changed: they say too whether a mail is still to be kept."""
        enough = self.context.seconds_left / 2
        portion = self.changed[:PORTION]
        while portion and self.context.has_room(ROOM, seconds=enough):
            ids, portion = portion[:TOGETHER], portion[TOGETHER:]
            found, fault = await self._get_all(http, ids, "minimal")
            for one, answer in found.items():
                try:
                    self._update(one, answer)
                except Exception as error:
                    # Whatever it is: the others go on.
                    self._name_unreadable(one, error)
            self.changed = [one for one in self.changed if one not in found]
            self._has_moved = self._has_moved or bool(found)
            if fault is not None:
                raise fault

    def _update(self, one: str, found: Any) -> None:
        if isinstance(found, Exception):
            raise found
        if found is None:
            self._remove([one])
            return
        key, labels = self.keys.get(one), sorted(found.get("labelIds") or ())
        if key is None:
            oldest = self.keys.get(self.oldest) if self.oldest else None
            is_older = oldest is not None and key_of(one, moment_of(found)) > oldest
            if not self.query and self._belongs(labels) and not is_older:
                self.wanted = [one, *(other for other in self.wanted if other != one)]
        elif not self.query and not self._belongs(labels):
            self._remove([one])
        elif (mail := self.mails.get(key)) is not None and mail.labels != labels:
            self.mails[key] = mail.model_copy(update={"labels": labels})

    def _belongs(self, labels: list[str]) -> bool:
        """Whether a mail with these labels is one of those that are listed."""
        is_hidden = HIDDEN.intersection(labels) and HIDDEN.isdisjoint(self.label_ids)
        return not is_hidden and set(self.label_ids).issubset(labels)

    # The mails.

    async def _read(self, http: HttpClient) -> None:
        """Read the newest of what is wanted, as long as there are time and room."""
        enough = self.context.seconds_left / 2
        portion = self.wanted[:PORTION]
        while portion and self.context.has_room(ROOM, seconds=enough):
            ids, portion = portion[:TOGETHER], portion[TOGETHER:]
            found, fault = await self._get_all(http, ids, "full")
            for one, answer in found.items():
                self._keep(one, answer)
            self.wanted = [one for one in self.wanted if one not in found]
            self._has_moved = self._has_moved or bool(found)
            if fault is not None:
                raise fault

    def _keep(self, one: str, found: Any) -> None:
        try:
            if isinstance(found, Exception):
                raise found
            mail = None if found is None else read_mail(found)
        except Exception as error:
            # Whatever it is: the others are there.
            self._name_unreadable(one, error)
            return
        if mail is None or not (self.query or self._belongs(mail.labels)):
            self._remove([one])
            return
        if self._has_unreadable():
            self.unreadable.remove([one])
        key = key_of(one, mail.received)
        self.mails[key] = mail
        self.keys[one] = key

    def _name_unreadable(self, one: str, error: Exception) -> None:
        logging.warning("The mail %s cannot be read: %.500r", one, error)
        before = self.unreadable.get(one)
        tries = before.tries + 1 if before is not None else 1
        after = min(RETRY_AFTER * 2 ** min(tries - 1, 10), LONGEST_RETRY)
        self.unreadable[one] = Unreadable(
            why=f"{type(error).__name__}: {error}"[:500],
            tries=tries,
            again_at=datetime.now(UTC) + after,
        )

    def _try_again(self) -> None:
        """Want those again that could not be read, and whose time has come."""
        now = datetime.now(UTC)
        for page in self.unreadable.pages(PORTION) if self._has_unreadable() else ():
            self.wanted = [one for one, said in page.items() if said.again_at <= now]
            if self.wanted:
                self.again(after=0)
            return

    async def _get_all(
        self, http: HttpClient, ids: list[str], form: str
    ) -> tuple[dict[str, Any], Exception | None]:
        """Ask for mails together: what each is, None where it is gone, or what was wrong with it.

        Those that Gmail did not answer for are left out, and then there is a fault.
        """
        answers = await asyncio.gather(*(self._get_one(http, one, form) for one in ids))
        found: dict[str, Any] = dict(zip(ids, answers, strict=True))
        endings = [one for one in found.values() if isinstance(one, Wait | SignInNeeded)]
        fault: Exception | None = endings[0] if endings else None
        down = [one for one, answer in found.items() if isinstance(answer, ProviderDown)]
        if down and fault is None:
            fault = await self._doubt(http, form, down, found)
        if fault is not None:
            kinds = (ProviderDown, SignInNeeded, Wait)
            found = {one: answer for one, answer in found.items() if not isinstance(answer, kinds)}
        return found, fault

    async def _doubt(
        self, http: HttpClient, form: str, down: list[str], found: dict[str, Any]
    ) -> Exception | None:
        """Ask once more: a mail is to blame only if Gmail gives others; else the fault is given."""
        for one in down:
            found[one] = await self._get_one(http, one, form)
        still = [found[one] for one in down if isinstance(found[one], Exception)]
        if not still:
            return None
        well = [one for one, answer in found.items() if not isinstance(answer, Exception)]
        for other in (well or [one for one in self.keys.first(10) if one not in down])[:2]:
            answer = await self._get_one(http, other, "minimal")
            if not isinstance(answer, Exception):
                return next((one for one in still if isinstance(one, Wait | SignInNeeded)), None)
        fault: Exception = still[0]
        return fault

    async def _get_one(self, http: HttpClient, one: str, form: str) -> Any:
        """Ask for a mail; gives what was wrong instead of raising it."""
        try:
            return await http.json("messages/{id}", id=one, format=form, none_on=404)
        except BodyTooLarge:
            # Without its text, of which Gmail gives the beginning.
            return await self._get_one(http, one, "metadata")
        except Exception as error:
            return error

    async def _get(self, http: HttpClient, path: str, **query: Any) -> dict[str, Any]:
        found = await http.json(path, **query)
        if not isinstance(found, dict):
            host = http.base_url.host
            raise ProviderDown(f"{path}: what came is no answer of Gmail's", host=host)
        return found

    def _remove(self, ids: list[str], known: dict[str, str] | None = None) -> None:
        places = [(known or {}).get(one) or self.keys.get(one) for one in ids]
        self.mails.remove([key for key in places if key])
        self.keys.remove(ids)
        if ids and self._has_unreadable():
            self.unreadable.remove(ids)

    def _has_unreadable(self) -> bool:
        return len(self.unreadable) > 0

    def _let_go(self) -> bool:
        """Let go the mails of another account; False where that is more than a run can do."""
        self.point = self.next_point = self.history_page = self.list_page = self.listed_for = ""
        self.wanted, self.changed, self.listing = [], [], None
        self.has_pages = self.has_missed = False
        for items in (self.mails, self.unreadable, self.keys):
            items.remove(items.first(PORTION_GONE))
        return not (self.mails or self.unreadable or self.keys)

    def _progress(self) -> str:
        known = len(self.keys)
        total = known + len(self.wanted)
        if self.listing is not None and not self.is_listed:
            total = max(total, min(self.about, self.keep))
        if total > known:
            return f"{known:,} of about {total:,} mails"
        text = f"{known:,} mail{'' if known == 1 else 's'}"
        unreadable = len(self.unreadable)
        return f"{text}, {unreadable:,} cannot be read" if unreadable else text


def key_of(one: str, received: datetime) -> str:
    """Give the key of a mail: the newest one comes first, as in a mail program."""
    ms = (received - NEVER) // timedelta(milliseconds=1)
    return f"{LAST_MS - min(max(ms, 0), LAST_MS):015} {one}"


def moment_of(found: dict[str, Any]) -> datetime:
    """Read when Gmail got a mail; raises ValueError and OverflowError."""
    return NEVER + timedelta(milliseconds=int(found.get("internalDate") or 0))


def read_mail(found: dict[str, Any]) -> Mail:
    """Read a mail as Gmail gives it."""
    payload = found.get("payload") or {}

    def header(name: str) -> str:
        return mail_header(payload, name, limit=MOST_HEADER)

    return Mail(
        id=found["id"],
        received=moment_of(found),
        sender=header("From"),
        subject=header("Subject"),
        labels=sorted(found.get("labelIds") or ()),
        text=mail_text(payload, limit=MOST_TEXT) or str(found.get("snippet") or "")[:MOST_TEXT],
        to=header("To"),
        cc=header("Cc"),
        sent=date_of(header("Date")),
        thread=found.get("threadId") or "",
        message_id=header("Message-ID"),
        in_reply_to=header("In-Reply-To"),
        size=int(found.get("sizeEstimate") or 0),
    )


def date_of(text: str) -> datetime | None:
    """Read the date that a mail says, as far as it can be read."""
    try:
        date = parsedate_to_datetime(text)
        # -0000 stands for a place that is not told.
        return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def refusal_of(answer: httpx2.Response) -> str:
    """Say what Google refuses, in its own words as far as it has some."""
    try:
        said = str(answer.json()["error"]["message"])
    except (ValueError, LookupError, TypeError):
        said = "it does not say why"
    return f"Google refuses with {answer.status_code}: {said[:300]}"
