"""The charm that imports Gmail keeps what its server has, whatever that does, whatever fails."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import random
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from bg_charm_service import Charm, OAuth, ProviderDown, SignInNeeded, Wait
from bg_charm_service.sdk import http_client
from tests.fakes.gmail_server import FakeGmail
from tests.fakes.http_server import NO_ANSWER, answer, json_answer
from tests.fakes.wire import google_error

SOURCE = Path(__file__).parents[2] / "charms" / "gmail_importer.py"
READ = "https://www.googleapis.com/auth/gmail.readonly"

spec = importlib.util.spec_from_file_location("gmail_importer", SOURCE)
assert spec is not None
assert spec.loader is not None
importer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(importer)

ITEMS = ("mails", "unreadable", "keys")

#: Pages and portions that a few mails fill.
SMALL: dict[str, Any] = {"PORTION": 6, "TOGETHER": 3, "PAGE": 4, "MOST_PAGES": 2, "PORTION_GONE": 5}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails is asked for again at once."""
    monkeypatch.setattr(http_client, "_PAUSES_SECONDS", (0.0, 0.0))


@pytest.fixture
def small() -> Iterator[None]:
    """Pages and portions that a few mails fill."""
    with mock.patch.multiple(importer, **SMALL):
        yield


@pytest.fixture
def gmail() -> Iterator[FakeGmail]:
    """An account with twelve mails, ten of them in the inbox."""
    with FakeGmail() as gmail:
        for number in range(12):
            labels = ["INBOX", "UNREAD"] if number % 6 else ["STARRED"]
            gmail.add(f"text {number}", *labels)
        yield gmail


def charm_for(gmail: FakeGmail, **values: Any) -> Any:
    """A charm that is made by hand, for an account."""
    auth = values.pop("auth", OAuth("a token", user={"email": "me@example.org"}))
    return importer.GmailImporter(auth=auth, base=gmail.base, **values)


def poll(charm: Any) -> bool:
    """Run it once as the service does; gives whether it asks to go on at once."""
    before = {name: getattr(charm, name) for name in importer.GmailImporter.__annotations__}
    kept = {name: dict(before[name]._values) for name in ITEMS}
    with mock.patch.object(Charm, "again") as again:
        try:
            asyncio.run(charm.bg_updater({}))
        except BaseException:
            # Nothing is stored of a run that did not succeed.
            for name, value in before.items():
                if name in ITEMS:
                    getattr(charm, name)._values = kept[name]
                elif name != "auth":
                    setattr(charm, name, value)
            raise
    return bool(again.called)


def sync(charm: Any) -> int:
    """Run it until it has no more to do; gives how many runs that took."""
    for runs in itertools.count(1):
        if not poll(charm):
            return runs
        assert runs < 200
    raise AssertionError


def kept(charm: Any) -> list[tuple[str, tuple[str, tuple[str, ...]]]]:
    """What it has stored, in its order."""
    pages = list(charm.mails.pages())
    mails = [(key, mail) for page in pages for key, mail in page.items()]
    assert {mail.id: key for key, mail in mails} == charm.keys._values
    return [(mail.id, (mail.text, tuple(mail.labels))) for _, mail in mails]


def had(
    gmail: FakeGmail, *labels: str, query: str = ""
) -> list[tuple[str, tuple[str, tuple[str, ...]]]]:
    """What there is, the newest first."""
    return [(one.id, one.shown) for one in gmail.listed(*labels, query=query)]


def test_an_inbox_is_followed(gmail: FakeGmail) -> None:
    """What comes, changes and goes is there after a poll more; one with nothing new asks once."""
    charm = charm_for(gmail)
    assert 1 == sync(charm)
    assert had(gmail, "INBOX") == kept(charm)
    assert "10 mails" == charm.progress
    first, second, third = (one for one, _ in kept(charm)[:3])
    gmail.add("new", "INBOX")
    gmail.add("no mail of the inbox", "STARRED")
    gmail.label([first], add="Label_1", remove="UNREAD")
    gmail.label([second], remove="INBOX")
    gmail.delete([third])
    sync(charm)
    assert had(gmail, "INBOX") == kept(charm)
    assert "9 mails" == charm.progress
    assert "Work" == charm.label_names["Label_1"]
    gmail.seen.clear()
    with mock.patch.object(type(charm.mails), "__setitem__") as written:
        assert 1 == sync(charm)
    assert ["/gmail/v1/users/me/history"] == [one.path for one in gmail.seen]
    assert not written.called


