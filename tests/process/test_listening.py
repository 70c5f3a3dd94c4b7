"""Where the service listens, and what it says when it cannot."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx2
import pytest

from tests.process.program import Program
from tests.process.running import DEFAULT_PORT, Service


def start_fails(folder: Path, *flags: str, api_url: str = "") -> str:
    """Start a service that must not run; gives the one line that it ends with."""
    service = Service(folder / "data", *flags, API_URL=api_url).boot()
    assert 1 == service.wait(), service.lines
    assert not (folder / "data" / "service.sock").exists()
    return service.errors.strip().splitlines()[-1]


def test_localhost_is_both_families(tmp_path: Path) -> None:
    """Whatever `localhost` means to a browser, it finds the service, on one port."""
    with Service(tmp_path / "data", "--listen=localhost:0", "--interval=3600") as service:
        url = str(service.wait_for("listening")["url"])
        port = url.rpartition(":")[2]
        for host in ("localhost", "127.0.0.1", "[::1]"):
            assert 200 == httpx2.get(f"http://{host}:{port}/api/status").status_code
        assert 0 == service.stop()


def test_the_address_of_the_original_is_the_default(tmp_path: Path) -> None:
    """API_URL says where to listen, as it did for the original; `--listen` wins over it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = start_fails(tmp_path, DEFAULT_PORT, api_url=f"http://localhost:{port}")
    assert f"port {port} is taken" in text
    assert "--listen=HOST:PORT" in text


def test_a_taken_port_stops_the_service(tmp_path: Path) -> None:
    """The line names the port and what to do, and the service ends."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = start_fails(tmp_path, f"--listen=127.0.0.1:{port}")
    assert text.startswith(f"Error: --listen=127.0.0.1:{port}: port {port} is taken")
    assert "--no-api" in text


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_host_elsewhere_is_refused(tmp_path: Path, host: str) -> None:
    """API_URL of another machine is refused with a pointer to `--listen`."""
    text = start_fails(tmp_path, DEFAULT_PORT, api_url=f"http://{host}:8000")
    assert f"{host} is not of this machine" in text
    assert "--listen=HOST:PORT" in text


def test_other_machines_need_a_token_first(tmp_path: Path) -> None:
    """No door is opened to other machines before somebody has a key; the line has the command."""
    text = start_fails(tmp_path, "--listen=0.0.0.0:0")
    command = f"bg-charm-service --data-dir {tmp_path / 'data'} token new --name NAME"
    assert command in text
    program = Program(tmp_path / "data")
    token = program.output("token", "new", "--name=first")
    with Service(tmp_path / "data", "--listen=0.0.0.0:0", "--interval=3600") as service:
        port = str(service.wait_for("listening")["url"]).rpartition(":")[2]
        url = f"http://{_own_address()}:{port}/api/status"
        assert 200 == httpx2.get(f"http://localhost:{port}/api/status").status_code
        headers = {"authorization": f"Bearer {token}"}
        assert 200 == httpx2.get(url, headers=headers).status_code


def test_commands_manage_a_service_elsewhere(tmp_path: Path) -> None:
    """With `--url` and `--token`, or the variables, commands go there, and to no directory."""
    with Service(tmp_path / "data", "--listen=localhost:0", "--interval=3600") as service:
        url = str(service.wait_for("listening")["url"])
        charm = service.add(cause="far")
        token = service.request("POST", "/api/tokens", {"name": "cli"})["token"]
        reader = service.request("POST", "/api/tokens", {"name": "r", "read_only": True})["token"]
        elsewhere = Program(tmp_path / "nothing")
        remote = (f"--url={url}", f"--token={token}")
        listed = elsewhere.value(*remote, "charm", "list")
        assert [charm.charm_id] == [each["charm_id"] for each in listed]
        elsewhere.output(*remote, "register", charm.ref)
        elsewhere.output(*remote, "charm", "disable", charm.ref)
        assert "cli" in elsewhere.output(*remote, "token", "list")
        assert "token cli" in elsewhere.output(*remote, "audit")
        by_environment = Program(tmp_path / "nothing", BG_CHARM_URL=url, BG_CHARM_TOKEN=str(reader))
        assert by_environment.value("status")["running"]
        assert "may not change" in by_environment.error("charm", "enable", charm.ref)
        assert "over its socket" in elsewhere.error(*remote, "open")
        assert "takes a credential" in elsewhere.error(f"--url={url}", "charm", "get", charm.ref)
        assert not (tmp_path / "nothing").exists()
    assert "cannot be reached" in elsewhere.error(*remote, "status")


def test_no_port_is_opened_when_none_is_wanted(tmp_path: Path) -> None:
    """With `--no-api` commands still reach the service by its socket, and there is no page."""
    with Service(tmp_path / "data", "--no-api", "--interval=3600") as service:
        assert service.status()["running"]
        assert 0 == service.count("listening")
        assert "listens on no port" in service.cli("open").stderr


def _own_address() -> str:
    """An address of this machine that is not loopback, where it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: this only asks by which address it would be.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
