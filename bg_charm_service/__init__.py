"""Runs charms in the background. What authors of charms and integrations import is here.

    from bg_charm_service import Cell, Charm, Secret, Stream

Names are loaded at first use, so that importing the package stays cheap for everything else.
"""

from __future__ import annotations

from bg_charm_service.domain.version import VERSION

# What type checkers read as true. The module of this name is large, and a start loads this one
# before it can do anything about signals: see daemon/start_signals.py.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from bg_charm_service.scanning.integration import CellIntegration as CellIntegration
    from bg_charm_service.scanning.integration import Integration as Integration
    from bg_charm_service.scanning.integration import IntegrationCellConfig as IntegrationCellConfig
    from bg_charm_service.scanning.integration import read_cell as read_cell
    from bg_charm_service.sdk.caldav import CalDav as CalDav
    from bg_charm_service.sdk.caldav import DavChanges as DavChanges
    from bg_charm_service.sdk.caldav import DavItem as DavItem
    from bg_charm_service.sdk.calendars.discovery import DavCalendar as DavCalendar
    from bg_charm_service.sdk.calendars.discovery import calendars_at as calendars_at
    from bg_charm_service.sdk.calendars.reader import CalendarEvent as CalendarEvent
    from bg_charm_service.sdk.calendars.reader import CalendarReading as CalendarReading
    from bg_charm_service.sdk.calendars.reader import UnreadableEvent as UnreadableEvent
    from bg_charm_service.sdk.calendars.reader import calendar_events as calendar_events
    from bg_charm_service.sdk.cells import Cell as Cell
    from bg_charm_service.sdk.cells import Secret as Secret
    from bg_charm_service.sdk.cells import Stream as Stream
    from bg_charm_service.sdk.charm import Charm as Charm
    from bg_charm_service.sdk.charm import CharmContext as CharmContext
    from bg_charm_service.sdk.endings import ProviderDown as ProviderDown
    from bg_charm_service.sdk.endings import SignInNeeded as SignInNeeded
    from bg_charm_service.sdk.endings import Stop as Stop
    from bg_charm_service.sdk.endings import Wait as Wait
    from bg_charm_service.sdk.events.hooks import hook as hook
    from bg_charm_service.sdk.feeds.identity import told_apart as told_apart
    from bg_charm_service.sdk.feeds.model import CutFeed as CutFeed
    from bg_charm_service.sdk.feeds.model import Enclosure as Enclosure
    from bg_charm_service.sdk.feeds.model import Feed as Feed
    from bg_charm_service.sdk.feeds.model import FeedEntry as FeedEntry
    from bg_charm_service.sdk.feeds.model import FeedText as FeedText
    from bg_charm_service.sdk.feeds.model import NotAFeed as NotAFeed
    from bg_charm_service.sdk.feeds.reading import read_feed as read_feed
    from bg_charm_service.sdk.http_client import HttpClient as HttpClient
    from bg_charm_service.sdk.http_client import TokenSource as TokenSource
    from bg_charm_service.sdk.http_wire import BodyTooLarge as BodyTooLarge
    from bg_charm_service.sdk.items import Items as Items
    from bg_charm_service.sdk.mail.imap import Imap as Imap
    from bg_charm_service.sdk.mail.imap import MailboxNews as MailboxNews
    from bg_charm_service.sdk.mail.imap import MailChanges as MailChanges
    from bg_charm_service.sdk.mail.imap import MailError as MailError
    from bg_charm_service.sdk.mail.imap import MailPoint as MailPoint
    from bg_charm_service.sdk.mail.imap_wire import MailHead as MailHead
    from bg_charm_service.sdk.mail.mail_text import html_text as html_text
    from bg_charm_service.sdk.mail.mail_text import mail_header as mail_header
    from bg_charm_service.sdk.mail.mail_text import mail_text as mail_text
    from bg_charm_service.sdk.mail.mail_text import safe_html as safe_html
    from bg_charm_service.sdk.mail.uid_set import UidSet as UidSet
    from bg_charm_service.sdk.oauth import OAuth as OAuth

__version__ = VERSION

