"""Gains what it was not given: another user, capabilities, namespaces, ways into the kernel."""

import ctypes
import os
import resource
import socket
import time

from tests.hostile.charms.hostile import Hostile, call, ends, library

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
PR_CAPBSET_DROP, PR_SET_SECUREBITS, PR_SET_MM = 24, 28, 35
PERF_SIZE = 112


@ends("forbidden", "Operation not permitted")
def become_root(charm: Hostile) -> None:
    """The user who may do anything."""
    os.setuid(0)


@ends("forbidden", "Operation not permitted")
def become_somebody(charm: Hostile) -> None:
    """A user whose processes no limit of ours counts."""
    os.setresuid(4242, 4242, 4242)


@ends("forbidden", "Operation not permitted")
def join_a_group(charm: Hostile) -> None:
    """Files that a group may read."""
    os.setgroups([0])


@ends("forbidden", "Operation not permitted")
def become_a_group(charm: Hostile) -> None:
    """The same, by another call."""
    os.setgid(0)


@ends("forbidden", "capset: Operation not permitted")
def take_capabilities(charm: Hostile) -> object:
    """All that root may do, piece by piece."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 2, 0, *[0x1FF] * 2, 0)
    return library("capset", ctypes.byref(header), ctypes.byref(sets))


@ends("forbidden", "unshare: Operation not permitted")
def root_of_a_namespace(charm: Hostile) -> object:
    """A world in which it is root."""
    return call("unshare", CLONE_NEWUSER)


@ends("forbidden", "unshare: Operation not permitted")
def network_of_its_own(charm: Hostile) -> object:
    """A network of its own."""
    return call("unshare", CLONE_NEWNET)


@ends("forbidden", "ermi")
def namespace_of_the_service(charm: Hostile) -> object:
    """The world of another process."""
    fd = os.open(f"/proc/{charm.target['service']}/ns/net", os.O_RDONLY)
    return call("setns", fd, CLONE_NEWNET)


@ends("forbidden", "bpf: Operation not permitted")
def program_in_the_kernel(charm: Hostile) -> object:
    """Code that the kernel runs."""
    attributes = (ctypes.c_uint32 * 32)(2, 4, 4, 1)
    return call("bpf", 0, ctypes.byref(attributes), ctypes.sizeof(attributes))


@ends("forbidden", "perf_event_open: Operation not permitted")
def watch_the_processor(charm: Hostile) -> object:
    """What other processes compute."""
    attributes = (ctypes.c_uint32 * (PERF_SIZE // 4))(1, PERF_SIZE)
    return call("perf_event_open", ctypes.byref(attributes), 0, -1, -1, 0)


@ends("forbidden", "userfaultfd: Operation not permitted")
def handle_page_faults(charm: Hostile) -> object:
    """The handling of its own page faults."""
    return call("userfaultfd", 0)


@ends("forbidden", "io_uring_setup: Operation not permitted")
def ring_of_calls(charm: Hostile) -> object:
    """A queue of calls; one without room means nothing to the kernel."""
    return call("io_uring_setup", 0, None)


@ends("forbidden", "add_key: Operation not permitted")
def keep_a_key(charm: Hostile) -> object:
    """Data that the kernel keeps."""
    return call("add_key", b"user", b"planted", b"data", 4, -3)


@ends("forbidden", "init_module: Operation not permitted")
def load_a_driver(charm: Hostile) -> object:
    """A part of the kernel's own; this one is empty, and would be refused as that."""
    return call("init_module", ctypes.create_string_buffer(64), 64, b"")


@ends("forbidden", "kexec_load: Operation not permitted")
def load_a_kernel(charm: Hostile) -> object:
    """Another kernel; this call takes back one that was never loaded."""
    return call("kexec_load", 0, 0, None, 0)


@ends("forbidden", "reboot: Operation not permitted")
def restart_the_machine(charm: Hostile) -> object:
    """The call that does it, with numbers that mean nothing."""
    return call("reboot", 0, 0, 0, None)


@ends("forbidden", "ermi")
def set_the_clock(charm: Hostile) -> None:
    """Another time for everybody; this one is as good as right."""
    time.clock_settime(time.CLOCK_REALTIME, time.time())


@ends("forbidden", "ermi")
def rename_the_machine(charm: Hostile) -> None:
    """Another name for everybody; this one is the same."""
    socket.sethostname(socket.gethostname())


@ends("forbidden", "ermi")
def ports_of_the_machine(charm: Hostile) -> object:
    """The machine's own wires."""
    return library("iopl", 3)


@ends("error", "not allowed to raise")
def raise_a_limit(charm: Hostile) -> None:
    """More files than it was given."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))


@ends("error", "not allowed to raise")
def raise_memory(charm: Hostile) -> None:
    """More memory than it was given."""
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.setrlimit(resource.RLIMIT_DATA, unlimited)


@ends("forbidden", "prctl: ")
def change_its_own_map(charm: Hostile) -> object:
    """Where the kernel believes its memory to be."""
    return library("prctl", PR_SET_MM, 1, 0, 0, 0)


@ends("forbidden", "prctl: ")
def be_no_less_than_root(charm: Hostile) -> object:
    """Rules for what root is."""
    return library("prctl", PR_SET_SECUREBITS, 0, 0, 0, 0)
