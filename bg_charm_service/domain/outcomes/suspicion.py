"""How a life of the service begins after others have died: with whom, and for how long without.

A death does not say what caused it. Jobs that were under way at several are suspects; before one
of them runs alone, and pays when the service dies with it, the service lives once without them for
as long as its last lives lasted. If it dies then too, the cause lies outside, and nobody pays. If
it does so a second time, no charm runs at all in such a trial: another charm may have done it.
Pure. Asked by the supervisor at its start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

#: So much longer than the last lives a trial lasts: deaths from outside are not to the second.
_MARGIN: Final = 1.5

#: A trial lasts so long at least, also where nobody knows how long the last lives lasted, and so
#: long at most, in seconds.
SHORTEST_TRIAL_SECONDS: Final = 2.0
LONGEST_TRIAL_SECONDS: Final = 600.0

#: How long a life has lasted so far is written after a second, and again when it has lasted by so
#: much longer: a death between two notes makes a life look shorter by less than `_MARGIN` adds.
_SHORTEST_NOTE_SECONDS: Final = 1.0
_NOTE_PART: Final = 0.1

#: So many of the last lives are looked at.
_RECENT: Final = 3


class LifeKind(StrEnum):
    """Who runs in a life of the service, at first."""

    ORDINARY = "ordinary"
    WITHOUT_SUSPECTS = "without suspects"
    WITHOUT_CHARMS = "without charms"


@dataclass(frozen=True, slots=True)
class Life:
    """A life of the service; as a trial it is passed once it has lasted as long as its target."""

    kind: LifeKind
    target_seconds: float
    lived_seconds: float

    @property
    def is_trial(self) -> bool:
        return self.kind is not LifeKind.ORDINARY

    @property
    def is_failed_trial(self) -> bool:
        return self.is_trial and self.lived_seconds < self.target_seconds


def died_from_outside(deaths: Sequence[Life]) -> bool:
    """Whether the last of these lives, the oldest first, ended without any suspect at work."""
    return bool(deaths) and deaths[-1].is_failed_trial


def next_life(deaths: Sequence[Life], *, has_suspects: bool) -> Life:
    """How to begin after these lives, the oldest first, which all ended in death."""
    if not has_suspects:
        return Life(LifeKind.ORDINARY, 0.0, 0.0)
    has_failed = any(life.is_failed_trial for life in deaths)
    kind = LifeKind.WITHOUT_CHARMS if has_failed else LifeKind.WITHOUT_SUSPECTS
    return Life(kind, trial_seconds(deaths), 0.0)


def trial_seconds(deaths: Sequence[Life]) -> float:
    """How long a trial lasts: a bit longer than the last ordinary lives."""
    ordinary = [life.lived_seconds for life in deaths if not life.is_trial]
    longest = max(ordinary[-_RECENT:], default=0.0)
    return min(max(_MARGIN * longest, SHORTEST_TRIAL_SECONDS), LONGEST_TRIAL_SECONDS)


def seconds_until_note(life: Life) -> float:
    """How long after this it is written again how long a life has lasted.

    A trial is noted at the moment in which it is passed.
    """
    soon = max(_SHORTEST_NOTE_SECONDS, _NOTE_PART * life.lived_seconds)
    left = life.target_seconds - life.lived_seconds
    return min(soon, left) if left > 0 else soon


def is_over_it(deaths: Sequence[Life], lived_seconds: float, *, has_suspects: bool) -> bool:
    """Whether a life has lasted so much longer than those before that their deaths are history."""
    longest = max((life.lived_seconds for life in deaths), default=0.0)
    return not has_suspects and lived_seconds > max(60.0, 3 * longest)
