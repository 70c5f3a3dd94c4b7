"""slack_sdk: a message sent."""

from slack_sdk import WebClient

from bg_charm_service import Charm


class SlackMessage(Charm):
    """Sends a message."""

    url: str = ""
    sent: str = ""

    def bg_updater(self, event: dict) -> None:
        client = WebClient(token="token", base_url=f"{self.url}/slack/")
        self.sent = client.chat_postMessage(channel="#general", text="Hello")["ts"]
