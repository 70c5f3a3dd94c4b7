"""The charm that imports mail, in a real service, from a real Dovecot whose mails it has then."""

from __future__ import annotations

import imaplib
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.process.program import wait_until
from tests.process.running import ROOT, RunningCharm, Service
from tests.real_servers import PASSWORD, USER, RealServer, dovecot

SOURCE = (ROOT / "charms" / "mail_importer.py").read_text()

#: The same, which reads ten mails in a run.
SMALL = SOURCE.replace("PORTION = 500", "PORTION = 10")

MAIL = "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe_{0}?=\r\nFrom: you@example.org\r\n\r\nText {0}\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """Dovecot, where each user has a mailbox of his own."""
    with dovecot(tmp_path_factory.mktemp("dovecot")) as running:
        yield running


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service without charms."""
    with Service(tmp_path / "data") as running:
        yield running


class Box:
    """The mailbox of one user, and who writes into it."""

    def __init__(self, server: RealServer, user: str) -> None:
        self.user, self.port = f"{user}{USER}", server.port
        self.imap = imaplib.IMAP4("127.0.0.1", server.port)
        self.imap.login(self.user, PASSWORD)
        self.imap.select("INBOX")

    def append(self, *numbers: int) -> None:
        """Put mails into it."""
        for number in numbers:
            self.imap.append("INBOX", "", "", MAIL.format(number).encode())

    def store(self, uids: str, flag: str) -> None:
        """Set a flag of mails, and let go those that are deleted."""
        self.imap.uid("STORE", uids, "+FLAGS", f"({flag})")
        self.imap.expunge()

    def mails(self) -> dict[int, list[str]]:
        """What the server has: the flags of mails by their UIDs."""
        self.imap.select("INBOX")
        _, lines = self.imap.uid("FETCH", "1:*", "(UID FLAGS)")
        found = {}
        for line in lines:
            match = re.search(rb"UID (\d+) FLAGS \(([^)]*)\)", line or b"")
            if match is not None:
                flags = set(match[2].decode().split()) - {"\\Recent"}
                found[int(match[1])] = sorted(flags)
        return dict(sorted(found.items(), reverse=True))

    def charm(self, service: Service, source: str = SMALL, **values: Any) -> RunningCharm:
        """Add a charm that imports it."""
        where = {"host": "127.0.0.1", "port": self.port, "is_plain": True, "user": self.user}
        return service.add(source, values={**where, "password": PASSWORD, **values})


@pytest.fixture
def box(server: RealServer, request: pytest.FixtureRequest) -> Iterator[Box]:
    """The mailbox of a test's own user."""
    box = Box(server, f"{request.node.name}.")
    yield box
    box.imap.logout()


def imported(charm: RunningCharm) -> dict[int, list[str]]:
    """What a charm keeps, in its order; each text is the one of its mail."""
    found: dict[int, list[str]] = {}
    after: str | None = ""
    while after is not None:
        query = f"after={quote(after)}&limit=100"
        page = charm.service.request("GET", f"{charm.path}/items/mails?{query}")
        for item in page["items"]:
            mail = item["value"]
            assert mail["subject"].removeprefix("Grüße ") == mail["text"].removeprefix("Text ")
            found[mail["uid"]] = mail["flags"]
        after = page["next"]
    return found


def sync(charm: RunningCharm) -> list[str]:
    """Run it until it is done; gives what it said of its progress."""
    said: list[str] = []
    while not said or " of about " in said[-1]:
        assert "success" == charm.run()["status"]
        said.append(charm.get("progress"))
    return said


def test_a_mailbox_is_imported(service: Service, box: Box) -> None:
    """The newest first, in portions; then each change, in one run, which writes little."""
    box.append(*range(1, 26))
    charm = box.charm(service)
    assert ["10 of about 25 mails", "20 of about 25 mails", "25 mails"] == sync(charm)
    assert list(box.mails().items()) == list(imported(charm).items())
    box.store("3,4", "\\Deleted")
    box.store("7", "\\Flagged")
    box.append(26)
    assert ["24 mails"] == sync(charm)
    assert list(box.mails().items()) == list(imported(charm).items())
    assert PASSWORD not in str(charm.show())
    # Another mailbox, which is made anew as well: the same numbers, and other mails.
    for numbers in ((1, 2, 3), (8, 9)):
        box.imap.delete("Other")
        box.imap.create("Other")
        for number in numbers:
            box.imap.append("Other", "", "", MAIL.format(number).encode())
        charm.set("mailbox", "Other")
        assert [f"{len(numbers)} mails"] == sync(charm)[-1:]
        items = service.request("GET", f"{charm.path}/items/mails")["items"]
        assert [f"Text {number}" for number in numbers[::-1]] == [
            item["value"]["text"] for item in items
        ]


def test_a_service_that_is_killed_loses_and_doubles_nothing(service: Service, box: Box) -> None:
    """Whenever that is: in a first sync that is half done, and when mails go and come."""
    box.append(*range(1, 61))
    charm = box.charm(service)
    charm.register("mail")
    for _ in range(3):
        charm.wait_for("run.succeeded")
        service.kill()
        box.store(str(max(box.mails())), "\\Deleted")
        box.append(70)
        service.start()
    wait_until(lambda: " of about " not in charm.get("progress"))
    charm.run()
    assert list(box.mails().items()) == list(imported(charm).items())


def test_workers_that_are_killed_lose_and_double_nothing(tmp_path: Path, box: Box) -> None:
    """KILL of a worker in a first sync that is half done: the next run begins where it did."""
    box.append(*range(1, 61))
    with Service(tmp_path / "workers", "--max-retries=9") as service:
        charm = box.charm(service)
        charm.register("mail")
        for _ in range(3):
            charm.wait_for("run.succeeded")
            for pid in service.worker_pids():
                os.kill(pid, signal.SIGKILL)
            box.store(str(max(box.mails())), "\\Deleted")
            box.append(70)
        wait_until(lambda: charm.get("progress") and " of about " not in charm.get("progress"))
        charm.run()
        assert list(box.mails().items()) == list(imported(charm).items())


def test_a_password_that_is_refused_is_asked_for(service: Service, box: Box) -> None:
    """In a sentence; the right one ends the waiting."""
    charm = box.charm(service, password="wrong")
    charm.register("mail")
    run = charm.run()
    assert "sign_in" == run["cause"]
    assert f"127.0.0.1 refused user {box.user} and the password" in run["error"]
    charm.set("password", PASSWORD)
    charm.wait_for("run.succeeded")
