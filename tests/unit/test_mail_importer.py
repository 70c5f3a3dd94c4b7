"""The charm that imports mail keeps what its server has, whatever that can do, whatever fails."""

from __future__ import annotations

import importlib.util
import itertools
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bg_charm_service import Charm, MailError, MailHead, ProviderDown, SignInNeeded, Wait
from tests.fakes.imap_server import FakeImap
from tests.fakes.mailbox import CONDSTORE, PLAIN, QRESYNC, FakeMailbox
from tests.unit.little_room import LittleRoom

SOURCE = Path(__file__).parents[2] / "charms" / "mail_importer.py"
#: What it keeps beside its mails.
STATE = (
    *("point", "wanted", "changed", "flags", "lowest", "lowest_for", "older", "read_from"),
    *("progress", "retried_at"),
)

KINDS = (QRESYNC, CONDSTORE, PLAIN)

spec = importlib.util.spec_from_file_location("mail_importer", SOURCE)
assert spec is not None
assert spec.loader is not None
importer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(importer)


def charm_for(server: FakeImap, **values: Any) -> Any:
    """A charm that is made by hand, for a server."""
    values = {"password": "swordfish", "port": server.port, "is_plain": True, **values}
    return importer.MailImporter(host="127.0.0.1", user="me", **values)


def poll(charm: Any) -> bool:
    """Run it once; gives whether it asks to go on at once."""
    with mock.patch.object(Charm, "again") as again:
        charm.bg_updater({})
    return bool(again.called)


def sync(charm: Any) -> int:
    """Run it until it has no more to do; gives how many runs that took."""
    for runs in itertools.count(1):
        if not poll(charm):
            return runs
    raise AssertionError


def kept(charm: Any) -> dict[int, tuple[str, list[str]]]:
    """What it has stored: texts and flags by UID, in its order."""
    pages = list(charm.mails.pages())
    assert all(key == importer.key_of(mail.uid) for page in pages for key, mail in page.items())
    return {mail.uid: (mail.text, mail.flags) for page in pages for mail in page.values()}


def had(box: FakeMailbox) -> dict[int, tuple[str, list[str]]]:
    """What its server has, the newest first."""
    return {uid: (mail.text, sorted(mail.flags)) for uid, mail in sorted(box.mails.items())[::-1]}


@pytest.fixture
def box() -> FakeMailbox:
    """A mailbox of twelve mails with gaps in their numbers."""
    box = FakeMailbox()
    for number in range(1, 17):
        box.append(f"text {number}", *(["\\Seen"] if number % 2 else []))
    box.expunge([2, 3, 9, 16])
    return box


@pytest.mark.parametrize("kind", KINDS)
def test_a_mailbox_is_followed(box: FakeMailbox, kind: str) -> None:
    """What comes, changes and goes is there after one more run, and nothing else is written."""
    with box.server(kind) as server:
        charm = charm_for(server)
        assert 1 == sync(charm)
        assert list(had(box).items()) == list(kept(charm).items())
        box.append("new")
        box.flag([4, 5, 15], "\\Flagged")
        box.expunge([1, 6])
        assert 1 == sync(charm)
        assert had(box) == kept(charm)
        assert "11 mails" == charm.progress
        with mock.patch.object(type(charm.mails), "__setitem__") as written:
            assert 1 == sync(charm)
        assert not written.called


