"""google-api-python-client: a calendar, by a stub of Google's."""

from googleapiclient.discovery import build
from googleapiclient.http import HttpMockSequence

from bg_charm_service import Charm


class GoogleCalendar(Charm):
    """Lists events."""

    names: list[str] = []

    def bg_updater(self, event: dict) -> None:
        answers = HttpMockSequence([({"status": "200"}, '{"items": [{"summary": "Standup"}]}')])
        service = build("calendar", "v3", http=answers, static_discovery=True)
        found = service.events().list(calendarId="primary").execute(http=answers)
        self.names = [one["summary"] for one in found["items"]]
