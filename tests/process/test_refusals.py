"""What walls and limits refuse is told where somebody reads it, with what to do about it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.http_server import FakeServer, json_answer
from tests.process.running import Refused, Service

HANDLER = """
from bg_charm_service import Charm

class Some(Charm):
    note: str = ""

    def bg_updater(self, event: dict) -> None:
        {deed}
"""

#: Sources that need something while they are loaded.
ENDLESS = "while True: pass\n" + HANDLER.format(deed="pass")
HUNGRY = "held = bytearray(300_000_000)\n" + HANDLER.format(deed="pass")
STARTING = "import subprocess\nsubprocess.run(['ls'])\n" + HANDLER.format(deed="pass")
READING = "open('/etc/passwd').read()\n" + HANDLER.format(deed="pass")

#: Charms that ask by the service's own client.
ASKING = """
from bg_charm_service import Charm

class Asking(Charm):
    note: str = ""

    async def bg_updater(self, event: dict) -> None:
        async with self.http() as http:
            self.note = (await http.get("{address}")).text
"""

CONNECT = "import socket; socket.create_connection(('127.0.0.1', {port}), 2).close()"
SWALLOWING = HANDLER.format(
    deed="import os; print('begins'); self.note = str(os.system('convert a b') != 0)"
)


def connecting(port: int) -> str:
    """A source that connects while it is loaded."""
    return f"{CONNECT.format(port=port)}\n{HANDLER.format(deed='pass')}"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that polls nothing by itself."""
    flags = ("--interval=3600", "--max-concurrent=2", "--max-retries=0", "--sandbox=require")
    with Service(tmp_path_factory.mktemp("refusals") / "data", *flags) as running:
        yield running


