"""websockets: a server that speaks HTTP only.

Its own error says so; one that speaks WebSocket is reached by the ports that are open.
"""

from websockets.sync.client import connect

from bg_charm_service import Charm


class WebsocketsClient(Charm):
    """Says hello."""

    url: str = ""

    def bg_updater(self, event: dict) -> None:
        address = f"ws{self.url.removeprefix('http')}/socket"
        with connect(address) as connection:
            connection.send("hello")
