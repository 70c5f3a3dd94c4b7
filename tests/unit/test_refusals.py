"""What is said of a refusal: which wall it was, found by what really refuses, and what to do."""

from __future__ import annotations

import asyncio
import errno
import mmap
import multiprocessing
import os
import pty
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.limits import Limits
from bg_charm_service.domain.outcomes.refusals import Refusal, RefusalKind, quoted, told
from bg_charm_service.workers.runtime.failure_report import one_line, refused
from bg_charm_service.workers.runtime.host_watch import HOSTS, HostWatch
from bg_charm_service.workers.runtime.refusals import Surroundings, hidden_refusals
from bg_charm_service.workers.sandbox import Wall
from tests.unit.test_failure_report import BEHIND, by_the_system
from tests.unit.walled import Place, attempt, missing_walls, place

#: Landlock lets connections to these through, and the limits name these: 443 is open to both.
OPEN, LIMITS = (53, 80, 443), Limits(ports=(53, 80, 443, 8443))

Kind = RefusalKind


@pytest.fixture
def here() -> Iterator[Place]:
    """A place to try things in, where all walls can be had."""
    if missing_walls():
        pytest.skip(f"not all walls can be had here: {missing_walls()}")
    with place() as made:
        yield made


def connect(_: Place, port: int = 5432) -> None:
    """Connect to a port, over TCP."""
    with socket.create_connection(("127.0.0.1", port), 2):
        pass


def connect_async(_: Place) -> None:
    """The same by asyncio."""
    asyncio.run(asyncio.open_connection("127.0.0.1", 5432))


def listen(_: Place) -> None:
    """Take a port; the standard library raises that anew, with words of its own."""
    socket.create_server(("127.0.0.1", 0)).close()


def listen_async(_: Place) -> None:
    """The same by asyncio."""

    async def serve() -> None:
        await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)

    asyncio.run(serve())


def run_async(_: Place) -> None:
    """Start a program by asyncio."""
    asyncio.run(asyncio.create_subprocess_exec("ls", "-l"))


def open_terminal(_: Place) -> None:
    """Open a terminal for a program, as those do who start one: nothing says why it fails."""
    pty.openpty()


def symlink(where: Place) -> None:
    """What no path explains: a link in the own scratch directory."""
    (where.scratch / "link").symlink_to("elsewhere")


#: What is tried behind the walls, and what is said to have refused it.
DEEDS: list[tuple[Callable[[Place], object], Refusal]] = [
    (connect, Refusal(Kind.PORT, 5432)),
    (connect_async, Refusal(Kind.PORT, 5432)),
    (listen, Refusal(Kind.LISTEN)),
    (listen_async, Refusal(Kind.LISTEN)),
    (lambda _: socket.socket(socket.AF_INET, socket.SOCK_DGRAM), Refusal(Kind.UDP)),
    (lambda _: socket.socket(socket.AF_UNIX), Refusal(Kind.UNIX)),
    (lambda _: socket.socket(socket.AF_INET, socket.SOCK_RAW), Refusal(Kind.SOCKET)),
    (lambda _: subprocess.run(["ls", "-l"]), Refusal(Kind.PROGRAM, subject="ls")),
    (lambda _: os.popen("ls -l"), Refusal(Kind.PROGRAM, subject="ls")),  # noqa: S605
    (lambda _: os.posix_spawn("/bin/ls", ["ls"], {}), Refusal(Kind.PROGRAM, subject="/bin/ls")),
    (run_async, Refusal(Kind.PROGRAM, subject="ls")),
    (open_terminal, Refusal(Kind.PROGRAM)),
    (lambda _: os.fork(), Refusal(Kind.PROCESS)),
    (lambda _: multiprocessing.get_context("fork").Process().start(), Refusal(Kind.PROCESS)),
    (lambda _: multiprocessing.Queue(), Refusal(Kind.LOCK)),
    (lambda _: ThreadPool(2), Refusal(Kind.LOCK)),
    (lambda _: ProcessPoolExecutor(2), Refusal(Kind.LOCK)),
    (lambda _: mmap.mmap(-1, 4096), Refusal(Kind.MEMORY)),
    (lambda _: os.kill(1, 0), Refusal(Kind.SIGNAL)),
    (lambda _: os.setpriority(os.PRIO_PROCESS, 0, 5), Refusal(Kind.CALL)),
    (symlink, Refusal(Kind.CALL)),
    (lambda _: Path("/etc/passwd").read_text(), Refusal(Kind.FILE, subject="/etc/passwd")),
    (lambda _: os.listdir("/var/log"), Refusal(Kind.FILE, subject="/var/log")),
    (lambda _: Path("/proc/1/ns/net").read_bytes(), Refusal(Kind.FILE, subject="/proc/1/ns/net")),
    (lambda _: connect(_, 8443), Refusal(Kind.FIREWALL, 8443)),
]


