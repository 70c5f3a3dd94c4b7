"""The ports that the service listens on, as those who connect find them."""

from __future__ import annotations

import asyncio
import socket

from bg_charm_service.daemon.ports import open_ports
from bg_charm_service.daemon.settings import load_settings


def test_small_answers_are_sent_at_once() -> None:
    """An answer does not wait for the acknowledgement of the one before it."""

    async def options() -> list[int]:
        found: list[int] = []
        with open_ports(load_settings({"listen": "localhost:0"}, {}), has_token=False) as ports:
            for listener in ports.sockets:
                with socket.create_connection(listener.getsockname()[:2]):
                    accepted, _ = listener.accept()
                _, writer = await asyncio.open_connection(sock=accepted)
                connection = writer.get_extra_info("socket")
                found.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
                writer.transport.abort()
        return found

    found = asyncio.run(options())
    assert found
    assert all(found)
