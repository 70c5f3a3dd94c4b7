"""The lease of a database, with a real server: who has it, how it is lost, what is refused then."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from bg_charm_service.domain.errors import DatabaseUnusable, InvalidInput, LeaseLost
from bg_charm_service.storage.engines import engine_of
from bg_charm_service.storage.node_contract import Holder
from bg_charm_service.storage.postgres.lease import Candidate, Lease, is_newest
from bg_charm_service.storage.postgres.server import DatabaseAddress, open_session
from tests.cut_line import CutLine
from tests.postgres_server import PASSWORD, PostgresServer, postgres_server
from tests.process.program import wait_until

#: A lease that no test has to wait for.
LONG_SECONDS = 60.0
#: A lease that a test waits for.
SHORT_SECONDS = 1.0


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server, for all tests of this file."""
    with postgres_server() as started:
        yield started


@pytest.fixture
def url(server: PostgresServer) -> Iterator[str]:
    """An empty database."""
    made = server.create_database()
    yield made
    server.drop_database(made)


class Told:
    """What a node was told of its lease."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.news = threading.Event()

    def __call__(self, reason: str) -> None:
        self.reasons.append(reason)
        self.news.set()


@contextmanager
def candidate(url: str, node: str, seconds: float = LONG_SECONDS) -> Iterator[Candidate]:
    """A node that wants the lease."""
    with closing(Candidate(DatabaseAddress(url), node, seconds)) as made:
        yield made


@contextmanager
def holding(
    url: str, node: str, seconds: float = LONG_SECONDS, told: Told | None = None
) -> Iterator[Lease]:
    """A node that gets the lease, at the latest when who had it is gone."""
    with candidate(url, node, seconds) as wanting, closing(take(wanting, told)) as lease:
        yield lease


def take(wanting: Candidate, told: Told | None = None) -> Lease:
    """Ask until the lease is there."""
    found: list[Lease] = []

    def is_taken() -> bool:
        answer = wanting.ask(told or Told())
        found.extend([answer] if isinstance(answer, Lease) else [])
        return bool(found)

    wait_until(is_taken)
    return found[0]


def end(url: str, lease: Lease) -> None:
    """End the session of a lease, as a server does that is stopped."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(%s, 10000)", (lease.connection.info.backend_pid,)
        )


def test_one_node_holds_it_and_others_are_told_who(url: str) -> None:
    """Of two nodes one gets the lease; the other is told which one that is, and its epoch."""
    with holding(url, "a") as lease, candidate(url, "b") as waiting:
        assert lease.holder == waiting.ask(Told())
        assert ("a", 1) == (lease.holder.node, lease.holder.epoch)


def test_nodes_of_one_name_are_two(url: str) -> None:
    """Whoever has the same name as the holder does not hold the lease for that."""
    with holding(url, "a") as lease, candidate(url, "a") as waiting:
        answer = waiting.ask(Told())
        assert isinstance(answer, Holder)
        assert lease.holder == answer


def test_given_up_it_is_anothers_in_a_new_epoch(url: str) -> None:
    """A node that ends in good order leaves the lease to the next one."""
    told = Told()
    with candidate(url, "b") as waiting:
        with holding(url, "a", told=told):
            assert isinstance(waiting.ask(Told()), Holder)
        with closing(take(waiting)) as lease:
            assert ("b", 2) == (lease.holder.node, lease.holder.epoch)
    assert [] == told.reasons


def test_a_session_that_ended_commits_nothing(url: str) -> None:
    """What a node had begun when its session was ended is not there; it is told that it lost."""
    told = Told()
    with holding(url, "a", told=told) as lease:
        lease.connection.execute("CREATE TABLE seen (n integer)")
        lease.connection.execute("BEGIN")
        lease.connection.execute("INSERT INTO seen VALUES (1)")
        end(url, lease)
        with holding(url, "b") as next_one:
            with pytest.raises(psycopg.Error):
                lease.connection.execute("COMMIT")
            assert [] == next_one.connection.execute("SELECT n FROM seen").fetchall()
        with pytest.raises(LeaseLost, match="ended its session"):
            lease.fence()
    assert 1 == len(told.reasons)


def test_another_session_is_fenced_by_the_epoch(url: str) -> None:
    """Also through a session that lives, a node that lost the lease cannot pass the fence."""
    with holding(url, "a") as lease, psycopg.connect(url) as other:
        assert is_newest(other, lease.holder.epoch)
        other.rollback()
        end(url, lease)
        with holding(url, "b") as next_one:
            assert not is_newest(other, lease.holder.epoch)
            assert is_newest(other, next_one.holder.epoch)
            other.rollback()


def test_nobody_takes_it_between_fence_and_commit(url: str) -> None:
    """While a transaction is open that passed the fence, no other node begins."""
    with holding(url, "a") as lease, psycopg.connect(url) as other:
        assert is_newest(other, lease.holder.epoch)
        lease.close()
        with candidate(url, "b", 1.0) as waiting, pytest.raises(DatabaseUnusable):
            # It has the lock, and may not begin an epoch.
            waiting.ask(Told())


def test_the_engine_commits_nothing_in_an_old_epoch(url: str, tmp_path: Path) -> None:
    """Even through a session that lives, an engine refuses what a former holder wants to commit."""
    with holding(url, "a") as lease, psycopg.connect(url, autocommit=True) as other:
        storage = engine_of(lease).open(tmp_path)
        with storage.database.transaction():
            storage.store.spaces.ensure("did:key:kept", name="kept", owner="did:key:me", now=1.0)
        # As if the lock had been another's meanwhile, and nobody had ended this session.
        other.execute("UPDATE node_lease SET epoch = epoch + 1")
        with pytest.raises(LeaseLost, match="another node"), storage.database.transaction():
            storage.store.spaces.ensure("did:key:late", name="late", owner="did:key:me", now=1.0)
        assert storage.store.spaces.find("did:key:kept") is not None
        assert storage.store.spaces.find("did:key:late") is None


