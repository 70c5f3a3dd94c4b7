"""Notices: told once an hour, counted while they wait, sealed where they go, bounded in number."""

from __future__ import annotations

from msgspec.structs import replace

from bg_charm_service.domain.identity import Identity
from bg_charm_service.domain.notices import (
    MOST_WAITING,
    Incident,
    Line,
    MessageStatus,
    Notice,
    NoticeKind,
    Target,
)
from bg_charm_service.storage.contract import Store
from bg_charm_service.storage.records import WaitingNotice
from tests.contract.engine import Engine

OWNER = Identity.from_passphrase("the owner")
NOW, HOUR = 1000.0, 3600.0
SECRET = "jsons://user:letmein@example.org/path"


def tell(engine: Engine, subject: str, text: str = "it failed", at: float = NOW) -> None:
    """Write a notice about something, in a transaction of its own."""
    notice = Notice(NoticeKind.DISABLED, subject, text, 7, 3)
    with engine.transaction():
        engine.store.notices.put(notice, now=at, steady=at)


def take_due(engine: Engine, at: float) -> list[WaitingNotice]:
    """Take what is to be told at a moment."""
    with engine.transaction():
        found = engine.store.notices.due(at, 2 * MOST_WAITING)
        engine.store.notices.take(found, at)
    return found


def add_target(store: Store, name: str = "phone") -> Target:
    """Add a target."""
    if not store.secrets.exist():
        store.secrets.create(OWNER.did())
    target = Target(0, name, "jsons://example.org/…", 7, frozenset({NoticeKind.DOWN}), 60.0)
    return store.notice_targets.add(target, SECRET)


def test_the_same_thing_is_counted_while_it_waits(engine: Engine) -> None:
    """Two of a subject are one, with the newest text; one of another subject is its own."""
    tell(engine, "a", "first")
    tell(engine, "b")
    tell(engine, "a", "second", NOW + 1)
    found = take_due(engine, NOW + 1)
    assert [("a", "second", 2), ("b", "it failed", 1)] == [
        (one.notice.subject, one.notice.text, one.times) for one in found
    ]
    assert NOW + 1 == found[0].happened_at


def test_what_was_told_waits_until_the_hour_is_over(engine: Engine) -> None:
    """It is told then, with how often it was, and nothing of it is lost; others do not wait."""
    tell(engine, "a")
    take_due(engine, NOW)
    tell(engine, "a", at=NOW + 10)
    tell(engine, "a", at=NOW + 20)
    tell(engine, "b", at=NOW + 20)
    assert ["b"] == [one.notice.subject for one in take_due(engine, NOW + 30)]
    assert NOW + HOUR == engine.store.notices.next_due()
    assert [] == take_due(engine, NOW + HOUR - 1)
    assert [2] == [one.times for one in take_due(engine, NOW + HOUR)]
    assert engine.store.notices.next_due() is None


def test_very_many_become_one_with_their_count(engine: Engine) -> None:
    """Beyond a number that waits, those of a kind and a space are one."""
    with engine.transaction():
        for number in range(MOST_WAITING + 100):
            notice = Notice(NoticeKind.DISABLED, str(number), "it failed", 7, number)
            engine.store.notices.put(notice, now=NOW, steady=NOW)
    found = take_due(engine, NOW)
    assert MOST_WAITING + 1 == len(found)
    assert MOST_WAITING + 100 == sum(one.times for one in found)


def test_notices_outlast_a_crash_and_go_with_their_transaction(engine: Engine) -> None:
    """What is written in a transaction that is not committed was never told."""
    tell(engine, "a")
    notice = Notice(NoticeKind.DISABLED, "lost", "it failed")
    engine.crash(lambda: engine.store.notices.put(notice, now=NOW, steady=NOW))
    assert ["a"] == [one.notice.subject for one in take_due(engine, NOW)]


