"""Connects to where it must not: other ports, the service's page, API and socket."""

import socket
import ssl
import urllib.request

import httpx2

from tests.hostile.charms.hostile import Hostile, ends


def answer_of(charm: Hostile, address: tuple[str, int]) -> str:
    """Ask whoever listens there."""
    with socket.create_connection(address) as one:
        one.sendall(b"GET /api/status HTTP/1.0\r\n\r\n")
        return one.recv(1000).decode()


@ends("forbidden", "Permission denied")
def another_port(charm: Hostile) -> object:
    """A server of this machine."""
    return answer_of(charm, tuple(charm.target["other"]))


@ends("forbidden", "Permission denied")
def another_port_by_ipv6(charm: Hostile) -> object:
    """The same by the other kind of address."""
    return answer_of(charm, ("::1", charm.target["other"][1]))


@ends("forbidden", "Permission denied")
def another_port_by_a_mapped_address(charm: Hostile) -> object:
    """The same by an address of one kind written as the other."""
    return answer_of(charm, ("::ffff:127.0.0.1", charm.target["other"][1]))


@ends("forbidden", "Permission denied")
def page_and_api(charm: Hostile) -> object:
    """The service's own port."""
    return answer_of(charm, ("127.0.0.1", charm.target["port"]))


@ends("forbidden", "Permission denied")
def page_and_api_by_nowhere(charm: Hostile) -> object:
    """The same, by the address that means no address."""
    return answer_of(charm, ("0.0.0.0", charm.target["port"]))


@ends("forbidden", "Permission denied")
def page_and_api_with_a_client(charm: Hostile) -> object:
    """As an author would."""
    return httpx2.get(f"http://127.0.0.1:{charm.target['port']}/api/status").text


@ends("forbidden", "Permission denied")
def page_and_api_with_the_library(charm: Hostile) -> object:
    """As Python's library does, which wraps what it was told."""
    url = f"http://127.0.0.1:{charm.target['port']}/api/status"
    return urllib.request.urlopen(url).read(1000).decode()


@ends("forbidden", "ermi")
def socket_of_the_service(charm: Hostile) -> object:
    """The socket that the command line uses."""
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(charm.target["socket"])
        return one.getpeername()


@ends("forbidden", "ermi")
def socket_without_a_file(charm: Hostile) -> object:
    """A socket that has a name and no file."""
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(charm.target["abstract"])
        return one.getpeername()


@ends("forbidden", "Permission denied")
def database_server(charm: Hostile) -> object:
    """A port that the operator allowed to nobody."""
    return answer_of(charm, ("127.0.0.1", 5432))


@ends("forbidden", "Permission denied")
def with_encryption(charm: Hostile) -> object:
    """Within what nobody can look into."""
    context = ssl.create_default_context()
    host, port = charm.target["other"]
    with socket.create_connection((host, port)) as one:
        return context.wrap_socket(one, server_hostname=host).version()
