"""Connects to where everybody may, though its class said that it would not."""

import socket

from tests.hostile.charms.hostile import Hostile, ends

Hostile.network = False


@ends("forbidden", "Permission denied")
def allowed_port(charm: Hostile) -> object:
    """A port that the operator allows to all charms."""
    with socket.create_connection(tuple(charm.target["allowed"])) as one:
        return one.recv(100).decode()


@ends("forbidden", "Permission denied")
def name_server(charm: Hostile) -> object:
    """A name to be found."""
    with socket.create_connection(("127.0.0.1", 53)) as one:
        return one.recv(100).decode()