def refused_there(
    deed: Callable[[Place], object], where: Place
) -> tuple[str, dict[str, Any] | None, list[dict[str, Any]]]:
    """Try something behind the walls: the cause, what refused it, and what else was refused."""

    def tried(where: Place) -> object:
        around = Surroundings(frozenset(Wall), str(where.scratch))
        HOSTS.install()
        HOSTS.begin()
        cause, refusal = FailureCause.ERROR, None
        try:
            deed(where)
        except BaseException as error:
            cause, refusal = refused(error, LIMITS, HOSTS, around)
        hidden = hidden_refusals(refusal, LIMITS, HOSTS, around)
        return str(cause), _plain(refusal), list(map(_plain, hidden))

    result = attempt(tried, where, ports=OPEN)
    assert result.value is not None, result
    cause, refusal, hidden = result.value
    return cause, refusal, hidden


def _plain(refusal: Refusal | None) -> dict[str, Any] | None:
    if refusal is None:
        return None
    return {"kind": str(refusal.kind), "port": refusal.port, "subject": refusal.subject}


@pytest.mark.parametrize(("deed", "expected"), DEEDS)
def test_what_refused_it_is_found(
    here: Place, deed: Callable[[Place], object], expected: Refusal
) -> None:
    """The wall is named that the very call ran into, with its port, program or path."""
    cause, found, _ = refused_there(deed, here)
    assert _plain(expected) == found
    assert ("forbidden" if expected.kind.is_wall else "error") == cause


def test_file_outside_of_scratch_is_named(here: Place) -> None:
    """Reading and writing are closed by the same wall, and a database says so in other words."""
    for deed in (
        lambda where: where.file.read_text(),
        lambda where: where.file.write_text("x"),
        lambda where: sqlite3.connect(where.file).execute("create table a (b)"),
    ):
        cause, found, _ = refused_there(deed, here)
        assert ("forbidden", str(here.file)) == (cause, found and found["subject"])


def test_what_no_exception_shows_is_remembered(here: Place) -> None:
    """A command gives but a number back, and a library may pass over what it caught."""

    def deed(where: Place) -> None:
        os.system("convert a.png b.png")  # noqa: S605 - it is to be refused
        for call in (connect, lambda _: subprocess.run(["git", "log"])):
            try:
                call(where)
            except OSError:
                continue
        with socket.socket() as one:
            one.settimeout(1)
            # It is open: nobody refused anything.
            one.connect_ex(("127.0.0.1", 443))

    _, _, hidden = refused_there(deed, here)
    programs = [Refusal(Kind.PROGRAM, subject=name) for name in ("convert", "git")]
    expected = [programs[0], Refusal(Kind.PORT, 5432), programs[1]]
    assert list(map(_plain, expected)) == hidden


def test_what_the_failure_says_is_not_said_again(here: Place) -> None:
    """The refusal that a run failed by stands in its error alone."""
    _, found, hidden = refused_there(connect, here)
    assert found is not None
    assert [] == hidden


