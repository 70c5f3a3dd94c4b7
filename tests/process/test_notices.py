"""Notices with the real program and real receivers: each arrives, at most one twice, none is lost.

The receivers are a server of SMTP and servers of HTTP that fail, hang and come back.
"""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from email import message_from_bytes, policy
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiosmtpd.controller import Controller

from bg_charm_service.storage.data_directory import DATABASE_NAME
from tests.fakes.http_server import Answer, FakeServer, Seen, answer
from tests.process.program import wait_until
from tests.process.running import PATIENCE_SECONDS, Refused, Service, clean_environment
from tests.unit.test_docs import examples

TELLER = """\
from typing import Any
from bg_charm_service import Charm, SignInNeeded, Stop

class Teller(Charm):
    polls: int = 0
    password: str = ""

    async def bg_updater(self, event: dict[str, Any]) -> None:
        self.polls += 1
        for text in event.get("say", []):
            self.notify(text)
        if event.get("mode") == "fail" or self.password == "wrong":
            raise ValueError("the password 'hunter2-token' is refused")
        if event.get("mode") == "stop":
            raise Stop("all is read")
        if event.get("mode") == "sign in":
            raise SignInNeeded("the token has ended")
"""

#: Behind walls, as far as this machine has them.
FLAGS = (
    *("--interval=3600", "--failures=1", "--max-retries=0"),
    *("--sandbox=auto", "--notify-local"),
)


@pytest.fixture
def receiver() -> Iterator[FakeServer]:
    """Somebody who takes notices, and answers as the test says."""
    with FakeServer() as running:
        running.on("/in", answer())
        yield running


def target(receiver: FakeServer, path: str = "in", options: str = "") -> str:
    """The address of a receiver, as a line of a file of targets."""
    return f"json://user:a-secret-password@127.0.0.1:{receiver.port}/{path} {options}"


def quick(tmp_path: Path, *flags: str, heartbeat: str = "") -> Service:
    """A service that sends soon what it gathers, and does not wait long for what hangs."""
    return Service(
        tmp_path / "data",
        *flags,
        NOTIFY_GATHER_MS="100",
        NOTIFY_TIMEOUT_MS="2000",
        HEARTBEAT_INTERVAL_MS="100",
        HEARTBEAT_URL=heartbeat,
    )


def with_targets(tmp_path: Path, *lines: str) -> Service:
    """A service whose file of targets has these lines."""
    file = tmp_path / "targets"
    file.write_text("\n".join(["# who is told", *lines]))
    return quick(tmp_path, *FLAGS, f"--notify=@{file}")


def texts(seen: list[Seen]) -> list[str]:
    """What messages say, line by line."""
    bodies = [json.loads(one.body) for one in seen]
    return [line for body in bodies for line in body["message"].splitlines()]


def wait_for_text(receiver: FakeServer, *parts: str, path: str = "/in") -> None:
    """Wait until each of these was told."""
    for part in parts:
        wait_until(partial(_has_told, receiver, path, part))


def _has_told(receiver: FakeServer, path: str, part: str) -> bool:
    return any(part in one for one in texts(receiver.asked(path)))


