"""A collection over CalDAV or CardDAV: what has changed in it since last time, whatever its server.

Servers differ in all that RFC 6578 leaves open, and in some that it does not: how a token that is
known no more is refused, whether removed members stand in a first report, how a report is cut.
Here the charm says what it knows, and is told what differs. Works on `self.http`; imported by
authors.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import httpx2

from bg_charm_service.sdk.http_client import HttpClient
from bg_charm_service.sdk.http_wire import where

#: So many items are asked for at a time.
_ITEMS_A_PIECE: Final = 100

#: A report that is cut goes on so often.
_MOST_REPORTS: Final = 1000

#: How servers say that they know a token no more: RFC 6578 has 403, and is not always read.
_TOKEN_REFUSED: Final = frozenset({400, 403, 404, 409, 410, 412, 507})

#: How servers say that they have no such report.
_NO_REPORT: Final = frozenset({400, 403, 404, 405, 409, 415, 501, 507})

_MULTI_STATUS: Final = 207
_INSUFFICIENT_STORAGE: Final = 507
_NOT_FOUND: Final = 404
_GONE: Final = 410

_DAV: Final = "{DAV:}"
_DATA: Final = (
    "{urn:ietf:params:xml:ns:caldav}calendar-data",
    "{urn:ietf:params:xml:ns:carddav}address-data",
)

#: What may stand in a path as it is (RFC 3986, 3.3).
_UNQUOTED: Final = "/~!$&'()*+,;=:@"

_PROPERTIES: Final = "<d:prop><d:getetag/><d:resourcetype/></d:prop>"


@dataclass(frozen=True, slots=True)
class DavChanges:
    """What differs from what the charm knew: etags of what came or changed, names of what is gone.

    `token` is where the next look goes on; empty where the server has no such thing.
    """

    token: str
    changed: dict[str, str] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class DavItem:
    """One event, task or card: its etag, and its text in iCalendar or vCard."""

    etag: str
    text: str


class CalDav:
    """One collection of a server: a calendar, or, with `kind="carddav"`, an address book.

        async with self.http(auth=(self.user, self.password)) as http:
            calendar = CalDav(http, "https://dav.example.org/me/work/")
            changes = await calendar.changes(self.token, self.etags)
            items = await calendar.fetch(changes.changed)

    Items have the path that the server gives them as their name, unquoted.
    """

    def __init__(self, http: HttpClient, url: str, *, kind: str = "caldav") -> None:
        if kind not in ("caldav", "carddav"):
            raise ValueError(f"kind is caldav or carddav, not {kind!r:.40}")
        self._http = http
        self._url = url
        self._report = {"caldav": "calendar", "carddav": "addressbook"}[kind]
        self._data = {"caldav": "calendar-data", "carddav": "address-data"}[kind]
        self._namespace = f"urn:ietf:params:xml:ns:{kind}"
        #: The address that it answers at, from its first answer on.
        self._path: str | None = None

    async def changes(self, token: str, known: Mapping[str, str]) -> DavChanges:
        """Say what differs from `known`, the etag of each item, which was so at `token`.

        Without a token, or with one that the server knows no more, everything is compared.
        """
        if token:
            found = await self._sync(token)
            if found is not None:
                changed = {
                    name: etag for name, etag in found.there.items() if known.get(name) != etag
                }
                # Of what is known no more is looked at than was told: it may lie in a collection.
                removed = frozenset(name for name in found.gone if name in known)
                return DavChanges(found.token, changed, removed)
        return await self._compare(known)

    async def point(self) -> str:
        """Give a token from which changes go on; empty where the server has no such thing.

        What is there now is for `listing` to say, which has to come after it: so nothing is missed
        in between, and each of the two can be asked for by a run of its own. `changes` does both.
        """
        found = await self._sync("")
        return found.token if found is not None else ""

    async def fetch(self, names: Collection[str]) -> dict[str, DavItem]:
        """Give items by their names; one that is gone by now is left out.

        One that is there and cannot be had from its server has an empty text.
        """
        wanted = sorted(names)
        found: dict[str, DavItem] = {}
        for place in range(0, len(wanted), _ITEMS_A_PIECE):
            piece = wanted[place : place + _ITEMS_A_PIECE]
            hrefs = "".join(
                f"<d:href>{escape(quote(name, safe=_UNQUOTED))}</d:href>" for name in piece
            )
            body = (
                f'<x:{self._report}-multiget xmlns:d="DAV:" xmlns:x="{self._namespace}">'
                f"<d:prop><d:getetag/><x:{self._data}/></d:prop>{hrefs}</x:{self._report}-multiget>"
            )
            response = await self._ask("REPORT", body, depth="0")
            for member in self._members(response):
                if member.name not in names:
                    continue
                if member.text is not None:
                    found[member.name] = DavItem(member.etag, member.text)
                elif member.status not in (_NOT_FOUND, _GONE):
                    found[member.name] = DavItem(member.etag, "")
        return found

    async def listing(self) -> dict[str, str]:
        """Give the etag of every item there is now."""
        body = f'<d:propfind xmlns:d="DAV:">{_PROPERTIES}</d:propfind>'
        response = await self._ask("PROPFIND", body, depth="1")
        return {one.name: one.etag for one in self._members(response) if one.is_there}

    async def _compare(self, known: Mapping[str, str]) -> DavChanges:
        """Compare everything; with a token to go on from, where the server gives one."""
        token = await self.point()
        # After the token, so that nothing is missed in between: and since a first report may be
        # cut without a word, or name what was removed long ago.
        there = await self.listing()
        changed = {name: etag for name, etag in there.items() if known.get(name) != etag}
        return DavChanges(token, changed, frozenset(known.keys() - there.keys()))

    async def _sync(self, token: str) -> _Synced | None:
        """Follow the reports of changes; None where the server does not know the token, or any."""
        found = _Synced(token)
        for _ in range(_MOST_REPORTS):
            body = (
                f'<d:sync-collection xmlns:d="DAV:"><d:sync-token>{escape(found.token)}'
                "</d:sync-token><d:sync-level>1</d:sync-level>"
                "<d:prop><d:getetag/></d:prop></d:sync-collection>"
            )
            refusals = _TOKEN_REFUSED if found.token else _NO_REPORT
            response = await self._ask("REPORT", body, depth="0", returns=refusals)
            if response.status_code in refusals:
                return None
            before, is_cut = found.token, False
            for member in self._members(response):
                if member.is_self:
                    # The report goes on from its token (RFC 6578, 3.6).
                    is_cut = is_cut or member.status == _INSUFFICIENT_STORAGE
                elif member.is_there:
                    found.there[member.name] = member.etag
                    found.gone.discard(member.name)
                elif member.status == _NOT_FOUND:
                    found.gone.add(member.name)
                    found.there.pop(member.name, None)
            found.token = _token_of(response)
            if not found.token or (is_cut and found.token == before):
                # Nothing to go on from.
                return None
            if not is_cut:
                return found
        return None

    async def _ask(
        self, method: str, body: str, *, depth: str, returns: Collection[int] = ()
    ) -> httpx2.Response:
        """Send a request of WebDAV; raises HTTPStatusError for what is not told by `returns`."""
        response = await self._http.request(
            method,
            self._url,
            content=f'<?xml version="1.0" encoding="utf-8"?>{body}'.encode(),
            headers={"Content-Type": "application/xml; charset=utf-8", "Depth": depth},
            returns=returns,
        )
        if response.status_code in returns:
            return response
        response.raise_for_status()
        if response.status_code != _MULTI_STATUS:
            text = f"{where(response.request)} answered {response.status_code}: no WebDAV"
            raise ValueError(text)
        self._path = unquote(response.url.path)
        return response

    def _members(self, response: httpx2.Response) -> Iterator[_Member]:
        """What a report says of each address."""
        own = (self._path or "").rstrip("/")
        for element in read_xml(response).iter(f"{_DAV}response"):
            href = element.findtext(f"{_DAV}href", "").strip()
            name = unquote(urlsplit(href).path)
            etag, text, is_folder = "", None, name.endswith("/")
            for propstat in element.iter(f"{_DAV}propstat"):
                if status_of(propstat) == 200:
                    etag = propstat.findtext(f".//{_DAV}getetag", etag).strip()
                    is_folder = is_folder or propstat.find(f".//{_DAV}collection") is not None
                    for tag in _DATA:
                        text = propstat.findtext(f".//{tag}", text)
            status = status_of(element)
            is_self = name.rstrip("/") == own
            yield _Member(name, status, etag, text, is_self=is_self, is_folder=is_folder)


@dataclass(slots=True)
class _Synced:
    """What reports told, one after the other."""

    token: str
    there: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Member:
    """One address in a report; `status` is 0 where it is said of properties only."""

    name: str
    status: int
    etag: str
    text: str | None
    is_self: bool
    is_folder: bool

    @property
    def is_there(self) -> bool:
        """Whether it is an item that the collection has."""
        is_well = self.status in (0, 200)
        return is_well and bool(self.etag) and not self.is_self and not self.is_folder


def read_xml(response: httpx2.Response) -> ElementTree.Element:
    """Read XML; raises ValueError for what is none, or brings definitions of its own."""
    if b"<!DOCTYPE" in response.content or b"<!ENTITY" in response.content:
        raise ValueError(f"{where(response.request)}: its XML defines entities")
    try:
        # Without definitions there is nothing to expand; expat bounds the rest.
        return ElementTree.fromstring(response.content)  # noqa: S314
    except (ElementTree.ParseError, RecursionError, LookupError):
        raise ValueError(f"{where(response.request)} answered with no XML") from None


def _token_of(response: httpx2.Response) -> str:
    return read_xml(response).findtext(f"{_DAV}sync-token", "").strip()


def status_of(element: ElementTree.Element) -> int:
    """The status of a line such as `HTTP/1.1 404 Not Found` in an element itself; 0 for none."""
    parts = element.findtext(f"{_DAV}status", "").split()
    return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0
