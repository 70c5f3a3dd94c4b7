"""imapclient: unread mail counted.

Ports 143 and 993 have to be allowed: `limits SPACE --network=53,80,443,993`.
"""

from urllib.parse import urlsplit

from imapclient import IMAPClient

from bg_charm_service import Charm


class ImapclientInbox(Charm):
    """Counts unread mail."""

    imap: str = ""
    unread: int = 0

    def bg_updater(self, event: dict) -> None:
        where = urlsplit(self.imap)
        with IMAPClient(where.hostname, port=where.port, ssl=False) as client:
            client.login("somebody", "secret")
            client.select_folder("INBOX", readonly=True)
            self.unread = len(client.search("UNSEEN"))
