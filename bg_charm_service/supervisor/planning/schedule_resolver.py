"""Which schedule counts for a charm, and who said it.

The operator's word counts, else that of the class, else the service's interval. A charm of which
nobody says anything has none, and costs nothing: every poll asks here. Asked by the planner and the
commands.
"""

from __future__ import annotations

from functools import lru_cache

from bg_charm_service.domain.quantities import span_text
from bg_charm_service.domain.schedules.schedule import Schedule, joined, schedule_words, upcoming
from bg_charm_service.domain.schedules.time_zones import is_known
from bg_charm_service.domain.schedules.words import NO_WORDS, ScheduleWords
from bg_charm_service.domain.views import ScheduleView
from bg_charm_service.storage.records import CharmRecord
from bg_charm_service.storage.store_contract import Schedules

#: So many of the next times are shown.
_SHOWN_TIMES = 5


class ScheduleResolver:
    """Joins what the service, its operator and a charm's class say of when it runs."""

    def __init__(
        self, schedules: Schedules, interval_seconds: float, min_interval_seconds: float
    ) -> None:
        self._schedules = schedules
        self.interval_seconds = interval_seconds
        self._min_interval_seconds = min_interval_seconds

    def of(self, charm: CharmRecord, operator_seconds: float | None) -> Schedule | None:
        """The schedule of a charm; None where it has an interval and nothing else.

        `operator_seconds` is the interval that the operator gave it, None without.
        """
        of_class = charm.schema.schedule
        of_operator = self._schedules.of_charm(charm.charm_key)
        if of_class is NO_WORDS and of_operator is NO_WORDS:
            return None
        return self.joined(of_class, of_operator, operator_seconds)

    def shown(
        self, charm: CharmRecord, operator_seconds: float | None, next_due: float | None
    ) -> ScheduleView:
        """The schedule for people: in words, with who set it and the next times.

        `next_due` is the first of them by the wall clock, None while it is not polled.
        """
        of_class = charm.schema.schedule
        of_operator = self._schedules.of_charm(charm.charm_key)
        counts = self.joined(of_class, of_operator, operator_seconds)
        by_operator = of_operator.cron is not None or operator_seconds is not None
        by_class = of_class.cron is not None or of_class.every_seconds is not None
        return ScheduleView(
            words=schedule_words(counts),
            set_by="operator" if by_operator else "class" if by_class else "service",
            cron=counts.cron,
            every_seconds=None if counts.cron else counts.every_seconds,
            time_zone=counts.time_zone,
            quiet=of_operator.quiet or of_class.quiet or "none",
            missed=counts.missed,
            next_times=() if next_due is None else tuple(upcoming(counts, next_due, _SHOWN_TIMES)),
            unmet=tuple(self._unmet(charm, of_operator, counts)),
        )

    def words(self, charm: CharmRecord, operator_seconds: float | None) -> str:
        """When a charm runs, in words."""
        schedule = self.of(charm, operator_seconds)
        if schedule is None:
            return f"every {span_text(operator_seconds or self.interval_seconds)}"
        return schedule_words(schedule)

    def unmet(self, charm: CharmRecord) -> list[str]:
        """Say what a class asks for and does not get, a sentence each."""
        of_operator = self._schedules.of_charm(charm.charm_key)
        counts = self.joined(charm.schema.schedule, of_operator, None)
        return self._unmet(charm, of_operator, counts)

    def _unmet(self, charm: CharmRecord, of_operator: ScheduleWords, counts: Schedule) -> list[str]:
        told = []
        wanted = charm.schema.schedule.every_seconds
        if wanted is not None and not counts.cron and wanted < counts.every_seconds:
            least = min(self._min_interval_seconds, self.interval_seconds)
            if wanted < least:
                told.append(
                    f"It asks to run every {span_text(wanted)}, and the operator allows "
                    f"{span_text(least)}: --min-interval."
                )
        zones = dict.fromkeys([of_operator.time_zone, charm.schema.schedule.time_zone])
        told += [
            f"The time zone {zone} is not known on this machine any more: UTC counts."
            for zone in zones
            if zone is not None and not is_known(zone)
        ]
        return told

    def joined(
        self,
        of_class: ScheduleWords,
        of_operator: ScheduleWords,
        operator_seconds: float | None,
    ) -> Schedule:
        """What counts, given what is said."""
        return _joined(
            of_class,
            of_operator,
            operator_seconds,
            self.interval_seconds,
            self._min_interval_seconds,
        )


_joined = lru_cache(maxsize=4096)(joined)