def test_of_a_mail_what_people_read_is_kept(gmail: FakeGmail) -> None:
    """Its headers are read, and its times are moments."""
    charm = charm_for(gmail, keep=1)
    sync(charm)
    ((_, mail),) = charm.mails.first(1) and [next(iter(next(charm.mails.pages()).items()))]
    assert "Grü <you@example.org>" == mail.sender
    assert "Mail text 11" == mail.subject
    assert datetime(2026, 11, 30, 9, tzinfo=UTC) == mail.sent
    assert f"<{mail.id}@example.org>" == mail.message_id
    assert gmail.mails[mail.id].ms == mail.received.timestamp() * 1000


def test_every_page_of_the_history_is_read(gmail: FakeGmail, small: None) -> None:
    """Not the first one alone; and what happens while they are read is told by the next poll."""
    charm = charm_for(gmail)
    sync(charm)
    for number in range(9):
        gmail.add(f"new {number}", "INBOX")
    pages = itertools.count()

    def before(asked: str) -> None:
        if asked == "history" and next(pages) == 1:
            gmail.add("while it reads", "INBOX")

    gmail.before = before
    sync(charm)
    assert next(pages) > 3
    sync(charm)
    assert had(gmail, "INBOX") == kept(charm)


def test_a_failure_in_between_moves_nothing_on(gmail: FakeGmail, small: None) -> None:
    """Neither the third page of the history nor a portion of mails is passed over."""
    charm = charm_for(gmail)
    sync(charm)
    for number in range(9):
        gmail.add(f"new {number}", "INBOX")
    gmail.faults["history"] = [
        *(FakeGmail._history(gmail, {"startHistoryId": charm.point, "maxResults": "4"}),),
        *[answer(500)] * 3,
    ]
    assert poll(charm)
    gmail.faults["history"] = [answer(500)] * 3
    with pytest.raises(ProviderDown):
        poll(charm)
    newest = [one.id for one in gmail.listed("INBOX")[:9]]
    for one in newest:
        gmail.faults[f"messages/{one}"] = [answer(503)] * 6
    while any(gmail.faults.values()):
        try:
            poll(charm)
        except ProviderDown:
            assert newest[0] in charm.wanted
    gmail.faults.clear()
    sync(charm)
    forgive(charm)
    assert had(gmail, "INBOX") == kept(charm)


def forgive(charm: Any) -> None:
    """Let the time have come for what could not be read."""
    for page in charm.unreadable.pages():
        for said in page.values():
            said.again_at = datetime(2020, 1, 1, tzinfo=UTC)
    sync(charm)


def test_a_history_that_is_too_old_lists_again(gmail: FakeGmail, small: None) -> None:
    """Nothing is lost and nothing doubled, nor do labels stay that changed meanwhile."""
    charm = charm_for(gmail)
    sync(charm)
    first, second, third, *_ = (one for one, _ in kept(charm))
    gmail.add("new", "INBOX")
    gmail.delete([first])
    gmail.label([second], add="STARRED")
    gmail.label([third], remove="INBOX")
    gmail.forget_history()
    assert 1 < sync(charm)
    assert had(gmail, "INBOX") == kept(charm)
    gmail.add("newer", "INBOX")
    sync(charm)
    assert had(gmail, "INBOX") == kept(charm)


def test_the_newest_come_first_in_portions(gmail: FakeGmail, small: None) -> None:
    """It says how far it is; a mail that comes meanwhile is there at the end too."""
    charm = charm_for(gmail)
    assert poll(charm)
    assert had(gmail, "INBOX")[:6] == kept(charm)
    assert "6 of about 10 mails" == charm.progress
    gmail.add("new", "INBOX")
    sync(charm)
    assert had(gmail, "INBOX") == kept(charm)


def test_a_mail_that_goes_while_lists_are_read_hides_no_other(
    gmail: FakeGmail, small: None
) -> None:
    """Pages shift then, so that one is on none of them."""
    charm = charm_for(gmail)
    pages = itertools.count()

    def before(asked: str) -> None:
        if asked == "messages" and next(pages) == 1:
            gmail.delete([gmail.listed("INBOX")[0].id])

    gmail.before = before
    sync(charm)
    assert had(gmail, "INBOX") == kept(charm)
    assert 9 == len(kept(charm))


