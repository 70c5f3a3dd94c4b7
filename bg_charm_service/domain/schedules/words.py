"""What is said of when a charm runs, by its class or by the operator: plain values, as stored.

Read from what people write, and joined into what counts, by `schedules`; a part of what is stored
of a class, which every process knows, so that nothing of zones or cron is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Missed(StrEnum):
    """What becomes of times that passed while a charm could not run."""

    ONCE = "once"  #: all of them together are made up for by one run
    SKIP = "skip"  #: it goes on at the next time


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleWords:
    """What a class, or an operator, says of when a charm runs; None where it says nothing.

    `cron` is in its one form, `quiet` is `HH:MM-HH:MM`, or `none` against what a class says.
    """

    every_seconds: float | None = None
    cron: str | None = None
    time_zone: str | None = None
    quiet: str | None = None
    missed: Missed | None = None


#: Nothing said: a charm runs in the service's interval.
NO_WORDS: Final = ScheduleWords()
