"""Opens sockets that are no TCP connections, and asks more of those that are."""

import contextlib
import socket

from tests.hostile.charms.hostile import Hostile, ends

MPTCP, SCTP, ALG_FAMILY = 262, 132, 38
SO_MARK = 36

#: More than TCP has, by number.
OPTIONS = range(1, 64)


def opened(*kind: int) -> str:
    """Open a socket, and close it again."""
    with socket.socket(*kind) as one:
        return str(one.family)


@ends("forbidden", "ermi")
def unix(charm: Hostile) -> object:
    """To programs of this machine."""
    return opened(socket.AF_UNIX, socket.SOCK_STREAM)


@ends("forbidden", "ermi")
def unix_datagrams(charm: Hostile) -> object:
    """To the machine's log."""
    return opened(socket.AF_UNIX, socket.SOCK_DGRAM)


@ends("forbidden", "ermi")
def udp(charm: Hostile) -> object:
    """Without a connection, to any port."""
    return opened(socket.AF_INET, socket.SOCK_DGRAM)


@ends("forbidden", "ermi")
def udp_by_ipv6(charm: Hostile) -> object:
    """The same for the other kind of address."""
    return opened(socket.AF_INET6, socket.SOCK_DGRAM)


@ends("forbidden", "ermi")
def ping(charm: Hostile) -> object:
    """To ask who is there."""
    return opened(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)


@ends("forbidden", "ermi")
def raw(charm: Hostile) -> object:
    """With headers of its own making."""
    return opened(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)


@ends("forbidden", "ermi")
def raw_tcp(charm: Hostile) -> object:
    """The same for TCP."""
    return opened(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)


@ends("forbidden", "ermi")
def packets(charm: Hostile) -> object:
    """All that goes over the wire."""
    return opened(socket.AF_PACKET, socket.SOCK_RAW, 0x0300)


@ends("forbidden", "ermi")
def netlink(charm: Hostile) -> object:
    """To the kernel's own tables."""
    return opened(socket.AF_NETLINK, socket.SOCK_RAW, 0)


@ends("forbidden", "ermi")
def multipath(charm: Hostile) -> object:
    """A stream over several ways."""
    return opened(socket.AF_INET, socket.SOCK_STREAM, MPTCP)


@ends("forbidden", "ermi")
def sctp(charm: Hostile) -> object:
    """A stream that is not TCP."""
    return opened(socket.AF_INET, socket.SOCK_STREAM, SCTP)


@ends("forbidden", "ermi")
def sequenced_packets(charm: Hostile) -> object:
    """A kind between stream and datagram."""
    return opened(socket.AF_INET, socket.SOCK_SEQPACKET, SCTP)


@ends("forbidden", "ermi")
def host_of_this_machine(charm: Hostile) -> object:
    """To the machine that this one runs in."""
    return opened(socket.AF_VSOCK, socket.SOCK_STREAM)


@ends("forbidden", "ermi")
def cipher_of_the_kernel(charm: Hostile) -> object:
    """To the kernel's cryptography."""
    return opened(ALG_FAMILY, socket.SOCK_SEQPACKET)


@ends("forbidden", "ermi")
def bus(charm: Hostile) -> object:
    """To the wires of a car."""
    return opened(socket.AF_CAN, socket.SOCK_RAW, 1)


@ends("forbidden", "ermi")
def pair_of_datagrams(charm: Hostile) -> object:
    """A pair that sends datagrams."""
    for one in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM):
        one.close()
    return 1


@ends("forbidden", "ermi")
def refused_flag(charm: Hostile) -> object:
    """A flag of sending that the filter refuses; between two ends of its own it means nothing."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        return ours.send(b"x", socket.MSG_FASTOPEN)


@ends("forbidden", "ermi")
def refused_flag_of_a_message(charm: Hostile) -> object:
    """The same by the other call."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        return ours.sendmsg([b"x"], [], socket.MSG_FASTOPEN)


@ends("forbidden", "ermi")
def connect_with_any_option(charm: Hostile) -> object:
    """A connection to another port, with each option that TCP may have: all are refused."""
    refused = PermissionError()
    for option in OPTIONS:
        with socket.socket() as one:
            with contextlib.suppress(OSError):
                one.setsockopt(socket.IPPROTO_TCP, option, 1)
            try:
                one.connect(tuple(charm.target["other"]))
            except PermissionError as error:
                refused = error
            else:
                return option
    raise refused


@ends("forbidden", "ermi")
def option_of_the_privileged(charm: Hostile) -> object:
    """A mark on what it sends, as routers set it: an option that asks for privileges."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, SO_MARK, 1)
    return 1
