"""pytz: times of other places.

Python's own `zoneinfo` needs no package.
"""

from datetime import datetime

import pytz

from bg_charm_service import Charm


class PytzZones(Charm):
    """Tells the time in Lima."""

    there: str = ""

    def bg_updater(self, event: dict) -> None:
        noon = datetime(2026, 7, 1, 12, tzinfo=pytz.utc)
        self.there = noon.astimezone(pytz.timezone("America/Lima")).isoformat()
