"""Workers behind walls: what they are born with, and how they resolve names."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bg_charm_service.domain.limits import Limits
from bg_charm_service.workers.pool.zygote_client import ZygoteClient
from bg_charm_service.workers.protocol.framing import FrameReader
from bg_charm_service.workers.protocol.messages import (
    FROM_WORKER,
    TO_WORKER,
    Answer,
    LogText,
    Ready,
    RunSpec,
    WorkerSettings,
)
from bg_charm_service.workers.protocol.start_tickets import TicketBox
from bg_charm_service.workers.runtime.data_limit import UNTOUCHED_BYTES
from bg_charm_service.workers.sandbox import Wall, landlock
from bg_charm_service.workers.sandbox.capabilities import give_up_gaining
from bg_charm_service.workers.sandbox.landlock import HeldPath, Ruleset
from tests.unit.walled import Place, attempt, missing_walls, place

CHARM = """
import os
import resource
import stat
from bg_charm_service import Charm

def kind(fd):
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return ""
    kinds = ((stat.S_ISSOCK, "socket"), (stat.S_ISFIFO, "pipe"), (stat.S_ISCHR, "device"))
    for is_kind, name in kinds:
        if is_kind(mode):
            return name
    if not stat.S_IFMT(mode):
        return "epoll"
    if stat.S_ISDIR(mode):
        is_list = os.path.samestat(os.fstat(fd), os.stat("/proc/self/task"))
        return "threads" if is_list else "something else"
    try:
        if os.path.samestat(os.fstat(fd), os.stat("/proc/thread-self/children")):
            return "children"
        return "account" if len(os.pread(fd, 256, 0).split()) == 7 else "something else"
    except OSError:
        # One that can only be named.
        names = ("maps", "cgroup", "status", "stat", "statm")
        own = (os.stat(f"/proc/self/{name}") for name in names)
        is_own = any(os.path.samestat(os.fstat(fd), one) for one in own)
        return "own file" if is_own else "something else"

class Asked(Charm):
    told: dict = {}

    def bg_updater(self, event):
        self.told = {"value": %s}
"""

#: A network of one's own, and mounts, so that names are resolved by a server of the test.
_NEW_NETWORK, _NEW_MOUNTS = 0x40000000, 0x00020000
_libc = ctypes.CDLL(None, use_errno=True)
_MS_BIND, _MS_PRIVATE, _MS_REC = 4096, 1 << 18, 16384


class Asker:
    """A zygote, and workers that each work one expression out."""

    def __init__(self, scratch: Path) -> None:
        self._client = ZygoteClient()
        self._scratch = scratch
        self._worker_no = 0
        #: Why the last worker asks to be replaced.
        self.leak = ""

    def ask(
        self,
        expression: str,
        limits: Limits | None = None,
        before: Callable[[], None] = lambda: None,
    ) -> Any:
        """Have a new worker work this out; gives the value, or what it said before it died.

        `before` is done when it is ready.
        """
        self._worker_no += 1
        lacks = tuple(map(str, missing_walls()))
        settings = WorkerSettings(str(self._scratch), has_walls=True, missing_walls=lacks)
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe()
        tickets = TicketBox()
        with ours, theirs, os.fdopen(reading, "rb") as said, closing(tickets):
            fds = [theirs.fileno(), writing, writing, tickets.their_fd]
            assert self._client.spawn(self._worker_no, settings, fds)
            theirs.close()
            os.close(writing)
            ours.settimeout(60)
            reader = FrameReader(ours, FROM_WORKER)
            if not isinstance(reader.read(), Ready):
                return said.read().decode()
            before()
            ours.sendall(TO_WORKER.encode(run_of(CHARM % expression, limits or Limits())))
            tickets.put([1])
            while isinstance(answer := reader.read(), LogText):
                continue
        assert isinstance(answer, Answer)
        self.leak = answer.leak
        if answer.failure is not None:
            return answer.failure.message
        return msgspec.json.decode(answer.writes["told"])["value"]

    def close(self) -> None:
        """End the zygote and its workers."""
        self._client.close()


def run_of(source: str, limits: Limits) -> RunSpec:
    """A run of a charm that has just been made."""
    return RunSpec(
        run_id="1.1",
        job_id=1,
        attempt=1,
        space="did:key:test",
        charm_id="asked",
        source_hash="hash",
        source=source,
        file_name="asked.py",
        class_name="Asked",
        stream="bgUpdater",
        event=b"{}",
        values={"told": b"{}"},
        large=(),
        links={},
        last_success=None,
        limits=limits,
    )


@pytest.fixture
def here() -> Iterator[Place]:
    """A place to try things in."""
    with place() as made:
        yield made


@pytest.fixture
def asker(here: Place) -> Iterator[Asker]:
    """A zygote of one's own."""
    made = Asker(here.scratch)
    yield made
    made.close()


