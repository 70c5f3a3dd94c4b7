"""Signals, traces and holds down the service, the zygote and its neighbours."""

import ctypes
import fcntl
import os
import resource
import signal
import struct

from tests.hostile.charms.hostile import Hostile, call, ends, library

PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
F_SETOWN_EX, F_OWNER_PID = 15, 1
IOPRIO_WHO_PROCESS, IOPRIO_CLASS_IDLE = 1, 3 << 13
KCMP_FILE = 0


class Piece(ctypes.Structure):
    """A piece of memory."""

    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


@ends("forbidden", "Operation not permitted")
def kill_the_service(charm: Hostile) -> None:
    """The end of everything."""
    os.kill(charm.target["service"], signal.SIGKILL)


@ends("forbidden", "Operation not permitted")
def stop_the_service(charm: Hostile) -> None:
    """A service that lives and does nothing."""
    os.kill(charm.target["service"], signal.SIGSTOP)


@ends("forbidden", "Operation not permitted")
def ask_the_service_to_end(charm: Hostile) -> None:
    """As systemd would."""
    os.kill(charm.target["service"], signal.SIGTERM)


@ends("forbidden", "Operation not permitted")
def kill_the_zygote(charm: Hostile) -> None:
    """The end of all workers."""
    os.kill(os.getppid(), signal.SIGKILL)


@ends("forbidden", "Operation not permitted")
def stop_the_zygote(charm: Hostile) -> None:
    """No new worker any more."""
    os.kill(os.getppid(), signal.SIGSTOP)


@ends("forbidden", "Operation not permitted")
def kill_the_group_of_the_service(charm: Hostile) -> None:
    """The service and what was started with it."""
    os.killpg(charm.target["group"], signal.SIGKILL)


@ends("forbidden", "Operation not permitted")
def probe_for_processes(charm: Hostile) -> None:
    """No signal, but the news whether somebody is there."""
    os.kill(charm.target["service"], 0)


@ends("forbidden", "tgkill: Operation not permitted")
def kill_a_thread_of_the_service(charm: Hostile) -> object:
    """By the call for threads."""
    pid = charm.target["service"]
    return call("tgkill", pid, pid, signal.SIGKILL)


@ends("forbidden", "rt_tgsigqueueinfo: Operation not permitted")
def queue_a_signal(charm: Hostile) -> object:
    """By the call that sends a value along."""
    pid = charm.target["service"]
    info = (ctypes.c_int * 32)(signal.SIGKILL, 0, -1)
    return call("rt_tgsigqueueinfo", pid, pid, signal.SIGKILL, ctypes.byref(info))


@ends("forbidden", "Operation not permitted")
def kill_by_a_handle(charm: Hostile) -> None:
    """By a descriptor of a process."""
    handle = os.pidfd_open(charm.target["service"])
    signal.pidfd_send_signal(handle, signal.SIGKILL)


@ends("forbidden", "Operation not permitted")
def hold_a_process(charm: Hostile) -> object:
    """A descriptor of a process alone."""
    return os.pidfd_open(charm.target["service"])


@ends("forbidden", "Operation not permitted")
def take_a_descriptor(charm: Hostile) -> object:
    """The database itself, out of the service's hands."""
    handle = os.pidfd_open(charm.target["service"])
    return [call("pidfd_getfd", handle, fd, 0) for fd in range(3, 8)]


@ends("forbidden", "ermi")
def own_a_descriptor(charm: Hostile) -> object:
    """A descriptor that has an owner, whom signals may go to; here this very process."""
    return fcntl.fcntl(1, fcntl.F_SETOWN, os.getpid())


@ends("forbidden", "ermi")
def own_a_descriptor_by_the_newer_call(charm: Hostile) -> object:
    """The same, by the call that is newer."""
    return fcntl.fcntl(1, F_SETOWN_EX, struct.pack("ii", F_OWNER_PID, os.getpid()))


@ends("forbidden", "ptrace: Operation not permitted")
def trace_the_service(charm: Hostile) -> object:
    """As a debugger does."""
    return library("ptrace", PTRACE_SEIZE, charm.target["service"], 0, 0)


@ends("forbidden", "ptrace: Operation not permitted")
def trace_the_zygote(charm: Hostile) -> object:
    """Its parent."""
    return library("ptrace", PTRACE_SEIZE, os.getppid(), 0, 0)


@ends("forbidden", "process_vm_readv: Operation not permitted")
def read_memory(charm: Hostile) -> object:
    """The zygote's memory, without tracing it; here nothing of it."""
    buffer = ctypes.create_string_buffer(1)
    mine, theirs = Piece(ctypes.addressof(buffer), 1), Piece(None, 0)
    pid = os.getppid()
    return library("process_vm_readv", pid, ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0)


@ends("forbidden", "process_vm_writev: Operation not permitted")
def write_memory(charm: Hostile) -> object:
    """The same for writing."""
    buffer = ctypes.create_string_buffer(1)
    mine, theirs = Piece(ctypes.addressof(buffer), 1), Piece(None, 0)
    pid = os.getppid()
    return library("process_vm_writev", pid, ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0)


@ends("forbidden", "kcmp: Operation not permitted")
def compare_with_the_service(charm: Hostile) -> object:
    """What two processes have in common."""
    return call("kcmp", os.getpid(), charm.target["service"], KCMP_FILE, 0, 0)


@ends("forbidden", "Operation not permitted")
def limits_of_the_service(charm: Hostile) -> object:
    """How many files the service may have open."""
    limits = resource.prlimit(charm.target["service"], resource.RLIMIT_CORE)
    return resource.prlimit(charm.target["service"], resource.RLIMIT_CORE, limits)


@ends("forbidden", "Operation not permitted")
def limits_of_the_zygote(charm: Hostile) -> object:
    """What each later worker would start with."""
    limits = resource.prlimit(os.getppid(), resource.RLIMIT_CORE)
    return resource.prlimit(os.getppid(), resource.RLIMIT_CORE, limits)


@ends("forbidden", "ermi")
def priority_of_the_service(charm: Hostile) -> None:
    """A service that comes last."""
    pid = charm.target["service"]
    os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid))


@ends("forbidden", "ermi")
def priority_of_its_own(charm: Hostile) -> None:
    """A charm that comes first."""
    os.setpriority(os.PRIO_PROCESS, 0, -10)


@ends("forbidden", "ermi")
def priority_before_all(charm: Hostile) -> None:
    """A charm that nothing interrupts."""
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


@ends("forbidden", "ermi")
def processors_of_the_service(charm: Hostile) -> None:
    """A service on a processor that is always busy."""
    pid = charm.target["service"]
    os.sched_setaffinity(pid, os.sched_getaffinity(pid))


@ends("forbidden", "ioprio_set: Operation not permitted")
def disk_of_the_service(charm: Hostile) -> object:
    """A service whose disk comes last."""
    return call("ioprio_set", IOPRIO_WHO_PROCESS, charm.target["service"], IOPRIO_CLASS_IDLE)
