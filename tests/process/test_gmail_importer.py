"""The charm that imports Gmail, in a real service: against emulate, and a scripted Gmail."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest

from tests.fakes.gmail_server import FIRST_MS, FakeGmail
from tests.fakes.http_server import answer
from tests.fakes.oauth_server import OAuthServer
from tests.process.program import wait_until
from tests.process.running import ROOT, RunningCharm, Service
from tests.process.test_real_servers import choose_user
from tests.process.test_sign_ins import set_client, sign_in
from tests.real_servers import CLIENT, RealServer, emulate

SOURCE = (ROOT / "charms" / "gmail_importer.py").read_text()

#: The same, which reads ten mails in a run, and signs in at a provider of tests.
SMALL = SOURCE.replace("PORTION = 500", "PORTION = 10").replace('OAuth["google"', 'OAuth["fake"')

MAIL = "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe_{0}?=\r\nFrom: you@example.org\r\n\r\nText {0}\r\n"


def imported(charm: RunningCharm) -> dict[str, tuple[str, tuple[str, ...]]]:
    """What a charm keeps, in its order: texts and labels by the ids of mails."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    after: str | None = ""
    while after is not None:
        query = f"after={quote(after)}&limit=100"
        page = charm.service.request("GET", f"{charm.path}/items/mails?{query}")
        for item in page["items"]:
            mail = item["value"]
            assert mail["id"] not in found
            found[mail["id"]] = (mail["text"], tuple(mail["labels"]))
        after = page["next"]
    return found


def sync(charm: RunningCharm) -> list[str]:
    """Run it until it is done; gives what it said of its progress."""
    said: list[str] = []
    while not said or " of about " in said[-1]:
        ended = charm.run()
        assert "success" == ended["status"], ended
        said.append(charm.get("progress"))
    return said


@contextmanager
def signed_in(folder: Path, gmail: FakeGmail) -> Iterator[RunningCharm]:
    """A charm in a service, for which somebody has signed in at a provider of tests."""
    with OAuthServer() as provider, Service(folder / "data", "--interval=3600") as service:
        set_client(service, provider)
        charm = service.add(SMALL, values={"base": gmail.base})
        sign_in(service, provider)
        yield charm


def test_a_service_that_is_killed_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Whenever that is: in a first sync that is half done, and when mails go, come and change."""
    with FakeGmail() as gmail:
        for number in range(60):
            gmail.add(f"text {number}", "INBOX", "UNREAD")
        with signed_in(tmp_path, gmail) as charm:
            service = charm.service
            for number in range(2):
                # It may have nothing left to do by itself.
                service.later("POST", f"{charm.path}/run")
                charm.wait_for("run.succeeded")
                service.kill()
                newest, second = gmail.listed("INBOX")[:2]
                gmail.delete([newest.id])
                gmail.label([second.id], remove="UNREAD")
                gmail.add(f"new {number}", "INBOX")
                service.start()
            wait_until(lambda: " of about " not in charm.get("progress"))
            sync(charm)
            expected = [(one.id, one.shown) for one in gmail.listed("INBOX")]
            assert expected == list(imported(charm).items())
            assert service.count("run.failed") == 0


def test_a_limit_is_waited_for(tmp_path: Path) -> None:
    """What was read before is there, and nothing counts as a failure."""
    with FakeGmail() as gmail:
        for number in range(15):
            gmail.add(f"text {number}", "INBOX")
        with signed_in(tmp_path, gmail) as charm:
            wait_until(lambda: charm.get("progress") == "15 mails")
            gmail.add("new", "INBOX")
            gmail.faults["history"] = [answer(429, retry_after=60)]
            assert "waiting" == charm.run()["status"]
            assert 15 == len(imported(charm))
            assert "success" == charm.run()["status"]
            assert 16 == len(imported(charm))


@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """Google, as the npm package emulates it."""
    with emulate(tmp_path_factory.mktemp("emulate")) as running:
        yield running


class Account:
    """The account at emulate, and who writes into it."""

    def __init__(self, server: RealServer) -> None:
        self.base = f"{server.url}/gmail/v1/users/me/"
        self.http = httpx2.Client(
            base_url=self.base, headers={"Authorization": "Bearer any"}, timeout=30
        )

    def insert(self, number: int, *labels: str) -> None:
        """Put a mail into it."""
        raw = urlsafe_b64encode(MAIL.format(number).encode()).decode()
        sent = {"internalDate": str(FIRST_MS + 1000 * number)}
        body = {"raw": raw, "labelIds": list(labels), **sent}
        self.http.post("messages", json=body).raise_for_status()

    def modify(self, one: str, **change: list[str]) -> None:
        """Change the labels of a mail."""
        self.http.post(f"messages/{one}/modify", json=change).raise_for_status()

    def delete(self, one: str) -> None:
        """Take a mail out of it."""
        self.http.delete(f"messages/{one}").raise_for_status()

    def has(self, label: str) -> dict[str, tuple[str, tuple[str, ...]]]:
        """What it has with a label: texts and labels by the ids of mails, the newest first."""
        found: dict[str, tuple[str, tuple[str, ...]]] = {}
        token = ""
        while True:
            query = {"labelIds": label, "maxResults": "100", "pageToken": token}
            page = self.http.get("messages", params=query).json()
            for one in page.get("messages", ()):
                mail = self.http.get(f"messages/{one['id']}").json()
                text = mail["snippet"]
                found[mail["id"]] = (text, tuple(sorted(mail["labelIds"])))
            token = page.get("nextPageToken", "")
            if not token:
                return found


def test_an_account_at_emulate_is_followed(tmp_path: Path, google: RealServer) -> None:
    """Signed in for by its page; then each change, and the integration of Gmail has it polled."""
    account = Account(google)
    for number in range(10, 35):
        account.insert(number, "INBOX", "UNREAD")
    with closing(account.http), Service(tmp_path / "data", "--interval=3600") as service:
        client = {**CLIENT, "issuer": f"http://localhost:{google.port}"}
        service.request("PUT", "/api/oauth-clients/google", client)
        source = SOURCE.replace("PORTION = 500", "PORTION = 10")
        charm = service.add(source, values={"base": account.base})
        path = "/api/integrations/google-oauth"
        begun = service.request("POST", f"{path}/login", {"space": "test"})
        service.request("POST", f"{path}/callback", {"address": choose_user(begun["url"])})
        wait_until(lambda: charm.get("progress") == "30 mails")
        assert "gmail" == charm.view()["integration"]
        assert list(account.has("INBOX").items()) == list(imported(charm).items())
        first, second, third, *_ = account.has("INBOX")
        account.delete(first)
        account.modify(second, addLabelIds=["STARRED"], removeLabelIds=["UNREAD"])
        account.modify(third, removeLabelIds=["INBOX"])
        for number in range(40, 55):
            account.insert(number, "INBOX")
        assert ["38 of about 43 mails", "43 mails"] == sync(charm)
        assert list(account.has("INBOX").items()) == list(imported(charm).items())
