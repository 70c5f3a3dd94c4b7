"""What `--sandbox` and `--isolation` promise at a start, and where a missing wall is shown."""

from __future__ import annotations

import random
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.process.lacking import LANDLOCK, machine_without
from tests.process.running import ROOT, Service

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has walls")

COUNTER = (ROOT / "charms" / "counter.py").read_text()

#: What Landlock alone can hold.
BY_LANDLOCK = {"file system", "network"}


def missing(service: Service) -> dict[str, str]:
    """The walls that the status says do not stand, and why."""
    walls: list[dict[str, str]] = service.status()["sandbox"]["walls"]
    assert walls
    return {wall["name"]: wall["missing"] for wall in walls if wall["missing"]}


def page(service: Service) -> str:
    """The first page, as somebody on this machine sees it."""
    address = service.wait_for("listening")["url"]
    return httpx2.get(address, timeout=30).text


def status_text(service: Service) -> str:
    """What the `status` command prints, its lines joined."""
    return " ".join(service.cli("status").stdout.split())


def test_all_walls_stand_where_they_are_required(tmp_path: Path) -> None:
    """With --sandbox=require a service that starts has every wall, and no warning."""
    with Service(tmp_path / "data", "--sandbox=require", "--interval=3600") as service:
        assert {} == missing(service)
        assert "require" == service.status()["sandbox"]["mode"]
        assert "success" == service.add(COUNTER).run()["status"]
        service.stop()
        assert 0 == service.count("walls_off") + service.count("walls_missing")


def test_a_missing_wall_refuses_the_start(tmp_path: Path) -> None:
    """Without Landlock, require ends with 1 and one line that names each wall and the reason."""
    runner = machine_without(LANDLOCK, tmp_path)
    service = Service(tmp_path / "data", "--sandbox=require", runner=runner).boot()

    assert 1 == service.wait()
    (line,) = service.errors.strip().splitlines()
    assert "--sandbox=require" in line
    assert all(re.search(rf"{name} \(.*Landlock", line) for name in BY_LANDLOCK)
    assert not (tmp_path / "data" / "bg-charm-service.db").exists()


def test_a_command_of_a_stopped_service_is_refused_too(tmp_path: Path) -> None:
    """What loads a charm's source without a service keeps to the mode as well."""
    runner = machine_without(LANDLOCK, tmp_path)
    command = ("-m", "bg_charm_service", "--data-dir", str(tmp_path / "data"), "--sandbox=require")
    charm = ROOT / "charms" / "counter.py"

    done = subprocess.run(
        [runner.python, *command, "charm", "add", str(charm), "--space", "a"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert 1 == done.returncode
    (line,) = done.stderr.splitlines()
    assert "--sandbox=require" in line


def test_auto_goes_on_with_what_there_is(tmp_path: Path) -> None:
    """Without Landlock, auto warns once, runs charms, and shows everywhere what is missing."""
    runner = machine_without(LANDLOCK, tmp_path)
    flags = ("--sandbox=auto", "--interval=3600", "--log-interval=0.05", "--listen=127.0.0.1:0")
    with Service(tmp_path / "data", *flags, runner=runner) as service:
        warning = service.wait_for("walls_missing")
        assert "WARNING" == warning["level"]
        assert all(name in warning["message"] for name in BY_LANDLOCK)
        assert "success" == service.add(COUNTER).run()["status"]
        assert BY_LANDLOCK == set(missing(service))
        told = service.wait_for("status.walls")["message"]
        assert "missing: file system (" in told
        assert "isolation: space" in told
        shown = status_text(service)
        assert "sandbox auto: system calls" in shown
        assert "no wall file system:" in shown
        assert "Missing around charms here: " in page(service)
        service.stop()
        assert 1 == service.count("walls_missing")


def test_off_has_no_walls_and_says_so(tmp_path: Path) -> None:
    """With --sandbox=off charms run without walls: one warning, and the status says it."""
    flags = ("--sandbox=off", "--interval=3600", "--listen=127.0.0.1:0")
    with Service(tmp_path / "data", *flags) as service:
        assert "charms run without walls" in service.wait_for("walls_off")["message"]
        states = service.status()["sandbox"]["walls"]
        assert states
        assert all("--sandbox=off" in wall["missing"] for wall in states)
        assert "sandbox off: no walls" in status_text(service)
        assert "Charms run without walls" in page(service)


@pytest.mark.parametrize("mode", ["require", "auto"])
def test_a_data_directory_among_libraries_is_not_walled_off(tmp_path: Path, mode: str) -> None:
    """Where charms read their libraries from, nothing of the service may lie: it is told."""
    libraries = tmp_path / "site-packages"
    libraries.mkdir()
    flags = (f"--sandbox={mode}", "--interval=3600")
    service = Service(libraries / "data", *flags, PYTHONPATH=str(libraries))
    if mode == "require":
        assert 1 == service.boot().wait()
        assert f"file system (the data directory lies in {libraries}" in service.errors
        return
    with service:
        assert {"file system"} == set(missing(service))


@pytest.mark.parametrize(
    ("level", "words"),
    [("space", "a worker serves one space"), ("run", "each run has a process of its own")],
)
def test_the_isolation_level_is_shown(tmp_path: Path, level: str, words: str) -> None:
    """Status and command say what a worker is shared by; nothing is warned of."""
    with Service(tmp_path / "data", f"--isolation={level}", "--sandbox=auto") as service:
        assert level == service.status()["sandbox"]["isolation"]
        assert words in status_text(service)
        service.stop()
        assert 0 == service.count("spaces_shared")


def test_shared_says_that_spaces_have_no_walls(tmp_path: Path) -> None:
    """With --isolation=shared the start warns, and the page shows it."""
    flags = ("--isolation=shared", "--listen=127.0.0.1:0")
    with Service(tmp_path / "data", *flags) as service:
        assert "no walls between spaces" in service.wait_for("spaces_shared")["message"]
        assert "No walls between spaces" in page(service)


CALLER = """
import socket
from bg_charm_service import Charm

class Caller(Charm):
    found: dict = {}

    def bg_updater(self, event: dict) -> None:
        for host, port in event["addresses"]:
            self.found[f"{host}:{port}"] = reach(socket.AF_INET, (host, port))
        self.found["socket"] = reach(socket.AF_UNIX, event["socket"])

def reach(family, address):
    try:
        with socket.socket(family) as connection:
            connection.connect(address)
    except OSError as error:
        return type(error).__name__
    return "connected"
"""


def free_ports() -> Iterator[int]:
    """Give ports that nobody listens on, drawn; first those that nobody gets who asks for any."""
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    drawn = random.sample(range(1025, 65536), 64511)
    for port in sorted(drawn, key=lambda port: first <= port <= last):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)):
                yield port


