"""Which entries are the same: within a feed, and as one that was seen before.

What a feed says of that is often wrong, so several things together decide: docs/decisions/0076.
Pure; used by charms that keep entries.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Protocol

from bg_charm_service.sdk.feeds.model import FeedEntry

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class KnownEntry(Protocol):
    """What has to be kept of an entry, so that it is known again."""

    @property
    def id(self) -> str: ...
    @property
    def guid(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def link(self) -> str: ...
    @property
    def written_link(self) -> str: ...
    @property
    def published(self) -> datetime | None: ...


def told_apart(
    entries: Iterable[FeedEntry], known: Iterable[KnownEntry] = ()
) -> dict[str, FeedEntry]:
    """Give each entry once, by an id of its own: that of the known one which it is, or a new one.

    Of several versions in one feed the one that was changed last counts. Entries keep their order.
    """
    distinct = _versions_joined(entries)
    finder = _Finder(distinct, known)
    found: dict[str, FeedEntry] = {}
    for entry in distinct:
        name = finder.known_as(entry)
        if name is not None:
            finder.take(name)
        found[finder.free_name(entry, found) if name is None else name] = entry
    return found


def _versions_joined(entries: Iterable[FeedEntry]) -> list[FeedEntry]:
    """Of entries with the same identity in one feed, the one changed last, the first of equals."""
    newest: dict[tuple[object, ...], FeedEntry] = {}
    for entry in entries:
        key = _identity(entry)
        known = newest.get(key)
        if known is None or _changed(entry) > _changed(known):
            newest[key] = entry
    return list(newest.values())


def _identity(entry: FeedEntry) -> tuple[object, ...]:
    """Guid and link; without a guid link, title and date; without these all that there is."""
    if entry.guid:
        return entry.guid, entry.written_link
    if entry.written_link or entry.title:
        return "", entry.written_link, entry.title, entry.date
    files = tuple(one.url for one in entry.enclosures)
    return "", "", entry.date, entry.summary.written, entry.content.written, files


def _digest(entry: FeedEntry) -> str:
    said = repr(_identity(entry)).encode("utf-8", "replace")
    return hashlib.sha256(said).hexdigest()[:32]


def _changed(entry: FeedEntry) -> datetime:
    return entry.updated or entry.published or _LONG_AGO


class _Finder:
    """Finds which known entry one of the feed is."""

    def __init__(self, entries: list[FeedEntry], known: Iterable[KnownEntry]) -> None:
        self._uses_of_guid = Counter(one.guid for one in entries if one.guid)
        self._uses_of_link = Counter(one.written_link for one in entries if not one.guid)
        self._by_guid: dict[str, list[KnownEntry]] = defaultdict(list)
        self._by_link: dict[str, list[KnownEntry]] = defaultdict(list)
        self._by_id: dict[str, KnownEntry] = {}
        self._taken: set[str] = set()
        for one in known:
            self._by_id[one.id] = one
            if one.guid:
                self._by_guid[one.guid].append(one)
            else:
                self._by_link[_link_of(one)].append(one)

    def known_as(self, entry: FeedEntry) -> str | None:
        """Give the id of the known entry that this is; None for a new one."""
        found = self._of_guid(entry) if entry.guid else self._by_id.get(_digest(entry))
        if found is None and not entry.guid and (entry.written_link or entry.title):
            found = self._without_guid(entry)
        return None if found is None or found.id in self._taken else found.id

    def take(self, name: str) -> None:
        """Let a known entry be no other one of the feed."""
        self._taken.add(name)

    def free_name(self, entry: FeedEntry, found: dict[str, FeedEntry]) -> str:
        """Give an id that no other entry has: the guid where that is one's own, else a hash."""
        names = [entry.guid] if self._uses_of_guid[entry.guid] == 1 else []
        for name in (*names, _digest(entry)):
            if name not in found and name not in self._by_id:
                return name
        return f"{_digest(entry)}-{len(found)}"

    def _of_guid(self, entry: FeedEntry) -> KnownEntry | None:
        known = self._by_guid.get(entry.guid, [])
        for one in known:
            if _link_of(one) == entry.written_link:
                return one
        if len(known) == 1 and self._uses_of_guid[entry.guid] == 1:
            # A guid of its own: its page has moved.
            return known[0]
        # Kept by an older version of the charm, which had no guids.
        older = self._by_id.get(entry.guid)
        return older if older is not None and not older.guid and not known else None

    def _without_guid(self, entry: FeedEntry) -> KnownEntry | None:
        """One of the same link, title and date; or whose link is its own, and whose date agrees."""
        known = self._by_link.get(entry.written_link, [])
        for one in known:
            if (one.title, one.published) == (entry.title, entry.date):
                return one
        is_own = len(known) == 1 and self._uses_of_link[entry.written_link] == 1
        if is_own and entry.written_link and known[0].published == entry.date:
            return known[0]
        return None


def _link_of(known: KnownEntry) -> str:
    return known.written_link or known.link