@pytest.mark.parametrize("kind", KINDS)
def test_a_mailbox_may_be_empty(box: FakeMailbox, kind: str) -> None:
    """At first, and when all was deleted; what comes then is there."""
    with FakeMailbox().server(kind) as server:
        charm = charm_for(server)
        assert 1 == sync(charm)
        assert ("0 mails", {}) == (charm.progress, kept(charm))
    with box.server(kind) as server:
        charm = charm_for(server)
        sync(charm)
        box.expunge(list(box.mails))
        assert 1 == sync(charm)
        assert ("0 mails", {}) == (charm.progress, kept(charm))
        box.append("new")
        sync(charm)
        assert had(box) == kept(charm)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_happens_it_keeps_what_its_server_has(data: st.DataObject) -> None:
    """Also after faults in between, which are told, and leave the charm as it was."""
    kind = data.draw(st.sampled_from(KINDS))
    box = FakeMailbox()
    with (
        box.server(kind) as server,
        mock.patch.object(importer, "PORTION", 5),
        mock.patch.object(importer, "PORTION_GONE", 4),
    ):
        charm = charm_for(server)
        for _ in range(data.draw(st.integers(1, 12))):
            uids = data.draw(st.sets(st.sampled_from(sorted(box.mails)))) if box.mails else set()
            deed = data.draw(st.sampled_from(["append", "flag", "expunge", "anew", "fault", "run"]))
            if deed == "append":
                for number in range(data.draw(st.integers(1, 12))):
                    box.append(f"text {box.next_uid} {number}")
            elif deed == "flag":
                box.flag(uids, data.draw(st.sampled_from(["\\Seen", "\\Flagged", "later"])))
            elif deed == "expunge":
                box.expunge(uids)
            elif deed == "anew":
                box.make_anew()
            elif deed == "fault":
                name = data.draw(st.sampled_from(["EXAMINE", "SEARCH", "FETCH"]))
                fault = data.draw(st.sampled_from([None, "NO [UNAVAILABLE] x", "NO [LIMIT] x"]))
                box.faults[name] = [fault]
            else:
                poll_as_service(charm)
        box.faults.clear()
        # A comparison may end a run, and is followed by the next poll.
        for _ in range(8):
            sync(charm)
        assert list(had(box).items()) == list(kept(charm).items())
        assert not charm.unreadable
        assert f"{len(box.mails)} mail" == charm.progress.removesuffix("s")


def poll_as_service(charm: Any) -> None:
    """Run it once as the service does: nothing is stored of a run that did not succeed."""
    before = {name: getattr(charm, name) for name in STATE}
    items = {name: dict(getattr(charm, name)._values) for name in ("mails", "unreadable")}
    try:
        poll(charm)
    except (ProviderDown, Wait):
        for name, value in before.items():
            setattr(charm, name, value)
        for name, values in items.items():
            getattr(charm, name)._values = values


@pytest.mark.parametrize("kind", KINDS)
def test_a_mailbox_that_was_made_anew_is_read_anew(box: FakeMailbox, kind: str) -> None:
    """None of its mails is there twice, none by an old number; nor are those of another mailbox."""
    with box.server(kind) as server, mock.patch.object(importer, "PORTION_GONE", 5):
        charm = charm_for(server)
        sync(charm)
        box.make_anew()
        assert 3 == sync(charm)
        assert had(box) == kept(charm)
        other = FakeMailbox()
        other.append("another's")
        with other.server(kind) as elsewhere:
            charm.port = elsewhere.port
            sync(charm)
        assert had(other) == kept(charm)
        charm.port, charm.mailbox = server.port, "Archive"
        sync(charm)
        assert 'EXAMINE "Archive"' in " ".join(server.said)


def test_the_newest_come_first_in_portions(box: FakeMailbox) -> None:
    """It goes on where it was, says how far it is, and a mail that came meanwhile is next."""
    with box.server(QRESYNC) as server, mock.patch.object(importer, "PORTION", 5):
        charm = charm_for(server)
        assert poll(charm)
        assert [15, 14, 13, 12, 11] == list(kept(charm))
        assert "5 of about 12 mails" == charm.progress
        box.append("new")
        assert poll(charm)
        assert [17, 15, 14, 13, 12, 11, 10, 8, 7, 6] == list(kept(charm))
        assert not poll(charm)
        assert had(box) == kept(charm)


@pytest.mark.parametrize("kind", KINDS)
def test_a_poll_with_nothing_new_asks_little(box: FakeMailbox, kind: str) -> None:
    """One command about the mailbox, where the server tells of changes; else one more."""
    with box.server(kind) as server:
        charm = charm_for(server)
        sync(charm)
        server.said.clear()
        sync(charm)
        about = [said for said in server.said if said.startswith(("UID", "EXAMINE"))]
    assert (2 if kind == PLAIN else 1) == len(about)