def reached(service: Service, *addresses: tuple[str, int]) -> dict[str, Any]:
    """Let a charm connect to addresses, and to the service's socket; gives what came of it."""
    charm = service.add(CALLER, file="caller.py")
    own_socket = str(service.data_dir / "service.sock")
    assert "success" == charm.perform(addresses=addresses, socket=own_socket)["status"]
    found: dict[str, Any] = charm.get("found")
    return found


def test_no_charm_reaches_page_api_or_socket(tmp_path: Path) -> None:
    """Also where the operator allows the port: the service's own is left out, and that is told."""
    port, other = islice(free_ports(), 2)
    flags = ("--sandbox=require", "--interval=3600", f"--listen=127.0.0.1:{port}")
    allowed = f"--charm-network=443,{port},{other}"
    with Service(tmp_path / "data", *flags, allowed) as service, socket.socket() as listener:
        listener.bind(("127.0.0.1", other))
        listener.listen()
        ours, another = ("127.0.0.1", port), ("127.0.0.1", other)
        found = reached(service, ours, ("127.0.0.2", port), another)
        assert "connected" == found.pop(f"127.0.0.1:{other}")
        assert {"PermissionError"} == set(found.values())
        assert f"port {port}" in service.wait_for("own_port_closed")["message"]
        assert 1 == service.count("own_port_closed")


def test_the_walls_hold_charms_from_the_page(tmp_path: Path) -> None:
    """Without walls the same charm reaches both: nothing but the walls holds it."""
    port = next(free_ports())
    flags = ("--sandbox=off", "--interval=3600", f"--listen=127.0.0.1:{port}")
    with Service(tmp_path / "data", *flags) as service:
        found = reached(service, ("127.0.0.1", port))
        assert {f"127.0.0.1:{port}", "socket"} == {
            one for one in found if found[one] == "connected"
        }


def test_a_port_of_api_url_on_this_machine_is_closed_too(tmp_path: Path) -> None:
    """Where a proxy stands before the service on this machine, its port leads to the service."""
    port = next(free_ports())
    flags = ("--sandbox=auto", "--interval=3600", "--listen=127.0.0.1:0")
    api_url = f"http://localhost:{port}"
    allowed = f"--charm-network={port}"
    with Service(tmp_path / "data", *flags, allowed, API_URL=api_url) as service:
        assert f"port {port}" in service.wait_for("own_port_closed")["message"]
