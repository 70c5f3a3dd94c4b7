"""The charm that imports mail keeps what its server has, whatever kind of server, whatever fails."""

from __future__ import annotations

import importlib.util
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bg_charm_service import Charm, MailError, ProviderDown, SignInNeeded, Wait
from tests.fakes.imap_server import FakeImap
from tests.fakes.mailbox import CONDSTORE, PLAIN, QRESYNC, FakeMailbox

SOURCE = Path(__file__).parents[2] / "charms" / "mail_importer.py"
#: What it keeps beside its mails.
STATE = "point wanted changed flags lowest lowest_for older read_from progress retried_at".split()

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
    pages = [page for page in charm.mails.pages()]
    assert all(key == importer.key_of(mail.uid) for page in pages for key, mail in page.items())
    return {mail.uid: (mail.text, mail.flags) for page in pages for mail in page.values()}


def had(box: FakeMailbox) -> dict[int, tuple[str, list[str]]]:
    """What its server has, the newest first."""
    return {
        uid: (mail.text, sorted(mail.flags)) for uid, mail in sorted(box.mails.items())[::-1]
    }


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