def test_only_so_many_are_kept(box: FakeMailbox) -> None:
    """The newest; more when more are wanted, fewer when fewer are, and not ever more."""
    with box.server(CONDSTORE) as server, mock.patch.object(importer, "SPARE", 2):
        charm = charm_for(server, keep=4)
        sync(charm)
        assert list(had(box))[:4] == list(kept(charm))
        assert "4 mails" == charm.progress
        box.expunge([1])
        charm.keep = 8
        sync(charm)
        assert list(had(box))[:8] == list(kept(charm))
        for number in range(3):
            box.append(f"new {number}")
        sync(charm)
        sync(charm)
        assert list(had(box))[:8] == list(kept(charm))
        charm.keep = 3
        sync(charm)
        assert list(had(box))[:3] == list(kept(charm))
        box.expunge([17, 18, 19, 15])
        charm.keep = 7
        sync(charm)
        assert list(had(box))[:7] == list(kept(charm))


def test_a_mailbox_that_was_thinned_out_is_filled_up(box: FakeMailbox) -> None:
    """By older mails that were not kept."""
    with box.server(CONDSTORE) as server, mock.patch.object(importer, "SPARE", 2):
        charm = charm_for(server, keep=6)
        sync(charm)
        box.expunge([15, 14, 13])
        sync(charm)
        sync(charm)
        assert list(had(box))[:6] == list(kept(charm))


BROKEN = [("NO it is damaged",), ("NO [SERVERBUG] internal",), (None,)]


@pytest.mark.parametrize("broken", BROKEN)
def test_a_mail_that_cannot_be_read_is_named(box: FakeMailbox, broken: Any) -> None:
    """The others are there; it is tried again later, and it goes when it is gone."""
    with box.server(QRESYNC) as server:
        charm = charm_for(server)
        for uid in (7, 12):
            box.mails[uid].broken = broken
        sync(charm)
        assert {uid: mail for uid, mail in had(box).items() if uid not in (7, 12)} == kept(charm)
        named = [charm.unreadable[key] for key in charm.unreadable.first(5)]
        assert [12, 7] == [one.uid for one in named]
        assert all("127.0.0.1: " in one.why for one in named)
        assert "10 mails, 2 cannot be read" == charm.progress
        server.said.clear()
        sync(charm)
        assert not [said for said in server.said if "BODY" in said]
        box.expunge([7])
        box.mails[12].broken = ()
        charm.retried_at -= importer.RETRY_AFTER
        sync(charm)
        assert had(box) == kept(charm)
        assert not charm.unreadable


def test_a_new_mail_that_cannot_be_read_holds_up_nothing(box: FakeMailbox) -> None:
    """Where nothing else is to be read, any other mail shows that its server gives mails."""
    with box.server(QRESYNC) as server:
        charm = charm_for(server)
        sync(charm)
        uid = box.append("broken")
        box.mails[uid].broken = (None,)
        box.expunge([5])
        sync(charm)
        assert [uid] == [charm.unreadable[key].uid for key in charm.unreadable.first(5)]
        assert 11 == len(kept(charm))


def test_two_new_mails_that_cannot_be_read_hold_up_nothing() -> None:
    """Though the newest other mail is the other one of them."""
    box = FakeMailbox()
    for number in range(3):
        box.append(f"text {number}")
    with box.server(QRESYNC) as server:
        charm = charm_for(server)
        sync(charm)
        for uid in (box.append("broken"), box.append("broken")):
            box.mails[uid].broken = (None,)
        sync(charm)
        assert "3 mails, 2 cannot be read" == charm.progress