_HOMES = {
    "BodyTooLarge": "bg_charm_service.sdk.http_wire",
    "CalDav": "bg_charm_service.sdk.caldav",
    "CalendarEvent": "bg_charm_service.sdk.calendars.reader",
    "CalendarReading": "bg_charm_service.sdk.calendars.reader",
    "Cell": "bg_charm_service.sdk.cells",
    "CellIntegration": "bg_charm_service.scanning.integration",
    "Charm": "bg_charm_service.sdk.charm",
    "CharmContext": "bg_charm_service.sdk.charm",
    "CutFeed": "bg_charm_service.sdk.feeds.model",
    "DavCalendar": "bg_charm_service.sdk.calendars.discovery",
    "DavChanges": "bg_charm_service.sdk.caldav",
    "DavItem": "bg_charm_service.sdk.caldav",
    "Enclosure": "bg_charm_service.sdk.feeds.model",
    "Feed": "bg_charm_service.sdk.feeds.model",
    "FeedEntry": "bg_charm_service.sdk.feeds.model",
    "FeedText": "bg_charm_service.sdk.feeds.model",
    "HttpClient": "bg_charm_service.sdk.http_client",
    "Imap": "bg_charm_service.sdk.mail.imap",
    "Integration": "bg_charm_service.scanning.integration",
    "IntegrationCellConfig": "bg_charm_service.scanning.integration",
    "Items": "bg_charm_service.sdk.items",
    "MailChanges": "bg_charm_service.sdk.mail.imap",
    "MailError": "bg_charm_service.sdk.mail.imap",
    "MailHead": "bg_charm_service.sdk.mail.imap_wire",
    "MailPoint": "bg_charm_service.sdk.mail.imap",
    "MailboxNews": "bg_charm_service.sdk.mail.imap",
    "NotAFeed": "bg_charm_service.sdk.feeds.model",
    "OAuth": "bg_charm_service.sdk.oauth",
    "ProviderDown": "bg_charm_service.sdk.endings",
    "Secret": "bg_charm_service.sdk.cells",
    "SignInNeeded": "bg_charm_service.sdk.endings",
    "Stop": "bg_charm_service.sdk.endings",
    "Stream": "bg_charm_service.sdk.cells",
    "TokenSource": "bg_charm_service.sdk.http_client",
    "UidSet": "bg_charm_service.sdk.mail.uid_set",
    "UnreadableEvent": "bg_charm_service.sdk.calendars.reader",
    "Wait": "bg_charm_service.sdk.endings",
    "calendar_events": "bg_charm_service.sdk.calendars.reader",
    "calendars_at": "bg_charm_service.sdk.calendars.discovery",
    "hook": "bg_charm_service.sdk.events.hooks",
    "html_text": "bg_charm_service.sdk.mail.mail_text",
    "mail_header": "bg_charm_service.sdk.mail.mail_text",
    "mail_text": "bg_charm_service.sdk.mail.mail_text",
    "read_cell": "bg_charm_service.scanning.integration",
    "read_feed": "bg_charm_service.sdk.feeds.reading",
    "safe_html": "bg_charm_service.sdk.mail.mail_text",
    "told_apart": "bg_charm_service.sdk.feeds.identity",
}

__all__ = [
    "BodyTooLarge",
    "CalDav",
    "CalendarEvent",
    "CalendarReading",
    "Cell",
    "CellIntegration",
    "Charm",
    "CharmContext",
    "CutFeed",
    "DavCalendar",
    "DavChanges",
    "DavItem",
    "Enclosure",
    "Feed",
    "FeedEntry",
    "FeedText",
    "HttpClient",
    "Imap",
    "Integration",
    "IntegrationCellConfig",
    "Items",
    "MailChanges",
    "MailError",
    "MailHead",
    "MailPoint",
    "MailboxNews",
    "NotAFeed",
    "OAuth",
    "ProviderDown",
    "Secret",
    "SignInNeeded",
    "Stop",
    "Stream",
    "TokenSource",
    "UidSet",
    "UnreadableEvent",
    "Wait",
    "__version__",
    "calendar_events",
    "calendars_at",
    "hook",
    "html_text",
    "mail_header",
    "mail_text",
    "read_cell",
    "read_feed",
    "safe_html",
    "told_apart",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
