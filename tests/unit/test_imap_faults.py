"""What keeps one from a mailbox is told in a sentence, with what to do, and ends a run rightly."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from bg_charm_service import Imap, ProviderDown, SignInNeeded, Wait
from bg_charm_service.domain.outcomes.run_endings import EndingKind
from bg_charm_service.sdk.mail.imap_faults import not_signed_in, unreachable
from bg_charm_service.workers.runtime.failure_report import end_of
from bg_charm_service.workers.runtime.host_watch import HOSTS
from tests.fakes.imap_server import FakeImap
from tests.providers import Provider, hang, self_signed
from tests.unit.plain_run import RUN

INVALID = "[AUTHENTICATIONFAILED] Invalid credentials (Failure)"
APP_PASSWORD = (
    "[ALERT] Application-specific password required: "
    "https://support.google.com/accounts/answer/185833 (Failure)"
)
OFF = (
    "[ALERT] Your account is not enabled for IMAP use. Please visit your Gmail settings page and "
    "enable your account for IMAP access. (Failure)"
)


@pytest.mark.parametrize(
    ("host", "said", "words", "url"),
    [
        ("imap.example.org", INVALID, "refused user me and the password: set the ones", ""),
        ("imap.example.org", "wants an app password", "it wants an app password", ""),
        ("imap.gmail.com", INVALID, "an app password", "myaccount.google.com/apppasswords"),
        ("imap.gmail.com", APP_PASSWORD, "an app password", "myaccount.google.com/apppasswords"),
        ("IMAP.fastmail.com.", "no", "an app password", "app.fastmail.com"),
        ("imap.gmail.com", OFF, "switch IMAP on in the settings of the mail", ""),
        ("imap.example.org", "IMAP access is disabled", "switch IMAP on", ""),
        ("outlook.office365.com", "LOGIN failed.", "only OAuth sign-ins", ""),
        ("notgmail.com", INVALID, "set the ones that are right", ""),
    ],
)
def test_a_refused_sign_in_says_what_to_do(host: str, said: str, words: str, url: str) -> None:
    """By the server's words, and by who it is; the words are there too."""
    found = not_signed_in(host, "me", said)
    assert isinstance(found, SignInNeeded)
    assert words in found.why
    assert said[:30] in found.why
    assert url in found.url
    assert bool(url) == bool(found.url)


def test_a_server_that_is_asked_too_often_is_waited_for() -> None:
    """A person has nothing to mend there."""
    found = not_signed_in("imap.gmail.com", "me", "[ALERT] Too many simultaneous connections.")
    assert isinstance(found, Wait)


def opened(host: str, port: int, **options: Any) -> ProviderDown:
    """What comes of connecting."""
    with pytest.raises(ProviderDown) as caught, Imap(host, "me", "pw", port=port, **options):
        pass
    failure, ending = end_of(caught.value, RUN, "", HOSTS)
    assert ending is not None
    assert (EndingKind.DOWN, host) == (ending.kind, ending.host)
    assert caught.value.why == failure.message == ending.why
    return caught.value


def test_a_server_that_is_not_there() -> None:
    """No such name, nobody at that port, nobody who answers."""
    with mock.patch("socket.getaddrinfo", side_effect=socket.gaierror(-2, "not known")):
        assert "is it spelt right?" in opened("imap.exmaple.org", 993).why
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    why = opened("127.0.0.1", port).why
    assert f"nobody listens at 127.0.0.1, port {port}; mail over TLS is usually at port 993" in why
    with Provider(hang) as silent:
        why = opened("127.0.0.1", silent.port, timeout=0.1, is_plain=True).why
    assert "does not answer" in why


def test_a_server_of_another_kind(tmp_path: Path) -> None:
    """Without TLS, with a certificate that nobody knows, or one that is no mail server."""
    with FakeImap({}) as server:
        why = opened("127.0.0.1", server.port).why
    assert f"127.0.0.1, port {server.port}, does not speak TLS; mail over TLS is usually" in why
    with Provider(lambda _: None, self_signed(tmp_path)) as unknown:
        why = opened("localhost", unknown.port).why
    assert "is not to be trusted (self-signed certificate): name the server as its" in why
    with Provider(lambda connection: connection.sendall(b"+OK POP3\r\n")) as other:
        why = opened("127.0.0.1", other.port, is_plain=True).why
    assert "does not speak IMAP" in why


def test_a_network_that_does_not_reach_it() -> None:
    """Whatever else is wrong with a connection is said by its own words."""
    found = unreachable("h.example", 993, OSError(113, "No route to host"), is_plain=False)
    assert "h.example, port 993, cannot be reached (OSError: [Errno 113] No route" in found.why
    reset = unreachable("h.example", 993, ssl.SSLError(1, "bad"), is_plain=False)
    assert "does not speak TLS (SSLError" in reset.why


def test_a_wall_is_told_as_one() -> None:
    """A port that is not open to the charm is no fault of the server's."""
    refused = PermissionError(13, "Permission denied")
    with (
        mock.patch("socket.create_connection", side_effect=refused),
        pytest.raises(ProviderDown) as caught,
        Imap("127.0.0.1", "me", "pw"),
    ):
        pass
    assert refused is caught.value.__cause__
