"""Who has the other end of a connection: what the kernel says at once, or a list after a while."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bg_charm_service.api.auth import connection_owners
from bg_charm_service.api.auth.connection_owners import GONE, ConnectionOwners, Owner, SockDiag
from bg_charm_service.api.auth.peers import Peers
from bg_charm_service.api.auth.shared_look import SharedLook

pytestmark = pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="Linux only")

FAMILIES = [
    ("127.0.0.1", socket.AF_INET, "127.0.0.1"),
    ("::1", socket.AF_INET6, "::1"),
    ("127.0.0.1", socket.AF_INET6, "::ffff:127.0.0.1"),
    ("::", socket.AF_INET, "127.0.0.1"),
    ("::", socket.AF_INET6, "::ffff:127.0.0.1"),
]

Ask = Callable[[ConnectionOwners, Any, Any], Owner | None]


def ask_at_once(owners: ConnectionOwners, theirs: Any, ours: Any) -> Owner | None:
    """Ask the kernel."""
    return owners.find_now(theirs, ours)


def ask_after_a_while(owners: ConnectionOwners, theirs: Any, ours: Any) -> Owner | None:
    """Ask as on a machine where netlink is refused: the list is read."""
    owners.close()
    return asyncio.run(owners.find(theirs, ours))


@contextmanager
def connected(host: str, family: int, address: str) -> Iterator[tuple[socket.socket, ...]]:
    """Connect a socket; gives its two ends, the client's first, and the listener."""
    with ExitStack() as stack:
        kind = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = stack.enter_context(socket.socket(kind))
        if kind == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        listener.bind((host, 0))
        listener.listen()
        client = stack.enter_context(socket.socket(family))
        client.connect((address, listener.getsockname()[1]))
        accepted, _ = listener.accept()
        stack.enter_context(accepted)
        yield client, accepted, listener


def inode(one: socket.socket) -> int:
    """The number of a socket."""
    return os.fstat(one.fileno()).st_ino


@pytest.mark.parametrize("ask", [ask_at_once, ask_after_a_while])
@pytest.mark.parametrize(("host", "family", "address"), FAMILIES)
def test_the_owner_is_found(ask: Ask, host: str, family: int, address: str) -> None:
    """For each family and mixture of them: the user, and the number of the socket."""
    with closing(ConnectionOwners()) as owners, connected(host, family, address) as ends:
        client, accepted, _ = ends
        found = ask(owners, accepted.getpeername(), accepted.getsockname())
        assert Owner(os.getuid(), inode(client)) == found
        client.shutdown(socket.SHUT_WR)
        assert found == ask(owners, accepted.getpeername(), accepted.getsockname())


@pytest.mark.parametrize("ask", [ask_at_once, ask_after_a_while])
def test_an_end_that_was_closed_is_nobodys(ask: Ask) -> None:
    """What was sent before lies there still, but nobody waits for an answer."""
    with closing(ConnectionOwners()) as owners, connected(*FAMILIES[0]) as ends:
        client, accepted, _ = ends
        client.sendall(b"x")
        client.close()
        assert GONE == ask(owners, accepted.getpeername(), accepted.getsockname())


def test_a_connection_that_is_gone_is_not_its_listener() -> None:
    """The kernel tells of whoever listens there, in the place of what is gone."""
    with closing(ConnectionOwners()) as owners, connected(*FAMILIES[0]) as ends:
        client, accepted, listener = ends
        name, ours = client.getsockname(), accepted.getsockname()
        for end in (accepted, client):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            end.close()
        assert GONE == owners.find_now(name, ours)
        assert GONE == owners.find_now(ours, name)
        assert listener.fileno() >= 0


def test_no_list_is_read_to_find_an_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it costs does not grow with the connections of the machine."""

    def refuse(table: Path) -> bytes:
        raise AssertionError(f"{table} was read")

    monkeypatch.setattr(connection_owners, "_read", refuse)

    async def go() -> bool:
        with closing(Peers()) as peers, connected(*FAMILIES[0]) as ends:
            _, accepted, _ = ends
            peer = peers.at(accepted.getpeername(), accepted.getsockname())
            assert f"user {os.getuid()}" == peer.name
            return await peer.is_from_own_child()

    assert not asyncio.run(go())


def test_a_kernel_that_knows_no_connection_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it cannot even tell of our own end, the list is read instead."""
    monkeypatch.setattr(SockDiag, "_ask", lambda *_: None)
    with closing(ConnectionOwners()) as owners, connected(*FAMILIES[0]) as ends:
        client, accepted, _ = ends
        names = accepted.getpeername(), accepted.getsockname()
        assert owners.find_now(*names) is None
        assert Owner(os.getuid(), inode(client)) == asyncio.run(owners.find(*names))


def test_looks_are_shared() -> None:
    """However many ask, what they wait for is looked at once, and all are answered."""
    looks: list[list[int]] = []

    def look(wanted: Any) -> dict[int, str]:
        looks.append(list(wanted))
        return {number: str(number) for number in wanted if number != 3}

    async def go() -> list[str | None]:
        shared = SharedLook[int, str](look, pause_times=1.0)
        return await asyncio.gather(*(shared.ask(number) for number in (1, 2, 3, 2)))

    assert ["1", "2", None, "2"] == asyncio.run(go())
    assert [[1, 2, 3]] == looks
