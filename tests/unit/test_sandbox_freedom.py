"""What charms may still do behind the walls: what ordinary libraries are used to."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import shutil
import signal
import socket
import socketserver
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from importlib import import_module
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel

from tests.unit.walled import Place, attempt, missing_walls, place

#: Modules that nothing here has imported when a process goes behind the walls.
LATE_MODULES = ("colorsys", "plistlib", "tomllib", "uuid", "feedparser", "nacl.secret")


@pytest.fixture
def here() -> Iterator[Place]:
    """A place to try things in."""
    with place() as made:
        yield made


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A port that sends back the first bytes it gets."""

    class Echo(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(self.request.recv(64))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        yield server.server_address[1]
        server.shutdown()
        serving.join()


def run(*arguments: object, ports: tuple[int, ...] = ()) -> object:
    """Do something behind the walls; gives its value, fails with its error."""
    action, where = arguments
    result = attempt(action, where, without=missing_walls(), ports=ports)  # type: ignore[arg-type]
    assert ("", 0) == (result.error, result.signal), result.text
    return result.value


def test_threads(here: Place) -> None:
    """Threads of Python's, alone and in a pool."""

    def work(_: Place) -> list[int]:
        with ThreadPoolExecutor(4) as threads:
            return list(threads.map(abs, range(-3, 0)))

    assert [3, 2, 1] == run(work, here)


def test_an_event_loop(here: Place, echo_port: int) -> None:
    """asyncio, with threads of its own and connections to an allowed port."""

    async def talk() -> str:
        await asyncio.to_thread(abs, -1)
        reader, writer = await asyncio.open_connection("127.0.0.1", echo_port)
        writer.write(b"hello")
        answer = await reader.read(64)
        writer.close()
        return answer.decode()

    assert "hello" == run(lambda _: asyncio.run(talk()), here, ports=(echo_port,))


def test_databases(here: Place) -> None:
    """SQLite in memory, and in a file of the scratch directory with a log beside it."""

    def work(at: Place) -> int:
        total = 0
        for path in (":memory:", str(at.scratch / "mine.db")):
            database = sqlite3.connect(path)
            database.execute("PRAGMA journal_mode = wal")
            database.execute("CREATE TABLE numbers (number)")
            database.executemany("INSERT INTO numbers VALUES (?)", [(1,), (2,)])
            database.commit()
            total += database.execute("SELECT sum(number) FROM numbers").fetchone()[0]
            database.close()
        return total

    assert 6 == run(work, here)


def test_temporary_files(here: Place) -> None:
    """Files with and without a name, and trees that are written, moved and removed."""

    def work(at: Place) -> list[str]:
        with tempfile.TemporaryFile(dir=at.scratch) as nameless:
            nameless.write(b"x")
        with tempfile.TemporaryDirectory(dir=at.scratch) as folder:
            inner = Path(folder, "a", "b")
            inner.mkdir(parents=True)
            (inner / "file").write_text("text")
            shutil.move(inner / "file", Path(folder, "moved"))
            shutil.copyfile(Path(folder, "moved"), at.scratch / "kept")
        with (at.scratch / "kept").open("r+") as kept:
            kept.truncate(2)
        return sorted(f"{path.name}: {path.read_text()}" for path in at.scratch.iterdir())

    assert ["kept: te"] == run(work, here)


def test_copies_of_files(here: Place) -> None:
    """What copies a file with mode, times and attributes is not told that it cannot."""

    def work(at: Place) -> list[str]:
        (at.scratch / "tree").mkdir()
        (at.scratch / "tree" / "file").write_text("text")
        shutil.copytree(at.scratch / "tree", at.scratch / "copy")
        shutil.copy(at.scratch / "tree" / "file", at.scratch / "copy" / "one")
        shutil.copy2(at.scratch / "tree" / "file", at.scratch / "copy" / "other")
        return sorted(path.name for path in (at.scratch / "copy").iterdir())

    assert ["file", "one", "other"] == run(work, here)


@pytest.mark.parametrize("name", ["scratch", "file"])
def test_modes_and_times_stay(here: Place, name: str) -> None:
    """A change of a mode or of times is answered as done and changes nothing, anywhere."""
    path: Path = getattr(here, name)
    before = path.stat()

    def work(_: Place) -> None:
        path.chmod(0o777)
        os.utime(path, (1, 1))
        os.utime(path, (1, 1), follow_symlinks=False)

    run(work, here)

    after = path.stat()
    assert (before.st_mode, before.st_mtime_ns) == (after.st_mode, after.st_mtime_ns)


@pytest.mark.parametrize(
    "path",
    [
        *("/proc/self/maps", "/proc/self/cgroup", "/proc/self/status", "/proc/self/statm"),
        *("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/sys/devices/system/cpu/online"),
    ],
)
def test_facts_of_the_machine_and_of_itself(here: Place, path: str) -> None:
    """What libraries look up when they are loaded can be read."""
    if not Path(path).exists():
        pytest.skip(f"{path} is not here")

    assert run(lambda _: len(Path(path).read_text()), here)


def test_facts_outlive_the_cache_of_the_kernel(here: Place) -> None:
    """They can still be read once the kernel has forgotten every file that nobody has open."""
    forget = Path("/proc/sys/vm/drop_caches")
    if not os.access(forget, os.W_OK):
        pytest.skip("the kernel's cache cannot be emptied by this user")
    with forget.open("wb", buffering=0) as opened:

        def work(_: Place) -> int:
            os.write(opened.fileno(), b"2")
            return len(Path("/proc/self/maps").read_text()) + len(Path("/proc/meminfo").read_text())

        assert run(work, here)


def test_where_links_lead(here: Place) -> None:
    """No wall hides where a symbolic link leads, as docs/security.md says; only what lies there."""
    link = here.outside / "link"
    link.symlink_to(here.file)

    assert str(here.file) == run(lambda _: os.readlink(link), here)


def test_room_in_a_file(here: Place) -> None:
    """A library that makes room in a file before it writes gets it, by writing."""

    def work(at: Place) -> list[int | bool]:
        with (at.scratch / "file").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 1 << 20)
            found = os.fstat(file.fileno())
        return [found.st_size, found.st_blocks * 512 >= 1 << 20]

    assert [1 << 20, True] == run(work, here)


