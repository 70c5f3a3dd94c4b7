"""The calendars of an account: from whatever address a person has (RFC 6764, RFC 4791, RFC 5397).

An address may be that of one calendar, of the person, of all calendars, or only of the server.
Works on `self.http`; imported by authors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree

import httpx2

from bg_charm_service.sdk.caldav import read_xml, status_of
from bg_charm_service.sdk.http_client import HttpClient

#: Where a server says where its calendars are (RFC 6764, 5).
_WELL_KNOWN: Final = "/.well-known/caldav"

#: How servers that are none of WebDAV, or have nothing there, answer.
_NO_DAV: Final = frozenset({400, 403, 404, 405, 406, 409, 410, 415, 501})

_MULTI_STATUS: Final = 207

_DAV: Final = "{DAV:}"
_CAL: Final = "{urn:ietf:params:xml:ns:caldav}"

_BODY: Final = (
    '<?xml version="1.0" encoding="utf-8"?>'
    '<d:propfind xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"><d:prop>'
    "<d:resourcetype/><d:displayname/><d:current-user-principal/><c:calendar-home-set/>"
    "<c:supported-calendar-component-set/></d:prop></d:propfind>"
)


@dataclass(frozen=True, slots=True)
class DavCalendar:
    """A calendar with events: its address, and its name, which may be empty."""

    url: str
    name: str


async def calendars_at(http: HttpClient, url: str) -> list[DavCalendar]:
    """Give the calendars that an address leads to, in the order of their addresses.

    Raises LookupError where there is no CalDAV. Servers of one provider may be several; what lies
    at another provider's is refused with ValueError, since the client would sign in there.
    """
    found = await _look(http, url, depth="0")
    if found is None or not _leads_on(found):
        known = await _look(http, urljoin(url, _WELL_KNOWN), depth="0")
        found = known if known is not None and _leads_on(known) else found
    if found is None:
        raise LookupError(f"{_plain(url)}: there is no CalDAV at this address")
    if mine := [one.calendar for one in found if one.calendar is not None]:
        return mine
    homes = [home for one in found for home in one.homes]
    if not homes:
        for principal in dict.fromkeys(one.principal for one in found if one.principal):
            there = await _look(http, _near(principal, url), depth="0")
            homes += [home for one in there or () for home in one.homes]
    # An address above calendars is a home that does not say so.
    calendars: dict[str, DavCalendar] = {}
    for home in dict.fromkeys(homes or [url]):
        for one in await _look(http, _near(home, url), depth="1") or ():
            if one.calendar is not None:
                calendars.setdefault(_near(one.calendar.url, url), one.calendar)
    return [calendars[address] for address in sorted(calendars)]


@dataclass(frozen=True, slots=True)
class _Place:
    """What an address says of itself."""

    calendar: DavCalendar | None
    principal: str
    homes: tuple[str, ...]


def _leads_on(places: Iterable[_Place]) -> bool:
    return any(one.calendar or one.principal or one.homes for one in places)


async def _look(http: HttpClient, url: str, *, depth: str) -> list[_Place] | None:
    """Ask an address; None where there is no WebDAV."""
    response = await http.request(
        "PROPFIND",
        url,
        content=_BODY.encode(),
        headers={"Content-Type": "application/xml; charset=utf-8", "Depth": depth},
        returns=_NO_DAV,
    )
    if response.status_code in _NO_DAV or response.status_code == 200:
        return None
    response.raise_for_status()
    if response.status_code != _MULTI_STATUS:
        return None
    base = str(response.url)
    return [_place(one, base) for one in read_xml(response).iter(f"{_DAV}response")]


def _place(element: ElementTree.Element, base: str) -> _Place:
    href = urljoin(base, element.findtext(f"{_DAV}href", "").strip())
    calendar, principal = None, ""
    homes: list[str] = []
    for propstat in element.iter(f"{_DAV}propstat"):
        if status_of(propstat) != httpx2.codes.OK:
            continue
        principal = propstat.findtext(f".//{_DAV}current-user-principal/{_DAV}href", principal)
        homes += [
            one.text or "" for one in propstat.iterfind(f".//{_CAL}calendar-home-set/{_DAV}href")
        ]
        if propstat.find(f".//{_DAV}resourcetype/{_CAL}calendar") is not None:
            calendar = DavCalendar(href, "")
    if calendar is not None:
        kinds = {one.get("name") for one in element.iter(f"{_CAL}comp")}
        # Without a word of it all kinds are taken (RFC 4791, 5.2.3); one may be for tasks only.
        is_for_events = not kinds or "VEVENT" in kinds
        name = element.findtext(f".//{_DAV}displayname", "").strip()
        calendar = DavCalendar(href, name) if is_for_events else None
    return _Place(
        calendar=calendar,
        principal=urljoin(base, principal.strip()) if principal.strip() else "",
        homes=tuple(urljoin(base, home.strip()) for home in homes if home.strip()),
    )


def _near(address: str, url: str) -> str:
    """Give an address that the server named; raises ValueError for one at somebody else's."""
    there, here = urlsplit(address), urlsplit(url)
    if (there.scheme, there.hostname, there.port) == (here.scheme, here.hostname, here.port):
        return address
    family = (here.hostname or "").partition(".")[2]
    is_near = "." in family and (there.hostname or "").endswith(f".{family}")
    if there.scheme == "https" and (is_near or there.hostname == here.hostname):
        return address
    raise ValueError(
        f"{_plain(url)} names {_plain(address)}, which is another provider's: "
        "give that address if you mean it"
    )


def _plain(url: str) -> str:
    """An address for people: without a sign-in or a query, which may be secrets."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"
