"""Opens more than it may have open."""

import os
import select
import socket
import tempfile

from tests.hostile.charms.hostile import Hostile, ends

#: More than the limit; few enough for a machine on which nothing holds it.
MANY = 600


@ends("files", "Too many open files")
def files(charm: Hostile) -> object:
    """The same file, again and again."""
    return [os.open("/dev/null", os.O_RDONLY) for _ in range(MANY)]


@ends("files", "Too many open files")
def pipes(charm: Hostile) -> object:
    """Pipes."""
    return [os.pipe() for _ in range(MANY)]


@ends("files", "Too many open files")
def sockets(charm: Hostile) -> object:
    """Connections that go nowhere."""
    return len([socket.socket() for _ in range(MANY)])


@ends("files", "Too many open files")
def pairs(charm: Hostile) -> object:
    """Pairs of sockets."""
    return len([socket.socketpair() for _ in range(MANY)])


@ends("files", "Too many open files")
def copies(charm: Hostile) -> object:
    """One descriptor, many times."""
    return [os.dup(1) for _ in range(MANY)]


@ends("files", "Too many open files")
def pollers(charm: Hostile) -> object:
    """Descriptors that are no files at all."""
    return len([select.epoll() for _ in range(MANY)])


@ends("files", "Too many open files")
def temporary_files(charm: Hostile) -> object:
    """Files without names in its own directory."""
    return len([tempfile.TemporaryFile() for _ in range(MANY)])
