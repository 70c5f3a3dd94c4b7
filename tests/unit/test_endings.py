"""What authors raise and call to say how a run ends: refused at once where it makes no sense."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import bg_charm_service
from bg_charm_service import Charm, ProviderDown, SignInNeeded, Stop, Wait
from bg_charm_service.sdk.charm import next_run_of
from bg_charm_service.sdk.endings import RunEnding, seconds_until

#: What authors write who have no type checker.
ANYTHING: Any = "soon"
NOTHING: Any = None

LATER = datetime(2026, 12, 1, 8, 0, tzinfo=UTC)


class Some(Charm):
    """A charm with a stream."""

    def bg_updater(self, event: dict[str, Any]) -> None:
        """Do nothing."""


def test_all_are_imported_from_the_package() -> None:
    """Authors need one import."""
    for name in ("Wait", "ProviderDown", "SignInNeeded", "Stop"):
        assert issubclass(getattr(bg_charm_service, name), RunEnding)
        assert name in bg_charm_service.__all__


def test_what_was_said_is_kept() -> None:
    """The reason is the text of the exception too."""
    assert (60, "later", "later") == (
        Wait(60, "later").until,
        Wait(60, "later").why,
        str(Wait(60, "later")),
    )
    assert ("api.example.org", "") == (ProviderDown(host="https://api.example.org/v1").host, "")
    assert "/login" == SignInNeeded("revoked", url="/login").url
    assert "done" == Stop("done").why


@pytest.mark.parametrize("make", [lambda: Wait(LATER), lambda: Wait(1.5), lambda: Wait(0)])
def test_times_are_seconds_or_moments(make: Any) -> None:
    """Both are kept as they are, and counted from the end of the run."""
    until = make().until
    assert seconds_until(until, LATER.timestamp() - 60) == (60 if until == LATER else until)


@pytest.mark.parametrize("length", [300, 300.0, "5m", "300", timedelta(minutes=5)])
def test_a_length_is_said_as_everywhere(length: Any) -> None:
    """Seconds, a text or a timedelta: as for reminders and schedules."""
    assert 300 == Wait(length).until
    charm = Some()
    charm.again(after=length)
    assert 300 == next_run_of(charm)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Wait("soon"), ValueError, "Wait: expected seconds, or a text such as 90s"),
        (lambda: Wait(True), TypeError, "seconds, a text such as '5m', a timedelta, or a datetime"),
        (lambda: Wait(NOTHING), TypeError, "seconds, a text such as"),
        (lambda: Wait(math.nan), ValueError, "no number of seconds"),
        (lambda: Wait(math.inf), ValueError, "no number of seconds"),
        (lambda: Wait(datetime(2026, 12, 1)), ValueError, "a time zone"),
        (lambda: Wait(60, NOTHING), TypeError, "a text that says why"),
        (lambda: Stop(NOTHING), TypeError, "a text that says why"),
        (lambda: ProviderDown(host="a b"), ValueError, "the name of one"),
        (lambda: SignInNeeded(url="http://example.org"), ValueError, "an https address"),
        (lambda: Some().again(), TypeError, "one of after=TIME and at=DATETIME"),
        (lambda: Some().again(after=1, at=LATER), TypeError, "one of after"),
        (lambda: Some().again(after=-1), ValueError, "it lies in the past"),
        (lambda: Some().again(after=NOTHING, at=ANYTHING), TypeError, "a datetime"),
        (lambda: Some().again(at=ANYTHING), TypeError, "a datetime with a time zone"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, error: type[Exception], words: str) -> None:
    """The author reads in one line what was wrong."""
    with pytest.raises(error, match=words):
        make()


def test_last_word_about_the_next_run_counts() -> None:
    """A charm that says nothing runs by the schedule."""
    charm = Some()
    assert next_run_of(charm) is None
    charm.again(after=60)
    charm.again(at=LATER + timedelta(hours=1))
    assert LATER + timedelta(hours=1) == next_run_of(charm)
    charm.again(after=0)
    assert 0 == next_run_of(charm)