@pytest.mark.parametrize("asked", ["messages", "history"])
def test_a_page_that_is_known_no_more(gmail: FakeGmail, small: None, asked: str) -> None:
    """Its way begins anew, with nothing lost or doubled."""
    charm = charm_for(gmail)
    if asked == "history":
        sync(charm)
        for number in range(9):
            gmail.add(f"new {number}", "INBOX")
    pages = itertools.count()

    def before(name: str) -> None:
        if name == asked and next(pages) == 1:
            gmail.tokens_from += 1

    gmail.before = before
    sync(charm)
    assert had(gmail, "INBOX") == kept(charm)


def test_a_mail_that_fails_is_named_and_tried_again(gmail: FakeGmail) -> None:
    """The others go on, and it is there once it can be read."""
    charm = charm_for(gmail)
    listed = [one for one, _ in had(gmail, "INBOX")]
    gmail.faults = {
        f"messages/{listed[0]}": [answer(500)] * 6,
        f"messages/{listed[3]}": [json_answer({"id": listed[3], "internalDate": "soon"})],
        f"messages/{listed[5]}": [google_error(400, "failedPrecondition")],
    }
    sync(charm)
    assert {listed[0], listed[3], listed[5]} == set(charm.unreadable._values)
    assert "7 mails, 3 cannot be read" == charm.progress
    said = charm.unreadable[listed[0]]
    assert "500" in said.why
    assert timedelta() < said.again_at - datetime.now(UTC) <= importer.RETRY_AFTER
    forgive(charm)
    assert had(gmail, "INBOX") == kept(charm)
    assert not charm.unreadable


def test_labels_that_do_not_come_are_asked_for_again(gmail: FakeGmail) -> None:
    """The mail stays as it was until then, and others are taken over."""
    charm = charm_for(gmail)
    sync(charm)
    first, second, third = (one for one, _ in kept(charm)[:3])
    gmail.label([first, second, third], add="STARRED")
    gmail.faults[f"messages/{first}"] = [answer(500)] * 6
    gmail.faults[f"messages/{second}"] = [json_answer({"labelIds": 7})]
    sync(charm)
    assert {first, second} == set(charm.unreadable._values)
    assert "STARRED" not in charm.mails[charm.keys[first]].labels
    assert "STARRED" in charm.mails[charm.keys[third]].labels
    forgive(charm)
    assert had(gmail, "INBOX") == kept(charm)
    assert not charm.unreadable


def test_if_no_mail_comes_it_is_its_server(gmail: FakeGmail) -> None:
    """Then nobody is named, and all is there afterwards."""
    charm = charm_for(gmail)
    sync(charm)
    new = gmail.add("new", "INBOX")
    gmail.faults = {f"messages/{one.id}": [answer(500)] * 99 for one in gmail.listed("INBOX")}
    assert poll(charm)
    with pytest.raises(ProviderDown):
        poll(charm)
    assert [new] == charm.wanted
    assert not charm.unreadable
    gmail.faults.clear()
    sync(charm)
    assert had(gmail, "INBOX") == kept(charm)


def test_a_mail_that_is_too_large_comes_without_its_text(gmail: FakeGmail) -> None:
    """It is there by its headers and its beginning."""
    large = gmail.add("x" * 3000, "INBOX")
    charm = charm_for(gmail)
    plain = Charm.http
    with mock.patch.object(
        Charm, "http", lambda self, **options: plain(self, most_bytes=2500, **options)
    ):
        sync(charm)
    mail = charm.mails[charm.keys[large]]
    assert "x" * 100 == mail.text
    assert f"Mail {'x' * 50}" == mail.subject
    assert 11 == len(kept(charm))