@pytest.fixture
def port() -> Iterator[int]:
    """A port at which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def body_of(source: str, space: str, **others: object) -> dict[str, object]:
    """A request to add a charm."""
    return {"source": source, "space": space, "file": "some.py", **others}


def why_not_added(service: Service, source: str, space: str, **others: object) -> str:
    """Add a charm, which is refused; gives the reason."""
    with pytest.raises(Refused) as refused:
        service.request("POST", "/api/charms", body_of(source, space, **others))
    assert 400 == refused.value.status
    return str(refused.value)


def ports_with(port: int) -> str:
    """The ports that are open to everybody, and this one."""
    return ",".join(map(str, sorted({53, 80, 443, port})))


@pytest.mark.parametrize(
    ("source", "limits", "said"),
    [
        (STARTING, {}, "some.py:2: PermissionError: [Errno 1] Operation not permitted (starting "),
        (STARTING, {}, "programs is not possible here (ls): use a library of Python instead)"),
        (READING, {}, "Permission denied: '/etc/passwd' (/etc/passwd is closed to it: a charm "),
        (
            HUNGRY,
            {"memory": "64M"},
            "some.py:1: MemoryError (it may use 64M of memory) (allow more: "
            "`bg-charm-service limits new --memory=128M`)",
        ),
        (
            ENDLESS,
            {"cpu": 0.2},
            "some.py: loading it took over 0.2 s of processor time (allow more: "
            "`bg-charm-service limits new --cpu=0.4`)",
        ),
        (
            "import time\ntime.sleep(3600)\n",
            {"timeout": 0.3},
            "some.py: loading it took longer than 0.3 s (allow more: "
            "`bg-charm-service limits new --timeout=0.6`)",
        ),
    ],
)
def test_source_that_cannot_be_loaded_says_what_to_do(
    service: Service, source: str, limits: dict[str, object], said: str
) -> None:
    """One sentence names the wall or limit, and the space that is not there yet."""
    assert said in why_not_added(service, source, "new", limits=limits)
    assert [] == service.request("GET", "/api/charms?space=new")["charms"]


def test_limits_of_a_space_count_while_a_source_is_loaded(service: Service, port: int) -> None:
    """They are set before its first charm, and what an error says to type is enough."""
    source = connecting(port)
    reason = why_not_added(service, source, "ports")
    command = f"limits ports --network={ports_with(port)}"
    assert f"port {port} is not open to it: `bg-charm-service {command}`" in reason
    done = service.cli(*command.split())
    assert 0 == done.returncode, done.stderr
    assert service.request("POST", "/api/charms", body_of(source, "ports"))["created"]
    assert "is not open to it" in why_not_added(service, source, "elsewhere")

    service.request("PUT", "/api/spaces/tight/limits", {"memory": "64M"})
    assert "it may use 64M of memory" in why_not_added(service, HUNGRY, "tight")
    assert service.request("POST", "/api/charms", body_of(HUNGRY, "wide"))["created"]


def test_charm_is_loaded_within_limits_of_its_own(
    service: Service, port: int, tmp_path: Path
) -> None:
    """What `charm add` names for the charm counts while its source is loaded."""
    file = tmp_path / "some.py"
    file.write_text(connecting(port))
    adding = ("charm", "add", str(file), "--space=own")
    refused = service.cli(*adding)
    assert 1 == refused.returncode
    assert f"limits own --network={ports_with(port)}`" in refused.stderr
    assert 0 == service.cli(*adding, f"--network={port}").returncode
    # Once it is there its limits count again, for the same source and for another.
    assert 0 == service.cli(*adding).returncode
    file.write_text(connecting(port) + "\n# changed\n")
    assert 0 == service.cli("charm", "update", "own/some", str(file)).returncode


def test_client_of_the_service_obeys_the_walls(service: Service) -> None:
    """A port that is closed is said as for any other client, and what was tried is a row."""
    with FakeServer() as server:
        server.on("/", json_answer("well"))
        address = f"{server.url}/?key=nobodys"
        charm = service.add(ASKING.format(address=address), space="asking")
        run = charm.run()
        assert ("failure", "forbidden") == (run["status"], run["cause"])
        command = f"limits asking --network={ports_with(server.port)}"
        said = f"port {server.port} is not open to it: `bg-charm-service {command}`"
        assert said in run["error"]
        assert "nobodys" not in json.dumps(run)
        (row,) = run["requests"]
        assert ("127.0.0.1", "/", 0, "ConnectError") == (
            *(row["host"], row["path"]),
            *(row["status"], row["fault"]),
        )
        assert 0 == service.cli(*command.split()).returncode
        opened = charm.run()
    assert ("success", '"well"') == (opened["status"], charm.get("note"))
    assert [200] == [one["status"] for one in opened["requests"]]


def test_update_says_what_to_do(service: Service, tmp_path: Path) -> None:
    """A new source is loaded within the limits of its charm, and told where these are set."""
    service.request("POST", "/api/charms", body_of(SWALLOWING, "updated"))
    service.request("PUT", "/api/spaces/updated/limits", {"memory": "64M"})
    file = tmp_path / "some.py"
    file.write_text(HUNGRY)
    update = ("charm", "update", "updated/some", str(file))
    done = service.cli(*update)
    assert 1 == done.returncode
    (line,) = done.stderr.strip().splitlines()
    assert "limits updated --memory=128M`)" in line
    service.cli("limits", "updated/some", "--memory=48M")
    assert "limits updated/some --memory=96M`)" in service.cli(*update).stderr


def test_import_tells_each_line_its_own_space(service: Service) -> None:
    """One source for many spaces is loaded once, and each is told what to do for itself."""
    charms = [body_of(connecting(5432), space) for space in ("one", "two")]
    charms.append(body_of(HUNGRY, "three", limits={"speed": 5}))
    answers = service.request("POST", "/api/charms/import", charms)
    for space, answer in zip(("one", "two"), answers, strict=False):
        assert f"limits {space} --network=53,80,443,5432`" in answer["error"]
    assert "There is no such member" in answers[2]["error"]


def test_run_says_what_refused_it(service: Service) -> None:
    """In its record, on its page and by the command that runs it."""
    charm = service.add(HANDLER.format(deed=CONNECT.format(port=5432)), space="runs", cause="a")
    run = charm.run()
    advice = "limits runs --network=53,80,443,5432`)"
    assert "forbidden" == run["cause"]
    assert run["error"].endswith(advice)
    assert "--network=53,80,443,5432" in service.page(f"/charms/{charm.ref}")
    done = service.cli("charm", "run", str(charm.ref))
    assert advice in done.stderr


def test_what_no_exception_shows_is_in_the_log(service: Service) -> None:
    """A command that was not started leaves a line behind what the run printed."""
    charm = service.add(SWALLOWING, space="runs", cause="b")
    run = charm.run()
    assert ("success", "True") == (run["status"], charm.get("note"))
    assert run["log"].splitlines() == [
        "begins",
        "[refused] starting programs is not possible here (convert): use a library of Python "
        "instead",
    ]


def test_source_that_a_wall_stops_later_fails_by_it(service: Service) -> None:
    """A charm whose source no longer loads in its space is told the wall, not the compiler."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        limits = {"network": str(port)}
        charm = service.add(connecting(port), space="later", limits=limits)
    service.request("DELETE", f"{charm.path}/limits")
    run = charm.run()
    assert "forbidden" == run["cause"]
    assert f"limits later --network={ports_with(port)}`)" in run["error"]
