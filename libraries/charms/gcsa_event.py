"""gcsa: an event as Google wants it."""

from datetime import datetime

from gcsa.event import Event
from gcsa.serializers.event_serializer import EventSerializer

from bg_charm_service import Charm


class GcsaEvent(Charm):
    """Writes an event."""

    summary: str = ""

    def bg_updater(self, event: dict) -> None:
        event_there = Event("Standup", start=datetime(2026, 11, 30, 9), timezone="Europe/Berlin")
        self.summary = EventSerializer.to_json(event_there)["summary"]
