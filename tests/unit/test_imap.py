"""What has changed in a mailbox, with each kind of server, and what a server's refusals mean."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from bg_charm_service import (
    Imap,
    MailChanges,
    MailError,
    MailHead,
    MailPoint,
    ProviderDown,
    SignInNeeded,
    UidSet,
    Wait,
)
from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.sdk.mail.imap_wire import mailbox_name
from bg_charm_service.workers.runtime.failure_report import end_of
from bg_charm_service.workers.runtime.host_watch import HOSTS
from tests.fakes.imap_server import FakeImap
from tests.fakes.mailbox import FakeMailbox
from tests.providers import refused_url
from tests.unit.plain_run import RUN

EXAMINED = [
    "* 3 EXISTS",
    "* OK [UIDVALIDITY 7] valid",
    "* OK [UIDNEXT 10] next",
    "* OK [HIGHESTMODSEQ 90] highest",
]
UNCOUNTED = EXAMINED[:3]
FLAGS = ["* 1 FETCH (UID 3 FLAGS (\\Seen \\Recent))", "* 2 FETCH (UID 9 FLAGS ())"]
KNOWN = (1, 2, 3)
POINT = MailPoint(7, 50)
SEEN = {3: frozenset({"\\Seen"}), 9: frozenset[str]()}


def imap(server: FakeImap, **options: Any) -> Imap:
    """A connection to a server."""
    return Imap("127.0.0.1", "me", "swordfish-ä", port=server.port, is_plain=True, **options)


def changes(server: FakeImap, point: MailPoint | None = POINT) -> MailChanges:
    """What a server says has changed."""
    with imap(server) as opened:
        return opened.changes("INBOX", point, KNOWN)


def test_a_server_with_qresync_tells_all_at_once() -> None:
    """In its answer to the opening; a range of what is gone is no list."""
    told = [*EXAMINED, "* VANISHED (EARLIER) 1:2,4:4294967295", *FLAGS]
    with FakeImap({"EXAMINE": told}, "ENABLE CONDSTORE QRESYNC") as server:
        found = changes(server)
    assert MailChanges(MailPoint(7, 90, 10), SEEN, frozenset({1, 2})) == found
    assert "ENABLE QRESYNC" in server.said
    assert 'EXAMINE "INBOX" (QRESYNC (7 50))' in server.said
    assert not [command for command in server.said if command.startswith("UID")]


@pytest.mark.parametrize("search", ["ESEARCH", ""])
def test_a_server_with_condstore_is_asked_for_both(search: str) -> None:
    """What has changed by its count, what is gone by a list of what is there."""
    there = ['* ESEARCH (TAG "x") UID ALL 2:3,9'] if search else ["* SEARCH 2 3 9"]
    script = {"EXAMINE": EXAMINED, "FETCH": FLAGS, "SEARCH": there}
    with FakeImap(script, f"CONDSTORE {search}") as server:
        assert MailChanges(MailPoint(7, 90, 10), SEEN, frozenset({1})) == changes(server)
        assert "UID FETCH 1:* (UID FLAGS) (CHANGEDSINCE 50)" in server.said
        server.said.clear()
        unchanged = changes(server, MailPoint(7, 90))
    assert MailChanges(MailPoint(7, 90, 10), {}, frozenset({1})) == unchanged
    assert not [command for command in server.said if command.startswith("UID FETCH")]


def test_a_server_without_counts_is_compared_with() -> None:
    """All flags are read."""
    with FakeImap({"EXAMINE": UNCOUNTED, "FETCH": FLAGS}) as server:
        assert MailChanges(MailPoint(7, 0, 10), SEEN, frozenset({1, 2})) == changes(server)
        assert 'EXAMINE "INBOX"' in server.said


@pytest.mark.parametrize("capabilities", ["", "CONDSTORE", "ENABLE CONDSTORE QRESYNC"])
@pytest.mark.parametrize("point", [None, MailPoint(6, 50)])
def test_a_mailbox_that_was_made_anew_is_new(capabilities: str, point: MailPoint | None) -> None:
    """Whatever was known of it is void: it is read as one that was never seen."""
    with FakeImap({"EXAMINE": EXAMINED, "FETCH": FLAGS}, capabilities) as server:
        found = changes(server, point)
    assert MailChanges(MailPoint(7, 90, 10), SEEN, frozenset(KNOWN), is_new=True) == found


def test_an_empty_mailbox_has_nothing() -> None:
    """Where imaplib gives a list of nothing."""
    with FakeImap({"EXAMINE": ["* 0 EXISTS", *EXAMINED[1:]]}, "CONDSTORE") as server:
        assert {} == changes(server, None).changed


def test_mails_come_in_pieces() -> None:
    """Up to their bound, and unread; the number may stand behind a mail, and one may be gone."""
    told = [
        "* 1 FETCH (UID 3 BODY[]<0> {5}\r\nthree)",
        "* 2 FETCH (FLAGS (\\Seen))",
        "* 3 FETCH (BODY[]<0> {4}\r\nnine UID 9)",
    ]
    with FakeImap({"EXAMINE": EXAMINED, "FETCH": told}) as server, imap(server) as opened:
        opened.changes("INBOX")
        server.said.clear()
        found = dict(opened.fetch([9, 3, 3, *range(100, 160)], most_bytes=1000))
        assert [] == list(opened.fetch([]))
    assert {3: b"three", 9: b"nine"} == found
    first, second, _ = server.said
    assert first.startswith("UID FETCH 3,9,100,")
    assert first.endswith(",147 (UID BODY.PEEK[]<0.1000>)")
    assert second.startswith("UID FETCH 148,")


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        ({"AUTHENTICATE": ["NO [AUTHENTICATIONFAILED] no"]}, SignInNeeded, "AUTHENTICATIONFAILED"),
        ({"AUTHENTICATE": ["NO no"]}, SignInNeeded, "127.0.0.1 refused user me and the password"),
        ({"AUTHENTICATE": ["NO Too many simultaneous connections."]}, Wait, "simultaneous"),
        ({"AUTHENTICATE": ["NO [UNAVAILABLE] later"]}, ProviderDown, "later"),
        ({"AUTHENTICATE": ["NO [LIMIT] too many"]}, Wait, "too many"),
        ({"AUTHENTICATE": [None]}, ProviderDown, "abort"),
        ({"EXAMINE": [None]}, ProviderDown, "abort"),
        ({"EXAMINE": ["* BYE going down", None]}, ProviderDown, "127.0.0.1"),
        ({"EXAMINE": ["NO [UNAVAILABLE] later"]}, ProviderDown, "later"),
        ({"EXAMINE": ["NO it is not there"]}, MailError, "EXAMINE: it is not there"),
        ({"EXAMINE": ["BAD what"]}, ProviderDown, "what"),
        ({"EXAMINE": EXAMINED, "FETCH": ["NO [LIMIT] slowly"]}, Wait, "slowly"),
    ],
)
def test_refusals_say_what_they_mean(script: dict[str, Any], kind: Any, words: str) -> None:
    """By their codes; and never with the password."""
    with FakeImap(script) as server, pytest.raises(kind, match=words) as caught:
        changes(server, None)
    assert "swordfish" not in repr(caught.value)
    if kind is ProviderDown:
        assert "127.0.0.1" == caught.value.host


def test_a_token_is_an_oauth_sign_in() -> None:
    """As XOAUTH2, in which a refusal is a question that wants an empty answer."""
    with FakeImap({"EXAMINE": EXAMINED}) as server, imap(server, is_token=True) as opened:
        opened.changes("INBOX")
    assert "AUTHENTICATE XOAUTH2" in server.said


def test_closing_hides_no_error() -> None:
    """Neither what was raised within, nor that the server has gone meanwhile."""
    with (
        FakeImap({"LOGOUT": [None]}) as server,
        pytest.raises(KeyError, match="real"),
        imap(server),
    ):
        raise KeyError("real")
    with FakeImap({"LOGOUT": ["NO not now"]}) as server, imap(server) as opened:
        pass
    with pytest.raises(RuntimeError, match="it is not open"):
        opened.changes("INBOX")


def test_who_is_not_there_is_down() -> None:
    """With the host; and what speaks no IMAP is too."""
    port = int(refused_url().rsplit(":", 1)[1].rstrip("/"))
    with pytest.raises(ProviderDown) as caught, Imap("127.0.0.1", "me", "x", port=port):
        pass
    assert "127.0.0.1" == caught.value.host
    failure, _ = end_of(caught.value, RUN, "", HOSTS)
    assert FailureCause.DOWN is failure.cause
    with FakeImap({}) as server:
        with pytest.raises(ProviderDown) as caught, Imap("127.0.0.1", "me", "x", port=server.port):
            pass
        failure, _ = end_of(caught.value, RUN, "", HOSTS)
    assert (FailureCause.DOWN, caught.value.why) == (failure.cause, failure.message)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("INBOX", '"INBOX"'),
        ("Entwürfe", '"Entw&APw-rfe"'),
        ("R&D", '"R&-D"'),
        ('a "b" \\c', '"a \\"b\\" \\\\c"'),
        ("~peter/mail/台北/日本語", '"~peter/mail/&U,BTFw-/&ZeVnLIqe-"'),
    ],
)
def test_names_of_mailboxes_are_written_for_servers(name: str, written: str) -> None:
    """In modified UTF-7, quoted; the last is the example of RFC 3501."""
    assert written == mailbox_name(name)


@pytest.mark.parametrize("capabilities", ["ESEARCH", ""])
def test_the_newest_of_some_are_found(capabilities: str) -> None:
    """However many are asked for, and however many of them are gone."""
    box = FakeMailbox()
    for number in range(300):
        box.append(str(number))
    box.expunge(range(20, 290))
    with box.server(capabilities) as server, imap(server) as opened:
        opened.open("INBOX")
        assert ([300, 299], UidSet([(1, 298)])) == opened.newest(UidSet([(1, 999)]), 2)
        found, left = opened.newest(UidSet([(5, 10), (15, 299)]), 12)
        assert [*range(299, 289, -1), 19, 18] == found
        assert UidSet([(5, 10), (15, 17)]) == left
        assert ([3, 2, 1], UidSet()) == opened.newest(UidSet([(1, 3), (30, 31)]), 9)
        assert ([], UidSet()) == opened.newest(UidSet(), 9)
        assert (1, 290) == (opened.uid_at(1), opened.uid_at(20))
        server.script["FETCH"] = []
        with pytest.raises(MailError, match="no mail at place 0"):
            opened.uid_at(0)


def test_a_server_that_does_not_say_what_comes_next() -> None:
    """Then it is more than what there is."""
    script = {"EXAMINE": [EXAMINED[0], EXAMINED[1]], "SEARCH": ["* SEARCH 2 3 9"]}
    with FakeImap(script) as server, imap(server) as opened:
        assert MailPoint(7, 0, 10) == opened.open("INBOX").point


def test_a_mail_is_said_of_without_reading_it() -> None:
    """When it came, in the time of no place; what cannot be read of that is left out."""
    date = 'INTERNALDATE " 1-Dec-2026 01:30:00 +0200"'
    told = [
        f"* 1 FETCH (UID 3 FLAGS (\\Seen) {date} RFC822.SIZE 70)",
        '* 2 FETCH (RFC822.SIZE 5 UID 9 FLAGS () INTERNALDATE "99-Foo-2026 01:30:00 +0200")',
        "* 3 FETCH (UID 11 FLAGS (\\Seen))",
    ]
    with FakeImap({"EXAMINE": EXAMINED, "FETCH": told}) as server, imap(server) as opened:
        opened.open("INBOX")
        found = opened.heads([3, 9])
    received = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)
    assert MailHead(frozenset({"\\Seen"}), 70, received) == found[3]
    assert {9: MailHead(frozenset(), 5)} == {uid: one for uid, one in found.items() if uid != 3}