def test_the_null_device(here: Place) -> None:
    """What is not wanted can be thrown away, and chance is to be had."""

    def work(_: Place) -> int:
        with open(os.devnull, "r+b") as null:
            null.write(b"x")
        with open("/dev/urandom", "rb") as chance:
            return len(chance.read(8))

    assert 8 == run(work, here)


def test_libraries(here: Place) -> None:
    """Modules that were never imported before, of the standard library and others."""
    late = [name for name in LATE_MODULES if name not in sys.modules]

    def work(_: Place) -> list[str]:
        return [import_module(name).__name__ for name in late]

    assert late == run(work, here)
    assert late


def test_values_and_time(here: Place) -> None:
    """Models, times of other places, and a look at the machine."""

    class Point(BaseModel):
        x: int

    def work(_: Place) -> tuple[int, str | None, bool]:
        there = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("America/Lima"))
        return Point.model_validate({"x": "1"}).x, there.tzname(), (os.cpu_count() or 0) > 0

    assert [1, "-05", True] == run(work, here)


def test_calls_from_c(here: Place) -> None:
    """A function of Python's can be called by a library of C."""
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)

    def work(_: Place) -> list[int]:
        numbers = (ctypes.c_int * 3)(3, 1, 2)

        def compare(one: int, other: int) -> int:
            read = ctypes.c_int.from_address
            return read(one).value - read(other).value

        ctypes.CDLL(None).qsort(numbers, 3, 4, kind(compare))
        return list(numbers)

    assert [1, 2, 3] == run(work, here)


def test_certificates_are_checked(here: Place) -> None:
    """Connections can be encrypted, and whom to trust is known."""

    def work(_: Place) -> int:
        return len(ssl.create_default_context().get_ca_certs())

    if not ssl.create_default_context().get_ca_certs():
        pytest.skip("no certificates installed here")
    assert run(work, here)


def test_names(here: Place) -> None:
    """The names of this machine are known."""
    addresses = run(lambda _: socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM), here)

    assert addresses


@pytest.mark.parametrize(
    "start",
    [
        lambda _: subprocess.run(["true"], check=True),
        lambda _: multiprocessing.get_context("fork").Process(target=print).start(),
        lambda _: multiprocessing.get_context("spawn").Process(target=print).start(),
        lambda _: asyncio.run(asyncio.create_subprocess_exec("true")),
    ],
    ids=["subprocess", "fork", "spawn", "asyncio"],
)
def test_programs_fail_as_errors(start: object, here: Place) -> None:
    """Whoever starts a process is told so; nothing hangs and nothing dies."""
    result = attempt(start, here, without=missing_walls())  # type: ignore[arg-type]

    assert "PermissionError" == result.error, result


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGKILL, signal.SIGSEGV])
def test_a_process_may_end_itself(number: signal.Signals, here: Place) -> None:
    """By the signal that it chose: that is how a crash says what it was."""
    result = attempt(lambda _: os.kill(os.getpid(), number), here, without=missing_walls())

    assert number == result.signal


def test_abort_ends_by_its_signal(here: Place) -> None:
    """A library that gives up is seen as what it is."""
    assert signal.SIGABRT == attempt(lambda _: os.abort(), here, without=missing_walls()).signal