def test_every_cause_is_told(tmp_path: Path, receiver: FakeServer) -> None:
    """Charms that are disabled, recover, stop, need a sign-in, lose an event, or say something.

    Each is told once, and where it concerns a space, to the targets of that space and no other's.
    """
    receiver.on("/other", answer()).on("/test", answer())
    lines = (
        target(receiver, "in", "name=all"),
        target(receiver, "test", "space=test name=its-own kinds=charm,disabled"),
        target(receiver, "other", "space=other"),
    )
    with with_targets(tmp_path, *lines) as service:
        charm = service.add(TELLER, values={"password": "wrong"}, cause="mail", register=True)
        wait_for_text(receiver, "Charm Teller (test/mail) was disabled: ValueError")
        charm.send(mode="fail")
        charm.set("password", "right")
        charm.post("enable")
        wait_for_text(receiver, "Charm Teller (test/mail) works again")
        wait_for_text(receiver, "gave up an event")
        charm.perform(say=["page 1 is read", "with hunter2-token as password=verysecret"])
        wait_for_text(receiver, "Teller (test/mail): page 1 is read", path="/test")
        charm.send(mode="sign in")
        service.add(TELLER, cause="done").send(mode="stop")
        wait_for_text(receiver, "(test/mail) needs a person to sign in: the token has ended")
        wait_for_text(receiver, "(test/done) has stopped itself: all is read")

        told = texts(receiver.asked("/in"))
        counted = Counter(
            word for word in ("was disabled", "gave up") for one in told if word in one
        )
        assert {"was disabled": 1, "gave up": 1} == counted
        assert not any("page 1" in one for one in told), "what a charm says is its space's"
        assert [] == receiver.asked("/other")
        own = texts(receiver.asked("/test"))
        assert not any("stopped" in one for one in own)
        assert not any("verysecret" in one for one in own)
        metrics = service.page("/metrics")
        assert 'bg_charm_notices_total{result="sent"} ' in metrics
        assert 'bg_charm_notices_total{result="failed"} 0.0' in metrics
        wait_until(lambda: all(one["status"] == "sent" for one in all_messages(service)))
        shown = all_messages(service)
        assert {"sent"} == {one["status"] for one in shown}
        assert {"all", "its-own"} == {one["target"] for one in shown}
        page = service.page("/notices")
        assert "works again" in page
        assert "a-secret-password" not in page


def test_each_arrives_whatever_dies_or_hangs(tmp_path: Path, receiver: FakeServer) -> None:
    """A receiver fails, hangs and dies of us; the service is killed while it sends, and after.

    Everything arrives in the end, and what was being sent when the service died at most twice.
    """
    taken: list[Seen] = []
    holder: list[Service] = []

    def take(seen: Seen) -> Answer:
        taken.append(seen)
        return answer()

    def take_and_kill(seen: Seen) -> Answer:
        taken.append(seen)
        return Answer(when_sent=lambda: holder[0].signal(signal.SIGKILL))

    receiver.on("/in", answer(500), answer(200, "x").stalled(), take_and_kill, take)
    with with_targets(tmp_path, target(receiver, options="kinds=charm,disabled")) as service:
        holder.append(service)
        charm = service.add(TELLER, cause="mail")
        charm.perform(say=["one"])
        # It fails, and is tried again; that hangs, and the service dies with it.
        wait_until(lambda: len(receiver.asked("/in")) == 2)
        charm.perform(say=["two"])
        service.kill()
        service.start()
        # It arrives, and nobody hears of that: the service dies again.
        service.wait()
        service.start()
        charm.perform(say=["three"])
        wait_until(lambda: any("three" in one for one in texts(taken)))
        wait_until(lambda: all(one["status"] == "sent" for one in all_messages(service)))
        arrived = Counter(one.rpartition(": ")[2] for one in texts(taken))
    assert {"one", "two", "three"} == set(arrived)
    assert 2 == arrived["one"], "it was taken when the service died"
    assert 3 >= arrived["two"] + arrived["three"] >= 2


def test_one_target_that_fails_holds_no_other_up(tmp_path: Path, receiver: FakeServer) -> None:
    """What one does not take is kept for it, as one message, and sent once it answers again."""
    receiver.on("/broken", answer(503))
    lines = (
        target(receiver, "broken", "name=broken kinds=charm"),
        target(receiver, "in", "name=good kinds=charm"),
    )
    with with_targets(tmp_path, *lines) as service:
        charm = service.add(TELLER, cause="mail")
        charm.perform(say=["one"])
        wait_for_text(receiver, ": one")
        charm.perform(say=["two", "two"])
        wait_for_text(receiver, ": two (2 times)")
        wait_until(lambda: receiver.asked("/broken"))
        (broken,) = [
            one for one in service.request("GET", "/api/notice-targets") if one["name"] == "broken"
        ]
        # What is being sent, and one with all that happened since.
        assert broken["waiting"] in (1, 2)
        receiver.on("/broken", answer())
        wait_until(lambda: all(one["status"] == "sent" for one in all_messages(service)))
        kept = [one["count"] for one in all_messages(service) if one["target"] == "broken"]
        assert (3, True) == (sum(kept), len(kept) <= 2)


