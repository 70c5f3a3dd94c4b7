"""Starts a process, by every call that there is for it."""

import ctypes
import multiprocessing
import os
import subprocess
import sys
import time

from tests.hostile.charms.hostile import LIBC, Hostile, call, checked, ends

SIGCHLD = 17
CLONE_VM, CLONE_SIGHAND, CLONE_NEWPID = 0x100, 0x800, 0x20000000

#: As high as a call's number can be; it means nothing to any kernel.
HIGHEST_NUMBER = 0x7FFFFFFF


def leave(pid: int) -> int:
    """End at once in the child; give its number in the parent."""
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


@ends("forbidden", "PermissionError")
def fork(charm: Hostile) -> object:
    """As Python does it."""
    return leave(os.fork())


@ends("forbidden", "PermissionError")
def fork_bomb(charm: Hostile) -> object:
    """Many at once; bounded, for where nothing holds it."""
    children = []
    for _ in range(50):
        pid = os.fork()
        if pid == 0:
            time.sleep(30)
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return len(children)


@ends("forbidden", "fork: Operation not permitted")
def raw_fork(charm: Hostile) -> object:
    """Past C's library."""
    return leave(call("fork"))


@ends("forbidden", "vfork: Operation not permitted")
def raw_vfork(charm: Hostile) -> object:
    """With the parent's memory."""
    return leave(call("vfork"))


@ends("forbidden", "clone: Operation not permitted")
def raw_clone(charm: Hostile) -> object:
    """As C's library does it."""
    return leave(call("clone", SIGCHLD, 0, 0, 0, 0))


@ends("forbidden", "clone: Operation not permitted")
def raw_clone_without_signal(charm: Hostile) -> object:
    """A child whose end tells nobody."""
    pid = call("clone", 0, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return pid


@ends("forbidden", "clone: Operation not permitted")
def raw_clone_into_a_namespace(charm: Hostile) -> object:
    """A child in a world of its own."""
    return leave(call("clone", CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0))


@ends("forbidden", "clone: Operation not permitted")
def raw_clone_that_shares_memory(charm: Hostile) -> object:
    """A child that is all but a thread."""
    return leave(call("clone", CLONE_VM | CLONE_SIGHAND | SIGCHLD, 0, 0, 0, 0))


@ends("error", "clone3: Function not implemented")
def raw_clone3(charm: Hostile) -> object:
    """By the newer call."""
    arguments = (ctypes.c_uint64 * 11)()
    arguments[4] = SIGCHLD
    return leave(call("clone3", ctypes.byref(arguments), ctypes.sizeof(arguments)))


@ends("signal", "SIGSYS")
def call_of_another_kind(charm: Hostile) -> object:
    """By a number that is none of this machine's own calls: the filter ends whoever tries any."""
    return checked("call of another kind", LIBC.syscall(HIGHEST_NUMBER))


@ends("forbidden", "PermissionError")
def posix_spawn(charm: Hostile) -> object:
    """By the library's own way."""
    return leave(os.posix_spawn("/bin/true", ["true"], {}))


@ends("forbidden", "PermissionError")
def run_a_program(charm: Hostile) -> object:
    """A program."""
    return subprocess.run(["/bin/true"], check=True).returncode


@ends("forbidden", "PermissionError")
def run_python(charm: Hostile) -> object:
    """Another Python."""
    return subprocess.run([sys.executable, "-c", ""], check=True).returncode


@ends("error", "RuntimeError: no shell was started")
def run_a_shell(charm: Hostile) -> object:
    """A shell; this tells by its answer, and raises nothing."""
    if os.system("true"):
        raise RuntimeError("no shell was started")
    return 0


@ends("forbidden", "PermissionError")
def multiprocess(charm: Hostile) -> object:
    """The way of Python's library for it."""
    process = multiprocessing.get_context("fork").Process(target=int)
    process.start()
    process.join()
    return process.exitcode


@ends("forbidden", "PermissionError")
def with_a_terminal(charm: Hostile) -> object:
    """A child with a terminal of its own."""
    pid, _ = os.forkpty()
    return leave(pid)


@ends("forbidden", "PermissionError")
def become_a_program(charm: Hostile) -> object:
    """No new process, but another program in this one."""
    return os.execv("/bin/true", ["true"])


@ends("forbidden", "execveat: Operation not permitted")
def become_a_program_by_a_descriptor(charm: Hostile) -> object:
    """The same by the other call; there is no program behind this descriptor."""
    return call("execveat", -1, b"", None, None, 0)
