"""Opens sockets that are no TCP connections, and goes past what watches connections."""

import socket

from tests.hostile.charms.hostile import Hostile, ends

MPTCP, SCTP, ALG_FAMILY = 262, 132, 38
TCP_FASTOPEN_CONNECT, TCP_REPAIR, TCP_ULP = 30, 19, 31


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
    """TCP that the kernel does not take for TCP."""
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
    """TCP over several ways, which the rule for ports does not see."""
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
    """To the kernel's cryptography, an old way in."""
    return opened(ALG_FAMILY, socket.SOCK_SEQPACKET)


@ends("forbidden", "ermi")
def bus(charm: Hostile) -> object:
    """To the wires of a car."""
    return opened(socket.AF_CAN, socket.SOCK_RAW, 1)


@ends("forbidden", "ermi")
def pair_of_datagrams(charm: Hostile) -> object:
    """A pair, one end of which could be told to send elsewhere."""
    one, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    return one.sendto(b"x", charm.target["socket"])


@ends("forbidden", "ermi")
def open_with_data(charm: Hostile) -> object:
    """Data with the first packet: a connection without the call for it."""
    with socket.socket() as one:
        return one.sendto(
            b"GET / HTTP/1.0\r\n\r\n", socket.MSG_FASTOPEN, tuple(charm.target["other"])
        )


@ends("forbidden", "ermi")
def open_with_data_by_message(charm: Hostile) -> object:
    """The same by the other call, whose address lies in memory."""
    with socket.socket() as one:
        data = [b"GET / HTTP/1.0\r\n\r\n"]
        return one.sendmsg(data, [], socket.MSG_FASTOPEN, tuple(charm.target["other"]))


@ends("forbidden", "ermi")
def connect_later(charm: Hostile) -> object:
    """A connection that is made at the first data."""
    with socket.socket() as one:
        one.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
        one.connect(tuple(charm.target["other"]))
        return one.send(b"GET / HTTP/1.0\r\n\r\n")


@ends("forbidden", "ermi")
def repair(charm: Hostile) -> object:
    """A connection that is declared to be there."""
    with socket.socket() as one:
        one.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        one.connect(tuple(charm.target["other"]))
        return 1