def all_messages(service: Service) -> list[dict[str, Any]]:
    """What was sent, or is to be."""
    found: list[dict[str, Any]] = service.request("GET", "/api/notices?limit=100")
    return found


class Mailbox:
    """Takes mail, and keeps it."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    async def handle_DATA(  # noqa: N802 - its server's name for it
        self, server: object, session: object, envelope: Any
    ) -> str:
        """Take one mail in."""
        self.messages.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


class AnyPort(Controller):
    """A server of SMTP on a port that the system chooses."""

    def _trigger_server(self) -> None:
        server: Any = self.server
        self.port = server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]


def test_mail_arrives_as_it_was_written(tmp_path: Path) -> None:
    """By a real server of SMTP: the text is plain, and what looks like HTML is in it."""
    mailbox = Mailbox()
    server = AnyPort(mailbox, hostname="127.0.0.1", port=0)
    server.start()
    try:
        where = f"127.0.0.1:{server.port}"
        url = f"mailto://{where}?from=charms@example.org&to=me@example.org&mode=insecure"
        with with_targets(tmp_path, f"{url} kinds=charm") as service:
            charm = service.add(TELLER, cause="mail")
            charm.perform(say=["line one <module> & more\nline two"])
            (mail,) = wait_until(lambda: mailbox.messages)
    finally:
        server.stop()
    assert "me@example.org" in mail["To"]
    text = mail.get_body(("plain",)).get_content()
    assert "Teller (test/mail): line one <module> & more\nline two" in text.replace("\r", "")


def test_silence_tells_that_the_service_is_dead(tmp_path: Path, receiver: FakeServer) -> None:
    """The heartbeat is asked again and again, and once the service was killed never more."""
    receiver.on("/beat", answer())
    url = f"http://127.0.0.1:{receiver.port}/beat?token=of-the-heart"
    with quick(tmp_path, *FLAGS, heartbeat=url) as service:
        wait_until(lambda: len(receiver.asked("/beat")) >= 2)
        metrics = service.page("/metrics")
        assert 'bg_charm_heartbeats_total{result="answered"} ' in metrics
        senders = psutil.Process(service.pid).children(recursive=True)
        service.kill()
        # Those that it has started end with it: nobody is left who could ask.
        psutil.wait_procs(senders, PATIENCE_SECONDS)
        assert not any(one.is_running() for one in senders)
        shown = json.dumps(service.lines)
    assert {"GET"} == {one.method for one in receiver.asked("/beat")}
    assert "of-the-heart" not in shown


def run(service: Service, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command that reads standard input."""
    command = [sys.executable, "-m", "bg_charm_service", "--data-dir", str(service.data_dir)]
    return subprocess.run(
        [*command, *arguments],
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
        env=clean_environment(),
    )


