"""python-dateutil: a time as people write it."""

from dateutil import parser, tz

from bg_charm_service import Charm


class DateutilTimes(Charm):
    """Tells the time in Lima."""

    there: str = ""

    def bg_updater(self, event: dict) -> None:
        noon = parser.parse("1 July 2026 12:00 UTC")
        self.there = noon.astimezone(tz.gettz("America/Lima")).isoformat()