@pytest.mark.parametrize("begin", ["", "BEGIN"], ids=["idle", "in a transaction"])
def test_a_node_that_pauses_loses_it(url: str, begin: str) -> None:
    """Of a session that is silent for the time of the lease the server frees the lock."""
    with holding(url, "a"):
        pass
    paused = open_session(DatabaseAddress(url), SHORT_SECONDS)
    paused.execute("SELECT pg_advisory_lock(77, 0)")
    paused.execute("CREATE TABLE seen (n integer)")
    if begin:
        paused.execute("BEGIN")
        paused.execute("INSERT INTO seen VALUES (1)")
    with closing(paused), holding(url, "b") as lease:
        with pytest.raises(psycopg.Error):
            paused.execute("COMMIT" if begin else "INSERT INTO seen VALUES (1)")
        assert [] == lease.connection.execute("SELECT n FROM seen").fetchall()


def test_a_node_that_does_nothing_keeps_it(url: str) -> None:
    """The lease is kept without any work: another node's short lease ends meanwhile."""
    with holding(url, "a", SHORT_SECONDS) as lease:
        lease.begin()
        # This one is silent for as long, and keeps nothing.
        with closing(open_session(DatabaseAddress(url), SHORT_SECONDS)) as silent:
            number = silent.info.backend_pid
            with psycopg.connect(url, autocommit=True) as looking:
                wait_until(
                    lambda: (
                        not looking.execute(
                            "SELECT 1 FROM pg_stat_activity WHERE pid = %s", (number,)
                        ).fetchall()
                    )
                )
        lease.fence()


def test_a_node_that_is_cut_off_knows_it_before_another_one_begins(
    server: PostgresServer, url: str
) -> None:
    """In a partition, where nobody is told anything, the node has lost the lease when b gets it."""
    told = Told()
    with CutLine(server.port) as line:
        cut_off = url.replace(f":{server.port}/", f":{line.port}/")
        with holding(cut_off, "a", SHORT_SECONDS, told) as lease:
            lease.begin()
            line.cut()
            with holding(url, "b"):
                assert told.reasons
                with pytest.raises(LeaseLost, match="not answered"):
                    lease.fence()


def test_a_killed_server_frees_it(server: PostgresServer, url: str) -> None:
    """Kill -9 of the server ends the lease; once it runs again a waiting node gets it."""
    told = Told()
    with candidate(url, "b") as waiting, holding(url, "a", told=told) as lease:
        lease.begin()
        assert isinstance(waiting.ask(Told()), Holder)
        server.kill()
        with pytest.raises(DatabaseUnusable, match="cannot be used"):
            waiting.ask(Told())
        server.start()
        with closing(take(waiting)) as taken:
            assert 2 == taken.holder.epoch
        with suppress(psycopg.Error):
            lease.connection.execute("SELECT 1")
        assert told.reasons


def test_what_cannot_be_used_is_one_sentence(server: PostgresServer, url: str) -> None:
    """Each mistake in an address is told in one line that says what to do, and no password."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = taken.getsockname()[1]
    mistakes = {
        "user and password do not fit": server.url(password="wrong-secret"),
        "wants a password": server.url(password=None),
        "no database of that name": server.url("nowhere"),
        "no host of that name": "postgresql://me:wrong-secret@nowhere.invalid/db",
        "nobody answers there": f"postgresql://me:wrong-secret@127.0.0.1:{nobody}/db",
        "speaks no TLS": f"{url}?sslmode=require",
    }
    for words, address in mistakes.items():
        with pytest.raises(DatabaseUnusable, match=words) as told:
            open_session(DatabaseAddress(address), LONG_SECONDS)
        assert "\n" not in str(told.value)
        assert "secret" not in str(told.value)
        assert PASSWORD not in str(told.value)
    with pytest.raises(InvalidInput, match="query parameter"):
        open_session(DatabaseAddress(f"{url}?nothing=1"), LONG_SECONDS)


def test_a_password_apart_from_the_address(server: PostgresServer) -> None:
    """A password from a file takes the place of the one in the address."""
    address = DatabaseAddress(server.url(password=None), PASSWORD)
    with closing(open_session(address, LONG_SECONDS)) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)
    assert PASSWORD not in repr(address)
    assert f"postgresql://127.0.0.1:{server.port}/postgres" == address.shown


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_a_pooler_that_shares_sessions_is_refused(server: PostgresServer, mode: str) -> None:
    """Behind a pooler through which two nodes would hold one lease, no node begins."""
    with server.pooler(mode) as port, pytest.raises(DatabaseUnusable, match="pool_mode=session"):
        open_session(DatabaseAddress(server.url(port=port)), LONG_SECONDS)


def test_a_pooler_that_keeps_sessions_apart_is_taken(server: PostgresServer, url: str) -> None:
    """With pool_mode=session the lease is held, and given up, as it is without a pooler."""
    with server.pooler("session") as port:
        through = url.replace(f":{server.port}/", f":{port}/")
        with holding(through, "a") as lease, candidate(url, "b") as waiting:
            assert lease.holder == waiting.ask(Told())
            lease.close()
            with closing(take(waiting)) as taken:
                assert "b" == taken.holder.node