def test_standard_library_may_look_for_programs(here: Place) -> None:
    """What it can do without is no news for whoever reads the log of a run."""
    asking: dict[str, Any] = {"__name__": "platform", "subprocess": subprocess}
    exec("def ask():\n    try: subprocess.run(['uname'])\n    except OSError: pass", asking)
    assert [] == refused_there(lambda _: asking["ask"](), here)[2]


def test_file_that_its_user_may_not_read_is_no_walls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that is closed to the service's user too is told as that."""
    error = by_the_system(PermissionError(errno.EACCES, "Permission denied", asyncio.__file__))
    assert Refusal(Kind.FILE, subject=asyncio.__file__) == said(error)
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = refused(error, LIMITS, HostWatch(), BEHIND)
    assert (FailureCause.ERROR, Refusal(Kind.PERMISSION, subject=asyncio.__file__)) == found


class Database(Exception):
    """An error of a library in C: nothing but words."""


class NoServer(Exception):
    """An error that keeps what it comes from for itself, as dnspython's and pymongo's do."""

    def __init__(self, **kept: object) -> None:
        super().__init__("no server answered")
        self.kept = kept


DENIED = 'connection to server at "127.0.0.1", port 5432 failed: Permission denied'
NO_UDP = PermissionError(errno.EPERM, "Operation not permitted")


def said(error: BaseException, hosts: HostWatch | None = None) -> Refusal | None:
    """What is found out about an error that was only told of."""
    return refused(error, LIMITS, hosts or HostWatch(), BEHIND)[1]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        # psycopg, pymongo, a library in Rust
        (Database(DENIED), Refusal(Kind.PORT, 5432)),
        (
            Database("db:27017: [Errno 13] Permission denied, Timeout: 1s"),
            Refusal(Kind.PORT, 27017),
        ),
        (Database("[::1]:6379: Permission denied (os error 13)"), Refusal(Kind.PORT, 6379)),
        # DuckDB
        (
            Database('IO Error: Cannot open file "/etc/passwd": Permission denied'),
            Refusal(Kind.FILE, subject="/etc/passwd"),
        ),
        (
            Database('IO Error: Cannot open file "/var/tmp/new.csv": Permission denied'),
            Refusal(Kind.FILE, subject="/var/tmp/new.csv"),
        ),
        # dnspython
        (NoServer(errors=[("Do53", False, 53, NO_UDP, None)]), Refusal(Kind.CALL)),
        (NoServer(errors={"a": {"b": NO_UDP}}), Refusal(Kind.CALL)),
        # No walls of ours: the port is open, the file is not here, a server says it of its own.
        (Database("connection to port 443 failed: Permission denied"), None),
        (Database('"/no/such/folder/file": Permission denied'), None),
        (Database("port 5432: Connection refused"), None),
        (Database("port 99999: Permission denied"), None),
        (Database("db.example.org: Permission denied (publickey)"), None),
    ],
)
def test_words_have_to_name_what_a_wall_refuses(error: Exception, expected: Refusal | None) -> None:
    """A library's own words count where they name a port or a path that is closed."""
    assert expected == said(error)


def test_udp_that_a_library_keeps_for_itself_is_found(here: Place) -> None:
    """The very call is known also where its error is among the values of another."""

    def deed(_: Place) -> None:
        try:
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        except OSError as error:
            raise NoServer(errors=[("Do53:127.0.0.1@53", False, error)]) from None

    cause, found, _ = refused_there(deed, here)
    assert ("forbidden", _plain(Refusal(Kind.UDP))) == (cause, found)


def test_servers_own_files_are_not_ours() -> None:
    """What a database says of its own files has a state of SQL, and is no wall."""
    error = Database('could not open file "/etc/passwd" for reading: Permission denied')
    error.sqlstate = "42501"  # type: ignore[attr-defined]
    assert said(error) is None


def test_names_need_their_port() -> None:
    """Without port 53 no name is found, whatever a library calls that."""
    without = Limits(ports=(443,))
    for error in (
        by_the_system(socket.gaierror(socket.EAI_AGAIN, "Temporary failure")),
        Database("could not translate host name: Temporary failure in name resolution"),
    ):
        found = refused(error, without, HostWatch(), BEHIND)
        assert (FailureCause.FORBIDDEN, Refusal(Kind.NAMES, 53)) == found
        assert said(error) is None


