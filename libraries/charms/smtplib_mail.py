"""Python: a letter by `smtplib`.

Port 587 has to be allowed: `limits SPACE --network=53,80,443,587`.
"""

import smtplib
from urllib.parse import urlsplit

from bg_charm_service import Charm


class SmtplibMail(Charm):
    """Sends a letter."""

    smtp: str = ""
    sent: int = 0

    def bg_updater(self, event: dict) -> None:
        where = urlsplit(self.smtp)
        with smtplib.SMTP(where.hostname, where.port) as server:
            refused = server.sendmail(
                "me@example.org", ["you@example.org"], "Subject: hello\n\nHello."
            )
        self.sent += not refused
