"""Two nodes on one database, as real processes: one is active, the other takes over."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bg_charm_service.daemon.node import LEASE_LOST
from tests.cut_line import CutLine
from tests.postgres_server import PostgresServer, postgres_server
from tests.process.running import (
    Refused,
    RunningCharm,
    Service,
    wait_until_ended,
    watched_descendants,
)

#: A lease that is not lost by chance on a busy machine, and that a test can wait for.
FLAGS = ("--interval=3600", "--lease=2")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server, for all tests of this file."""
    with postgres_server() as started:
        yield started


class Nodes:
    """An active node `a`, and `b`, which stands by."""

    def __init__(self, folder: Path, url: str, url_of_a: str | None = None) -> None:
        self.url = url
        self.a = Service(folder / "a", *FLAGS, DATABASE_URL=url_of_a or url)
        self.b = Service(folder / "b", *FLAGS, DATABASE_URL=url)

    def start(self) -> Nodes:
        """Start both."""
        self.a.start()
        self.b.boot().wait_for("standing_by")
        return self

    def on_b(self, charm: RunningCharm) -> RunningCharm:
        """Give the same charm, once the other node is active."""
        self.b.wait_for("started")
        return RunningCharm(self.b, charm.ref)


@pytest.fixture
def nodes(server: PostgresServer, tmp_path: Path) -> Iterator[Nodes]:
    """Two nodes of an empty database, which are started."""
    with ExitStack() as stack:
        made = Nodes(tmp_path, server.create_database())
        for node in (made.a, made.b):
            stack.callback(node.close)
        yield made.start()


def test_a_killed_node_is_replaced(nodes: Nodes) -> None:
    """Kill -9 of the active node: the other makes what was under way again, in order, once each."""
    gate = nodes.a.gate()
    charm = nodes.a.add(values={"folder": str(gate.folder)})
    jobs = [charm.send(mode="wait", number=number) for number in (1, 2, 3)]
    begun = gate.wait_for_run()
    nodes.a.kill()
    charm = nodes.on_b(charm)
    assert begun["run_id"] == gate.wait_for_run()["run_id"]
    gate.let_go(3)
    charm.wait_until_settled(jobs[-1])
    assert ([1, 2, 3], 3) == (charm.get("numbers"), charm.get("counter"))
    assert [1, 1, 1] == [run["attempt"] for run in charm.runs()]
    nodes.a.boot().wait_for("standing_by", epoch=2)


def test_a_node_that_was_stopped_comes_too_late(nodes: Nodes) -> None:
    """What a node that stood still for longer than the lease has in hand counts no more."""
    gate = nodes.a.gate()
    charm = nodes.a.add(values={"folder": str(gate.folder)})
    job = charm.send(mode="wait", number=1)
    gate.wait_for_run()
    nodes.a.signal(signal.SIGSTOP)
    # Its worker still runs, and answers: that answer waits for the node.
    gate.let_go()
    charm = nodes.on_b(charm)
    gate.wait_for_run()
    gate.let_go()
    charm.wait_until_settled(job)
    nodes.a.signal(signal.SIGCONT)
    assert LEASE_LOST == nodes.a.wait()
    assert 1 == nodes.a.count("lease_lost")
    assert ([1], 1, 1) == (charm.get("numbers"), charm.get("counter"), len(charm.runs()))


def test_a_node_that_is_cut_off_ends_by_itself(server: PostgresServer, tmp_path: Path) -> None:
    """A node that the database cannot be reached from ends, with its workers, and another goes on.

    Nobody tells it anything, and its runs would still call out.
    """
    url = server.create_database()
    with ExitStack() as stack:
        line = stack.enter_context(CutLine(server.port))
        nodes = Nodes(tmp_path, url, url.replace(f":{server.port}/", f":{line.port}/"))
        for node in (nodes.a, nodes.b):
            stack.callback(node.close)
        gate = nodes.start().a.gate()
        charm = nodes.a.add(values={"folder": str(gate.folder)})
        job = charm.send(mode="wait", number=1)
        gate.wait_for_run()
        its_own = stack.enter_context(watched_descendants(nodes.a))
        line.cut()
        assert LEASE_LOST == nodes.a.wait()
        assert "has not answered" in nodes.a.wait_for("lease_lost")["message"]
        wait_until_ended(its_own)
        charm = nodes.on_b(charm)
        gate.wait_for_run()
        gate.let_go()
        charm.wait_until_settled(job)
        assert ([1], 1) == (charm.get("numbers"), charm.get("counter"))


def test_a_killed_database_is_gone_on_with(server: PostgresServer, nodes: Nodes) -> None:
    """Kill -9 of the database: once it runs again, a node goes on with what it has stored."""
    gate = nodes.a.gate()
    charm = nodes.a.add(values={"folder": str(gate.folder)})
    done = charm.perform(number=1)
    jobs = [charm.send(mode="wait", number=number) for number in (2, 3)]
    gate.wait_for_run()
    server.kill()
    assert LEASE_LOST == nodes.a.wait()
    nodes.b.wait_for("database_away")
    server.start()
    charm = nodes.on_b(charm)
    gate.wait_for_run()
    gate.let_go(2)
    charm.wait_until_settled(jobs[-1])
    assert ([1, 2, 3], 3) == (charm.get("numbers"), charm.get("counter"))
    assert done["run_id"] == charm.runs()[-1]["run_id"]


def test_each_node_says_what_it_is(nodes: Nodes, tmp_path: Path) -> None:
    """Commands tell the nodes apart; a node that is stopped hands over at once."""
    active, standby = nodes.a.cli("status"), nodes.b.cli("status")
    name = nodes.a.status()["node"]["name"]
    assert f": {name}\n" in active.stdout
    assert (0, 0) == (active.returncode, standby.returncode)
    assert f"stands by: {name} is active" in standby.stdout
    refused = nodes.b.cli("charm", "list")
    assert (1, True) == (refused.returncode, f"{name} is active" in refused.stderr)
    elsewhere = Service(tmp_path / "c", DATABASE_URL=nodes.url)
    refused = elsewhere.cli("charm", "list")
    assert (1, True) == (refused.returncode, f"in use: {name} is active" in refused.stderr)
    for command, words in (("backup", "pg_dump"), ("restore", "pg_restore")):
        refused = nodes.a.cli(command, str(tmp_path / "file"))
        assert (2, True) == (refused.returncode, words in refused.stderr), refused.stderr
    with pytest.raises(Refused, match="pg_dump"):
        nodes.a.request("POST", "/api/backups", {"path": str(tmp_path / "file")})
    nodes.a.add()
    assert 0 == nodes.a.stop()
    nodes.b.wait_for("started")
    assert "Scripted" in nodes.b.cli("charm", "list").stdout
    assert 0 == nodes.b.stop()
    # While no node runs, a command is the active one.
    assert "Scripted" in elsewhere.cli("charm", "list").stdout
    assert 2 == elsewhere.cli("doctor").returncode