def test_everything_temporary_lies_in_scratch(asker: Asker, here: Place) -> None:
    """Home, temporary files and the working directory are the one directory it may write."""
    told = asker.ask("[os.getcwd(), *(os.environ[n] for n in ('HOME', 'TMPDIR', 'TEMP', 'TMP'))]")
    temporary = asker.ask("__import__('tempfile').gettempdir()")

    assert [str(here.scratch)] * 5 == told
    assert str(here.scratch) == temporary


def test_nothing_is_left_open(asker: Asker) -> None:
    """A worker holds its own sockets, its output, and accounts of itself."""
    told = asker.ask("[kind(fd) for fd in range(64) if kind(fd)]")

    own = ["account", "threads", "children"] + ["own file"] * 5
    assert sorted(["device", "pipe", "pipe", "socket", "socket", *own]) == sorted(told)


def test_each_worker_has_chance_of_its_own(asker: Asker) -> None:
    """Workers that one process forked draw different random numbers."""
    drawn = [asker.ask("__import__('random').random()") for _ in range(3)]

    assert 3 == len(set(drawn))


def test_a_folder_that_was_replaced_is_read_by_new_workers(here: Place) -> None:
    """What may be read is held open between workers; what has taken its place counts for new ones.

    One that is not there may come, and one that was there may go.
    """
    if Wall.FILES in missing_walls():
        pytest.skip("this kernel has no wall around files")
    folder = here.scratch / "library"
    held = HeldPath(str(folder), landlock.READ)
    handled = landlock.file_rights()
    nothing = held.rule(handled)
    folder.mkdir()
    first = held.rule(handled), os.stat(folder).st_ino
    again = held.rule(handled)
    folder.rename(here.scratch / "older")
    folder.mkdir()
    (folder / "code").write_text("1")

    def read(_: Place) -> None:
        give_up_gaining()
        with closing(Ruleset(files=True)) as ruleset:
            ruleset.allow_paths([held])
            ruleset.enforce()
        (folder / "code").read_text()
        here.outside.joinpath("file").read_text()

    result = attempt(read, here, without=list(Wall))
    folder.rename(here.scratch / "newer")

    assert 0 == nothing
    assert first[0] == again != 0
    assert os.stat(here.scratch / "older").st_ino == first[1]
    assert "PermissionError" == result.error
    assert "outside" in result.text
    assert 0 == held.rule(handled)