@pytest.mark.parametrize(
    ("fault", "ending", "told"),
    [
        (answer(429, retry_after=60), Wait, "answered 429"),
        (google_error(403, "rateLimitExceeded", "usageLimits"), Wait, "a limit"),
        (google_error(403, "insufficientPermissions"), SignInNeeded, "does not reach so far"),
        (google_error(403, "accessNotConfigured", "usageLimits"), Wait, "is not switched on"),
        (answer(401), SignInNeeded, "answered 401"),
        (NO_ANSWER, ProviderDown, "127.0.0.1"),
    ],
)
def test_what_holds_it_up_is_how_the_run_ends(
    gmail: FakeGmail, fault: Any, ending: type[Exception], told: str
) -> None:
    """What was read before is kept; the next run says it, and later all is there."""
    charm = charm_for(gmail)
    listed = [one for one, _ in had(gmail, "INBOX")]
    google = mock.patch("bg_charm_service.domain.web.provider_limits.PROVIDERS", as_google())
    with google, mock.patch.object(importer, "TOGETHER", 3):
        for one in listed:
            # The first three are given once; from then on it fails everywhere.
            given = [FakeGmail._message(gmail, one, {})] if one in listed[:3] else []
            gmail.faults[f"messages/{one}"] = [*given, *[fault] * 99]
        assert poll(charm)
        assert had(gmail, "INBOX")[:3] == kept(charm)
        gmail.faults["messages"] = [fault] * 9
        gmail.faults["history"] = [fault] * 9
        with pytest.raises(ending, match=told):
            sync(charm)
        assert had(gmail, "INBOX")[:3] == kept(charm)
        gmail.faults.clear()
        sync(charm)
        assert had(gmail, "INBOX") == kept(charm)
        assert not charm.unreadable


def as_google() -> Any:
    """Google's words, for a server on loopback."""
    from dataclasses import replace

    from bg_charm_service.domain.web.provider_limits import PROVIDERS

    return (replace(PROVIDERS[0], hosts=("127.0.0.1",)),)


def test_a_box_that_was_not_ticked_is_told(gmail: FakeGmail) -> None:
    """Google lets a person leave out what was asked for."""
    charm = charm_for(gmail, auth=OAuth("a token", scopes=("openid", "email")))
    with pytest.raises(SignInNeeded, match="tick the box for reading mail"):
        poll(charm)
    assert not gmail.seen
    charm = charm_for(gmail, auth=OAuth("a token", scopes=("openid", READ)))
    sync(charm)
    assert had(gmail, "INBOX") == kept(charm)


def test_a_query_is_asked_of_gmail(gmail: FakeGmail, small: None) -> None:
    """Also when something has changed, since nobody else knows what matches."""
    charm = charm_for(gmail, labels=[], query="text 1")
    sync(charm)
    assert ["text 11", "text 10", "text 1"] == [shown[0] for _, shown in kept(charm)]
    gmail.add("text 1 more", "INBOX")
    gmail.add("another", "INBOX")
    gmail.delete([kept(charm)[0][0]])
    gmail.label([kept(charm)[1][0]], add="Label_1")
    sync(charm)
    assert had(gmail, query="text 1") == kept(charm)
    # Other wishes are other mails, and those that are the same are not read again.
    charm.query, charm.labels = "", ["work"]
    gmail.seen.clear()
    sync(charm)
    assert had(gmail, "Label_1") == kept(charm)
    assert not [one for one in gmail.seen if "/messages/" in one.path]


def test_a_label_that_there_is_not_is_told(gmail: FakeGmail) -> None:
    """With those that there are."""
    with pytest.raises(ValueError, match=r"There is no label 'Wrok': inbox, .*work"):
        poll(charm_for(gmail, labels=["Wrok"]))


def test_what_google_refuses_is_told_in_its_words(gmail: FakeGmail) -> None:
    """As for an account without mail."""
    gmail.faults["labels"] = [google_error(400, "failedPrecondition"), answer(403, "no JSON")]
    charm = charm_for(gmail)
    with pytest.raises(ValueError, match="Google refuses with 400: about failedPrecondition"):
        poll(charm)
    with pytest.raises(ValueError, match="Google refuses with 403: it does not say why"):
        poll(charm)


def test_all_mail_is_without_what_was_thrown_away(gmail: FakeGmail) -> None:
    """Unless that is asked for."""
    charm = charm_for(gmail, labels=[])
    sync(charm)
    gmail.label([kept(charm)[0][0]], add="TRASH")
    gmail.add("spam", "SPAM")
    sync(charm)
    assert had(gmail) == kept(charm)
    assert 11 == len(kept(charm))
    charm.labels = ["TRASH"]
    sync(charm)
    assert had(gmail, "TRASH") == kept(charm)
    assert 1 == len(kept(charm))


