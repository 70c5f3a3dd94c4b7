"""Listens on a port, to be reached by others."""

import asyncio
import contextlib
import socket

from tests.hostile.charms.hostile import Hostile, ends


@ends("forbidden", "ermi")
def on_a_port(charm: Hostile) -> object:
    """As a server does."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", charm.target["free_port"]))
        one.listen()
        return one.getsockname()


@ends("forbidden", "ermi")
def on_any_port(charm: Hostile) -> object:
    """On one that the kernel chooses."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()


@ends("forbidden", "ermi")
def on_an_allowed_port(charm: Hostile) -> object:
    """On one that it may connect to."""
    with socket.create_server(("127.0.0.1", 443)) as one:
        return one.getsockname()


@ends("forbidden", "ermi")
def the_call_itself(charm: Hostile) -> object:
    """By the call that makes a socket listen."""
    with socket.socket() as one:
        one.listen()
    return 1


@ends("forbidden", "ermi")
def the_call_itself_by_ipv6(charm: Hostile) -> object:
    """The same for the other kind of address."""
    with socket.socket(socket.AF_INET6) as one:
        one.listen()
    return 1


@ends("forbidden", "ermi")
def beside_the_service(charm: Hostile) -> object:
    """On the service's own port, to take half of its callers."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(("127.0.0.1", charm.target["port"]))
        one.listen()
        return one.getsockname()


@ends("forbidden", "ermi")
def from_a_port(charm: Hostile) -> object:
    """From a port that only root's programs have, to be believed."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()


@ends("forbidden", "ermi")
async def with_asyncio(charm: Hostile) -> None:
    """As asynchronous servers do."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    charm.loot.append(server.sockets[0].getsockname())
    server.close()


@ends("forbidden", "ermi")
def for_datagrams(charm: Hostile) -> object:
    """Without a connection."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()
