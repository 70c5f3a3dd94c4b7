"""Python: a letter by `smtplib`, at a port that is closed to it."""

import smtplib

from bg_charm_service import Charm


class SmtplibPort(Charm):
    """Sends a letter."""

    def bg_updater(self, event: dict) -> None:
        smtplib.SMTP("127.0.0.1", 587)