def test_libraries_start_one_thread(asker: Asker) -> None:
    """What a library would start for each processor, it starts once, however many there are."""
    told = asker.ask(
        "sorted(n for n, v in os.environ.items() if n.endswith('THREADS') and v == '1')"
    )

    assert {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"} <= set(told)


def test_it_knows_its_own_memory_and_threads(asker: Asker) -> None:
    """Also where /proc cannot be opened any more."""
    own = "__import__('bg_charm_service.workers.protocol.processes').workers.protocol.processes"
    memory = asker.ask(f"{own}.own_memory_bytes()")
    threads = asker.ask(f"{own}.own_thread_count()")

    assert 1_000_000 < memory < 1_000_000_000
    assert 1 == threads


def test_it_still_dies_with_its_parent(asker: Asker) -> None:
    """Giving up privileges does not take back what ends a worker when the zygote is killed."""
    asked = "[(c := __import__('ctypes')).CDLL(None).prctl(2, c.byref(n := c.c_int())), n.value]"

    assert [0, signal.SIGKILL] == asker.ask(asked)


def test_limits_cannot_be_raised(asker: Asker) -> None:
    """What a worker is bound to is bound for good."""
    limits = Limits(memory_bytes=200 * 1024 * 1024, open_files=64, scratch_bytes=1024 * 1024)
    names = ("DATA", "NOFILE", "FSIZE")
    calls = [f"resource.getrlimit(resource.RLIMIT_{name})" for name in names]
    (soft, hard), *told = asker.ask(f"[{', '.join(calls)}]", limits)

    assert [[each, each] for each in (limits.open_files, limits.scratch_bytes)] == told
    # Beside what it may use: what is mapped and not touched, up to a bound.
    assert limits.memory_bytes <= soft < hard == limits.memory_bytes + UNTOUCHED_BYTES


def test_ports_are_those_of_the_run(asker: Asker) -> None:
    """A worker is bound to the ports of the first run it gets."""
    if Wall.NETWORK in missing_walls():
        pytest.skip(missing_walls()[Wall.NETWORK])
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connect = f"__import__('socket').create_connection(('127.0.0.1', {port})).close()"
        allowed = asker.ask(connect, Limits(ports=(port,)))
        refused = asker.ask(connect, Limits(ports=(53,)))

    assert allowed is None
    assert "PermissionError" in refused


def test_a_worker_without_its_walls_does_not_live(here: Place) -> None:
    """One whose walls cannot be raised says why and ends, before any charm is near."""
    if Wall.FILES in missing_walls():
        pytest.skip(missing_walls()[Wall.FILES])
    asker = Asker(Path(os.__file__).parent)
    said = asker.ask("1")
    asker.close()

    assert "which charms may read" in said
    assert "Traceback" not in said


def test_names_are_resolved_over_tcp(here: Place) -> None:
    """UDP is not allowed, so that the system's resolver asks by TCP, at port 53."""
    if os.getuid() != 0:
        pytest.skip("needs root, for a network of its own")

    def resolve(at: Place) -> str:
        with own_names(at.root / "resolv.conf"):
            asker = Asker(at.scratch)
            found = asker.ask("__import__('socket').gethostbyname('name.of.test')")
            asker.close()
        return str(found)

    result = attempt(resolve, here, without=list(Wall))
    if "Operation not permitted" in result.text:
        pytest.skip("this machine gives no network of one's own")

    assert "192.0.2.7" == result.value, result.text


def test_a_worker_with_old_settings_for_names_is_replaced(here: Place) -> None:
    """It can read the files of its start only: names would not be resolved for long."""
    if os.getuid() != 0:
        pytest.skip("needs root, for mounts of its own")
    if Wall.FILES in missing_walls():
        pytest.skip(missing_walls()[Wall.FILES])

    def resolve(at: Place) -> list[str]:
        with own_names(at.root / "resolv.conf"):
            asker = Asker(at.scratch)
            asker.ask("1")
            before = asker.leak
            asker.ask("1", before=lambda: change_names(at.root / "other.conf"))
            asker.close()
        return [before, asker.leak]

    result = attempt(resolve, here, without=list(Wall))
    if "Operation not permitted" in result.text:
        pytest.skip("this machine gives no mounts of one's own")

    assert ["", "old settings for names"] == result.value, result.text


@contextmanager
def own_names(settings: Path) -> Iterator[None]:
    """Leave this machine's network, and answer every question for a name by TCP only."""
    _check(_libc.unshare(_NEW_NETWORK | _NEW_MOUNTS))
    private = ctypes.c_ulong(_MS_REC | _MS_PRIVATE)
    _check(_libc.mount(b"none", b"/", None, private, None))
    change_names(settings)
    with socket.socket() as one:
        # Interface flags of lo: up and running.
        fcntl.ioctl(one, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))
    with socket.create_server(("127.0.0.1", 53)) as server:
        answering = threading.Thread(target=_answer_names, args=(server,), daemon=True)
        answering.start()
        yield


def change_names(settings: Path) -> None:
    """Put another file where this machine says how names are resolved."""
    settings.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    target = os.path.realpath("/etc/resolv.conf").encode()
    bind = ctypes.c_ulong(_MS_BIND)
    _check(_libc.mount(os.fsencode(settings), target, None, bind, None))


def _check(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _answer_names(server: socket.socket) -> None:
    while True:
        connection, _ = server.accept()
        with connection:
            while size := connection.recv(2):
                question = connection.recv(int.from_bytes(size))
                name_end = question.index(b"\0", 12) + 5
                is_address = question[name_end - 4 : name_end - 2] == b"\0\1"
                counts = bytes([0, 1, 0, is_address, 0, 0, 0, 0])
                record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\7" if is_address else b""
                answer = question[:2] + b"\x81\x80" + counts + question[12:name_end] + record
                connection.sendall(len(answer).to_bytes(2) + answer)
