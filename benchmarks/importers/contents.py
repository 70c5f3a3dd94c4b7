"""What the servers hold that the importers read: a mailbox of mails, a calendar of events."""

from __future__ import annotations

import imaplib
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

#: What a text of a mail is made of: with it, a mail takes about 2 kB.
_LINE = "The words of this line are such as people write to each other, with an umlaut: Grüße.\n"

#: And what the description of an event is.
_ABOUT = "What it is about\\, in some words. "


def mail(number: int) -> bytes:
    """A mail; each fourth has its text as HTML too, as most have nowadays."""
    message = EmailMessage()
    message["From"] = f"Sender {number % 97} <sender{number % 97}@example.org>"
    message["To"] = "Me <me@example.org>"
    message["Subject"] = f"Grüße, {number} of many"
    message["Message-ID"] = f"<{number}@example.org>"
    message["Date"] = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
    text = _LINE * 16
    message.set_content(text)
    if number % 4 == 0:
        message.add_alternative(f"<html><body><p>{text}</p></body></html>", subtype="html")
    return message.as_bytes()


def fill_mailbox(port: int, user: str, password: str, count: int) -> None:
    """Put mails into a mailbox."""
    imap = imaplib.IMAP4("127.0.0.1", port)
    imap.login(user, password)
    for number in range(count):
        imap.append("INBOX", "", "", mail(number))
    imap.logout()


def event(number: int) -> str:
    """An item of a calendar; each tenth is a weekly series of ten times."""
    day = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0)
    start = day + timedelta(days=number % 300, hours=number % 8)
    rule = "RRULE:FREQ=WEEKLY;COUNT=10\n" if number % 10 == 0 else ""
    return (
        "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//Example//EN\nBEGIN:VEVENT\n"
        f"UID:{number}@example.org\nDTSTAMP:20260101T000000Z\nDTSTART:{start:%Y%m%dT%H%M%SZ}\n"
        f"DURATION:PT1H\n{rule}SUMMARY:Meeting {number}\nLOCATION:Room {number % 20}\n"
        f"DESCRIPTION:{_ABOUT * 5}\n"
        "END:VEVENT\nEND:VCALENDAR\n"
    ).replace("\n", "\r\n")


def fill_calendar(folder: Path, count: int) -> None:
    """Write items into the folder of a calendar of Radicale, as it keeps them."""
    for number in range(count):
        (folder / f"{number}.ics").write_text(event(number), newline="")