def library(source: str) -> dict[str, Any]:
    """A module of a library that is installed."""
    module: dict[str, Any] = {"__name__": "remote"}
    exec(compile(source, "/lib/site-packages/remote.py", "exec"), module)
    return module


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES])
def test_remote_files_are_not_ours(number: int) -> None:
    """A library that gives what a server refused a number of the system's means no wall."""
    awaiting = library("async def read(answer):\n    return await answer")

    async def read() -> None:
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        answer.set_exception(PermissionError(number, "Permission denied", "/remote/file"))
        await awaiting["read"](answer)

    with pytest.raises(PermissionError) as caught:
        asyncio.run(read())
    assert said(caught.value) is None


def test_walls_that_do_not_stand_refuse_nothing() -> None:
    """Where a machine has no wall of the network, no port is closed by it."""
    standing = Surroundings(frozenset(Wall) - {Wall.NETWORK}, "/nowhere/scratch")
    found = refused(Database(DENIED), LIMITS, HostWatch(), standing)
    assert (FailureCause.ERROR, None) == found


def test_every_refusal_has_words() -> None:
    """Each kind says what it is, and leaves no place open."""
    for kind in RefusalKind:
        for subject in ("", "/some/path"):
            text = told(Refusal(kind, 5432, subject))
            assert text
            assert "{" not in text
    assert "'a b'" == quoted("a b")
    assert "'?[31m'" == quoted("\x1b[31m")
    assert "starting programs is not possible here (convert): use a library of Python instead" == (
        told(Refusal(Kind.PROGRAM, subject="convert"))
    )


def test_groups_name_their_first_error() -> None:
    """However deep it lies; a group that cannot be asked is told by its own words."""
    inner = ExceptionGroup("some", [KeyError("a"), ValueError("b")])
    group = ExceptionGroup("all", [inner, OSError("c")])
    assert "ExceptionGroup: all (2 sub-exceptions): KeyError: 'a'" == one_line(group)
    assert "KeyError: 'a'" == one_line(KeyError("a"))

    class Sly(ExceptionGroup[Exception]):
        @property
        def exceptions(self) -> tuple[Exception, ...]:
            raise SystemError("no")

    assert one_line(Sly("all", [ValueError("b")])).startswith("Sly: all")


@pytest.mark.parametrize(
    ("event", "arguments"),
    [
        ("socket.connect", (None, None)),
        ("socket.connect", (None, ("host", 10**9))),
        ("socket.connect", (None, ("host", "port"))),
        ("subprocess.Popen", (SimpleNamespace(), None, None, None)),
        ("subprocess.Popen", ("sh", ["sh", "-c", ""], None, None)),
        ("os.system", ("",)),
        ("os.exec", (b"\xff\xfe", (), None)),
        ("sqlite3.connect", (SimpleNamespace(),)),
    ],
)
def test_watch_never_fails(event: str, arguments: tuple[object, ...]) -> None:
    """What a program hands to the system is its own business: it is seen, and nothing more."""
    HostWatch()._see(event, arguments)


def test_watch_forgets_and_is_bounded() -> None:
    """A run remembers some of its newest attempts, and none of the run before."""
    watch = HostWatch()
    for port in range(1, 1000):
        watch._see("socket.connect", (None, ("192.0.2.1", port)))
    assert 32 == len(watch.attempts)
    assert Refusal(Kind.PORT, 999) == watch.attempts[-1].refusal
    watch.begin()
    assert () == watch.attempts


def test_watch_sees_threads() -> None:
    """What a library's thread was refused is known as well."""
    HOSTS.install()
    HOSTS.begin()
    thread = threading.Thread(target=sys.audit, args=("os.system", b"convert a b"))
    thread.start()
    thread.join()
    assert Refusal(Kind.PROGRAM, subject="convert") == HOSTS.attempts[-1].refusal