def test_what_charms_say_is_counted_for_each(engine: Engine) -> None:
    """A charm's own notices of a while, up to as many as matter."""
    with engine.transaction():
        for number in range(3):
            notice = Notice(NoticeKind.CHARM, f"3:{number}", "hello", 7, 3)
            engine.store.notices.put(notice, now=NOW, steady=NOW + number)
    notices = engine.store.notices
    assert [3, 2, 1, 0] == [
        notices.said_since(3, NOW - 1, 10),
        notices.said_since(3, NOW - 1, 2),
        notices.said_since(3, NOW + 1, 10),
        notices.said_since(4, NOW - 1, 10),
    ]


def test_told_notices_are_pruned_when_they_matter_no_more(engine: Engine) -> None:
    """For an hour they are what the same thing is compared with."""
    tell(engine, "a")
    take_due(engine, NOW)
    tell(engine, "b", at=NOW)
    with engine.transaction():
        assert 0 == engine.store.notices.prune(NOW + HOUR, 10)
        assert 1 == engine.store.notices.prune(NOW + HOUR + 1, 10)
    assert ["b"] == [one.notice.subject for one in take_due(engine, NOW)]


def test_a_clock_that_was_ahead_holds_nothing_back(engine: Engine) -> None:
    """What was told in the future counts as told now."""
    tell(engine, "a", at=NOW + 9 * HOUR)
    take_due(engine, NOW + 9 * HOUR)
    tell(engine, "a", at=NOW + 9 * HOUR)
    with engine.transaction():
        engine.store.notices.bring_near(NOW)
    tell(engine, "a", at=NOW)
    assert [2] == [one.times for one in take_due(engine, NOW + HOUR)]


def test_incidents_are_remembered_until_they_are_over(engine: Engine) -> None:
    """One for each kind and subject."""
    notices = engine.store.notices
    down = Incident(NoticeKind.DOWN, "example.org", NOW, after_seconds=60.0)
    with engine.transaction():
        notices.open(down)
        notices.open(Incident(NoticeKind.DISABLED, "3", NOW, 7, 3))
        notices.close(NoticeKind.DISABLED, "3")
    engine.reopen()
    assert [down] == engine.store.notices.incidents()


def test_addresses_of_targets_are_sealed(engine: Engine) -> None:
    """They come back as they were given, and stand in no file of the database."""
    with engine.transaction():
        target = add_target(engine.store)
    assert [target] == engine.store.notice_targets.all()
    assert SECRET == engine.store.notice_targets.url(target.target_id)
    assert engine.store.notice_targets.url(target.target_id + 1) is None
    stored = engine.stored_bytes()
    assert b"phone" in stored
    assert b"letmein" not in stored


def test_a_target_that_is_removed_is_sent_nothing(engine: Engine) -> None:
    """What was to go there is given up, and what went there can still be shown."""
    store = engine.store
    with engine.transaction():
        target = add_target(store)
        message = store.notice_messages.add(
            target, [Line(NoticeKind.DOWN, "down", NOW)], {"down": 1}, NOW
        )
    assert [message] == store.notice_messages.open()
    with engine.transaction():
        store.notice_targets.drop(target.target_id)
    assert [] == store.notice_targets.all()
    assert [] == store.notice_messages.open()
    (shown,) = store.notice_messages.newest(0, 10)
    assert (MessageStatus.FAILED, "phone") == (shown.status, shown.target_name)


def test_old_messages_are_pruned_and_open_ones_stay(engine: Engine) -> None:
    """By age, and by number."""
    messages = engine.store.notice_messages
    with engine.transaction():
        target = add_target(engine.store)
        for number in range(4):
            message = messages.add(target, [], {}, NOW + number)
            if number:
                messages.put(replace(message, status=MessageStatus.SENT))
        messages.prune(NOW, 2)
    assert [4, 3, 1] == [one.message_id for one in messages.newest(0, 10)]
    with engine.transaction():
        messages.prune(NOW + 3, 10)
    assert [4, 1] == [one.message_id for one in messages.newest(0, 10)]
    assert [1] == [one.message_id for one in messages.newest(2, 10)]