def test_targets_are_added_tried_and_removed(tmp_path: Path, receiver: FakeServer) -> None:
    """By commands; the address comes from standard input, and is shown and stored nowhere."""
    url = target(receiver).strip()
    with quick(tmp_path, *FLAGS) as service:
        added = run(service, "notify", "add", "--name=phone", "--kinds=disabled,down", given=url)
        assert 0 == added.returncode, added.stderr
        assert f"json://127.0.0.1:{receiver.port}/…" in added.stdout
        tried = run(service, "notify", "test", "phone")
        assert (0, "") == (tried.returncode, tried.stderr)
        assert ["This is a test" in one for one in texts(receiver.asked("/in"))] == [True]
        receiver.on("/in", answer(500))
        failed = run(service, "notify", "test", "phone")
        assert 1 == failed.returncode
        assert "Nothing arrived at phone: Failed to send JSON" in failed.stderr
        listed = run(service, "notify", "list")
        assert "told of: disabled, down" in listed.stdout
        sent = run(service, "notify", "list", "--sent")
        assert "failed" in sent.stdout
        twice = run(service, "notify", "add", "--name=phone", given=url)
        assert "There is a target phone already" in twice.stderr
        assert 0 == run(service, "notify", "remove", "phone").returncode
        assert "There is no target 'phone'" in run(service, "notify", "remove", "phone").stderr
        everything = [added, tried, failed, listed, sent, twice]
        told = "".join(one.stdout + one.stderr for one in everything) + json.dumps(service.lines)
        service.stop()
    assert "a-secret-password" not in told
    stored = (service.data_dir / DATABASE_NAME).read_bytes()
    assert b"phone" in stored
    assert b"a-secret-password" not in stored


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("json://127.0.0.1:9/", "address of this machine"),
        ("json://localhost/", "address of this machine"),
        ("json://[::1]/", "address of this machine"),
        ("dbus://", "Nothing is sent by dbus"),
        ("syslog://", "Nothing is sent by syslog"),
        ("letmein", "no address of a target"),
        ("slack://x", "not complete for its scheme"),
    ],
)
def test_addresses_that_are_refused(quiet: Service, url: str, why: str) -> None:
    """None of this machine without the flag, none that starts a program, none that is none."""
    with pytest.raises(Refused, match=why) as refused:
        quiet.request("POST", "/api/notice-targets", {"url": url})
    assert 400 == refused.value.status
    assert [] == quiet.request("GET", "/api/notice-targets")


def test_nothing_is_ever_sent_to_the_service_itself(tmp_path: Path) -> None:
    """Its own ports are closed to notices, also where this machine is allowed."""
    with quick(tmp_path, *FLAGS, "--listen=127.0.0.1:0") as service:
        port = next(
            one.laddr.port
            for one in psutil.Process(service.pid).net_connections("tcp")
            if one.status == psutil.CONN_LISTEN
        )
        body = {"url": f"json://127.0.0.1:{port}/api/charms"}
        with pytest.raises(Refused, match="leads to this service itself"):
            service.request("POST", "/api/notice-targets", body)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that may speak to nobody on this machine."""
    with quick(tmp_path_factory.mktemp("quiet"), "--interval=3600") as running:
        yield running


def test_where_nobody_is_told_nothing_is_written(quiet: Service) -> None:
    """A charm that says something, and is switched off, costs no row of a notice there."""
    charm = quiet.add(TELLER, cause="mail")
    charm.perform(say=["hello"])
    charm.send(mode="stop")
    wait_until(lambda: charm.view()["disabled_by"])
    database = f"file:{quiet.data_dir / DATABASE_NAME}?mode=ro"
    quiet.stop()
    with closing(sqlite3.connect(database, uri=True)) as connection:
        assert [(0,)] == connection.execute("SELECT count(*) FROM notices").fetchall()


def test_the_guides_charm_tells_what_runs_out(tmp_path: Path, receiver: FakeServer) -> None:
    """The example of the author's guide: one notice for each thing that there is little of."""
    (source,) = examples("docs/charms.md", "class Stock(Charm)")
    with with_targets(tmp_path, target(receiver, options="kinds=charm")) as service:
        charm = service.add(source, cause="stock", values={"stock": {"tea": 4, "bread": 9}})
        for what in ("tea", "bread", "tea"):
            charm.perform("sold", what=what)
        wait_for_text(receiver, "Stock (test/stock): 2 left of tea")
    assert 1 == len([one for one in texts(receiver.asked("/in")) if "left of" in one])
