"""What a charm may ask to be reminded of, and what it is told otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from bg_charm_service import Charm
from bg_charm_service.domain.errors import InvalidInput, StateError, StateTooLarge
from bg_charm_service.domain.model import Remind
from bg_charm_service.sdk.charm import run_of
from bg_charm_service.supervisor.reminders import MOST_REMINDERS, Reminding
from bg_charm_service.workers.runtime.charm_binding import changes
from tests.unit.test_loop import Bench

NOW = 1_790_000_000.0


class Digest(Charm):
    """Sends itself what it has, later."""

    def bg_updater(self, event: dict[str, Any]) -> None:
        self.remind("send_digest", {"day": 1}, after="12h", name="digest")

    def send_digest(self, event: dict[str, Any]) -> None: ...


def asked(**how: Any) -> Remind:
    """What a charm asks for by `remind`."""
    charm = Digest()
    charm.remind("send_digest", how.pop("event", {}), **how)
    (found,) = changes(charm).reminds
    return found


@pytest.mark.parametrize(
    ("how", "after"),
    [
        ({"after": 5}, 5.0),
        ({"after": 0}, 0.0),
        ({"after": "5m"}, 300.0),
        ({"after": timedelta(days=1)}, 86400.0),
    ],
)
def test_time_may_be_a_length(how: dict[str, Any], after: float) -> None:
    """Seconds, a timedelta or a text; counted by the service."""
    assert (None, after) == (asked(**how).at, asked(**how).after)


def test_time_may_be_a_moment() -> None:
    """A datetime with a time zone, or seconds since the epoch."""
    moment = datetime(2030, 1, 1, 8, tzinfo=UTC)
    assert moment.timestamp() == asked(at=moment).at
    assert 5.0 == asked(at=5).at


def test_stream_may_be_named_as_the_method_is() -> None:
    """Inside and outside name are the same stream; the event is JSON."""
    charm = Digest()
    charm.remind("sendDigest", [1, "x"], after=1)
    (remind,) = run_of(charm).reminds
    assert ("sendDigest", b'[1,"x"]', "") == (remind.stream, remind.event, remind.name)


def test_forgetting_comes_in_its_turn() -> None:
    """What is forgotten after it was asked for is not asked for."""
    charm = Digest()
    charm.bg_updater({})
    charm.forget("digest")
    assert [("digest", "sendDigest"), ("digest", "")] == [
        (one.name, one.stream) for one in changes(charm).reminds
    ]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({}, "say when"),
        ({"after": 1, "at": 1}, "say when"),
        ({"after": -1}, "lies in the past"),
        ({"after": "soon"}, "expected seconds, or a text such as 90s, 5m, 2h or 1d"),
        ({"after": float("inf")}, "expected seconds, a timedelta"),
        ({"after": True}, "expected seconds, a timedelta"),
        ({"at": datetime(2030, 1, 1)}, "has no time zone"),
        ({"at": "08:00"}, "expected a datetime"),
        ({"after": 1, "name": ""}, "a text of up to 200 characters"),
        ({"after": 1, "name": 5}, "a text of up to 200 characters"),
        ({"after": 1, "name": "#5"}, "is no name of a reminder"),
        ({"after": 1, "name": "a\nb"}, "is no name of a reminder"),
        ({"after": 1, "event": object()}, "cannot be stored as JSON"),
        ({"after": 1, "event": float("nan")}, "NaN or infinity"),
    ],
)
def test_what_cannot_be_meant_is_refused(how: dict[str, Any], said: str) -> None:
    """At the line of the charm that asks for it."""
    with pytest.raises(StateError, match=said):
        asked(**how)


def test_stream_that_there_is_not_is_refused() -> None:
    """With those that there are."""
    with pytest.raises(StateError, match="no stream 'sent_digest': bgUpdater, sendDigest"):
        Digest().remind("sent_digest", {}, after=1)


def test_author_sees_in_a_test_what_is_asked_for() -> None:
    """As the documents say: the method is replaced for the test."""
    with mock.patch.object(Digest, "remind") as remind:
        Digest().bg_updater({})
    remind.assert_called_once_with("send_digest", {"day": 1}, after="12h", name="digest")


class TestReminding:
    """What the service checks again, whatever a worker says."""

    @pytest.fixture
    def reminding(self, tmp_path: Path) -> Iterator[Reminding]:
        """Changes the reminders of one charm, which may keep 100 bytes."""
        self.bench = Bench(tmp_path / "test.db")
        yield Reminding(self.bench.store, self.bench.charm(), NOW, 100)
        self.bench.database.close()

    @pytest.mark.parametrize(
        ("remind", "said"),
        [
            (Remind("a", "nothing", b"{}"), "has no stream 'nothing'; it has bgUpdater"),
            (Remind("#1", "bgUpdater", b"{}"), "is no name"),
            (Remind("n" * 201, "bgUpdater", b"{}"), "is no name"),
            (Remind("a\0", "bgUpdater", b"{}"), "is no name"),
            (Remind("a", "bgUpdater", b"{}", at=float("nan")), "within 366 days"),
            (Remind("a", "bgUpdater", b"{}", after=367 * 86400.0), "within 366 days"),
        ],
    )
    def test_what_a_worker_forged_is_refused(
        self, reminding: Reminding, remind: Remind, said: str
    ) -> None:
        """A name, a stream or a time that a charm cannot ask for."""
        with pytest.raises(InvalidInput, match=said):
            reminding.put(remind)

    def test_moment_that_has_passed_is_now(self, reminding: Reminding) -> None:
        """A run that took long asked for it in time."""
        made = reminding.put(Remind("a", "bgUpdater", b"{}", at=NOW - 5))
        assert NOW - 5 == made.remind_at
        reminding.check_room()

    def test_reminders_of_a_charm_have_bounds(self, reminding: Reminding) -> None:
        """Their number, and what their events take together."""
        with self.bench.database.transaction():
            reminding.put(Remind("", "bgUpdater", b"0" * 100))
            reminding.check_room()
            reminding.put(Remind("", "bgUpdater", b"0"))
            with pytest.raises(StateTooLarge, match="101 bytes, and may be 100"):
                reminding.check_room()
        many = Reminding(self.bench.store, self.bench.charm(), NOW, 10_000)
        with self.bench.database.transaction():
            for n in range(MOST_REMINDERS + 1):
                many.put(Remind(f"n{n}", "bgUpdater", b"0"))
            with pytest.raises(InvalidInput, match="1,001 reminders waiting, and may have 1,000"):
                many.check_room()
            assert many.forget("n7")
            many.check_room()