@pytest.mark.parametrize(("broken", "kind"), [(BROKEN[0], MailError), (BROKEN[2], ProviderDown)])
def test_a_server_that_gives_no_mail_is_to_blame(box: FakeMailbox, broken: Any, kind: Any) -> None:
    """And no mail of it: all of them are read once it does."""
    with box.server(QRESYNC) as server:
        charm = charm_for(server)
        for mail in box.mails.values():
            mail.broken = broken
        with pytest.raises(kind):
            poll(charm)
        assert not charm.unreadable


def test_a_mail_that_cannot_be_stored_is_named(box: FakeMailbox) -> None:
    """What is in it is a stranger's: letters that are none do not hold up the others."""
    with box.server(QRESYNC) as server:
        charm = charm_for(server)
        with mock.patch.object(importer, "mail_text", side_effect=[ValueError("x"), *"ab" * 20]):
            sync(charm)
        assert ["ValueError: x"] == [charm.unreadable[key].why for key in charm.unreadable.first(9)]
        assert 11 == len(charm.mails)


def test_what_was_read_is_kept_when_the_server_goes_away(box: FakeMailbox) -> None:
    """Within a run: it ends well, and the next one meets what there is to meet."""
    for number in range(60):
        box.append(f"more {number}")
    with box.server(QRESYNC) as server:
        charm = charm_for(server)
        fetch, answers = server.script["FETCH"], iter([None, None, "NO [LIMIT] slowly"])

        def limited(command: str) -> Any:
            last = next(answers, None) if "BODY" in command else None
            return fetch(command) if last is None else [last]  # type: ignore[operator]

        next(answers)
        server.script["FETCH"] = limited
        assert poll(charm)
        assert 50 == len(charm.mails)
        server.script["FETCH"] = ["NO [LIMIT] slowly"]
        with pytest.raises(Wait, match="slowly"):
            poll(charm)
        server.script["FETCH"] = fetch
        sync(charm)
        assert had(box) == kept(charm)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_ends_when_its_room_or_its_time_does(box: FakeMailbox, kind: str) -> None:
    """With what it has by then; each run does something, however little it may."""
    context = LittleRoom(0)
    with box.server(kind) as server, mock.patch.object(Charm, "context", context):
        charm = charm_for(server)
        assert 12 == sync(charm)
        assert had(box) == kept(charm)
        box.flag(box.mails, "\\Flagged")
        assert 12 == sync(charm)
        assert had(box) == kept(charm)


def test_a_mail_is_read(box: FakeMailbox) -> None:
    """With what a person looks for; a date without a place, or none, is no error."""
    with box.server(QRESYNC) as server:
        charm = charm_for(server)
        sync(charm)
        (mail,) = (charm.mails[key] for key in charm.mails.first(1))
    assert ("Grü <you@example.org>", "Mail text 15", "text 15") == (
        *(mail.sender, mail.subject, mail.text),
    )
    assert datetime(2026, 11, 30, 9, tzinfo=UTC) == mail.sent == mail.received
    head = MailHead(frozenset(), 10)
    for date, sent in (
        ("Mon, 30 Nov 2026 10:00:00 -0000", datetime(2026, 11, 30, 10, tzinfo=UTC)),
        ("Mon, 99 Nov 2026 10:00:00 +0000", None),
        ("soon", None),
    ):
        assert sent == importer.read_mail(1, head, f"Date: {date}\r\n\r\n".encode()).sent
    assert importer.read_mail(1, head, b"").sent is None


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_nothing_in_a_mail_makes_reading_fail(data: bytes) -> None:
    """Whatever bytes it is."""
    importer.read_mail(1, MailHead(frozenset()), data)
    importer.read_mail(1, MailHead(frozenset()), b"Date: " + data + b"\nSubject: " + data)


def test_a_sign_in_that_is_refused_asks_for_another(box: FakeMailbox) -> None:
    """It is a person's to mend."""
    with box.server(QRESYNC) as server:
        box.faults["AUTHENTICATE"] = ["NO [AUTHENTICATIONFAILED] Invalid credentials"]
        with pytest.raises(SignInNeeded, match="refused user me and the password: set the ones"):
            poll(charm_for(server))