def test_only_so_many_are_kept(gmail: FakeGmail, small: None) -> None:
    """The newest; older ones when newer go, and none of it without an end."""
    charm = charm_for(gmail, keep=6)
    sync(charm)
    assert had(gmail, "INBOX")[:6] == kept(charm)
    for number in range(5):
        gmail.add(f"new {number}", "INBOX")
    sync(charm)
    assert had(gmail, "INBOX")[:6] == kept(charm)
    gmail.delete([one for one, _ in kept(charm)[:4]])
    sync(charm)
    assert had(gmail, "INBOX")[:6] == kept(charm)
    # What happens to older ones brings none of them.
    gmail.seen.clear()
    gmail.label([one for one, _ in had(gmail, "INBOX")[6:]], add="STARRED")
    assert 1 == sync(charm)
    assert not [one for one in gmail.seen if one.query.get("format") == ["full"]]
    assert had(gmail, "INBOX")[:6] == kept(charm)
    charm.keep = 100
    sync(charm)
    assert had(gmail, "INBOX") == kept(charm)


def test_once_a_day_all_is_compared(gmail: FakeGmail) -> None:
    """What no history told of is mended."""
    charm = charm_for(gmail)
    sync(charm)
    gmail.mails.pop(kept(charm)[0][0])
    sync(charm)
    assert had(gmail, "INBOX") != kept(charm)
    charm.listed_at -= importer.COMPARE_AFTER
    sync(charm)
    assert had(gmail, "INBOX") == kept(charm)


def test_another_account_is_read_anew(gmail: FakeGmail, small: None) -> None:
    """Nothing of the one before stays."""
    charm = charm_for(gmail)
    sync(charm)
    with FakeGmail() as other:
        other.add("another's", "INBOX")
        charm.base = other.base
        sync(charm)
        assert had(other, "INBOX") == kept(charm)


def test_an_empty_account_without_a_profile(small: None) -> None:
    """As an emulator may have it: there is nothing to begin the history with."""
    with FakeGmail() as gmail:
        gmail.has_profile = False
        charm = charm_for(gmail)
        assert 1 == sync(charm)
        assert "0 mails" == charm.progress
        gmail.add("new", "INBOX")
        sync(charm)
        gmail.add("newer", "INBOX")
        sync(charm)
        assert had(gmail, "INBOX") == kept(charm)


@pytest.mark.parametrize("seed", range(10))
def test_whatever_happens_it_keeps_what_there_is(seed: int) -> None:
    """Also when it happens between two requests, and after faults, which leave it as it was."""
    chance = random.Random(seed)
    labels = chance.choice([["INBOX"], [], ["Label_1", "UNREAD"]])
    with FakeGmail() as gmail, mock.patch.multiple(importer, **SMALL):

        def before(asked: str) -> None:
            if chance.random() < 0.1:
                happen(gmail, chance, labels)

        charm = charm_for(gmail, labels=labels)
        for _ in range(chance.randint(1, 8)):
            happen(gmail, chance, labels)
            if chance.random() < 0.5:
                name = chance.choice(["history", "messages", "labels"])
                fault = chance.choice([answer(429), answer(500), NO_ANSWER])
                gmail.faults[name] = [fault] * chance.randint(1, 4)
            gmail.before = before
            with suppress(ProviderDown, Wait):
                poll(charm)
            gmail.before = lambda asked: None
        gmail.faults.clear()
        sync(charm)
        forgive(charm)
        assert had(gmail, *labels) == kept(charm)
        assert not charm.unreadable


def happen(gmail: FakeGmail, chance: random.Random, labels: list[str]) -> None:
    """Let something happen to some mails."""
    label = chance.choice(["INBOX", "UNREAD", "Label_1", "TRASH"])
    some = chance.sample(sorted(gmail.mails), min(len(gmail.mails), chance.randint(0, 4)))
    match chance.choice(["add", "delete", "label", "unlabel", "forget"]):
        case "add":
            for number in range(chance.randint(1, 8)):
                gmail.add(f"text {number}", *{label, *labels})
        case "delete":
            gmail.delete(some)
        case "label":
            gmail.label(some, add=label)
        case "unlabel":
            gmail.label(some, remove=label)
        case "forget":
            gmail.forget_history()


def test_many_are_read_in_portions() -> None:
    """In as many runs as it takes; none of them holds more than its portion."""
    with FakeGmail() as gmail:
        for number in range(250):
            gmail.add(f"text {number}", "INBOX")
        charm = charm_for(gmail)
        with mock.patch.object(importer, "PORTION", 100):
            assert 3 == sync(charm)
        assert had(gmail, "INBOX") == kept(charm)
