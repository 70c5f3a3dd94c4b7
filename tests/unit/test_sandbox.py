"""The walls, tried by real processes: what each refuses, and that the wall refuses it."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import bg_charm_service
from bg_charm_service.domain.errors import SandboxError
from bg_charm_service.workers.protocol.processes import children_of
from bg_charm_service.workers.sandbox import (
    Wall,
    allow_ports,
    folder_around,
    landlock,
    probe,
    raise_walls,
)
from bg_charm_service.workers.sandbox.capabilities import give_up_gaining
from bg_charm_service.workers.sandbox.kernel import MACHINE
from bg_charm_service.workers.sandbox.seccomp import Filter
from bg_charm_service.workers.sandbox.syscalls import (
    LANDLOCK_CREATE_RULESET,
    LANDLOCK_RESTRICT_SELF,
    MACHINES,
    number,
)
from tests.unit.walled import (
    NOBODY,
    Attempt,
    Place,
    attempt,
    forbid,
    missing_walls,
    place,
    system_call,
)
from tests.unit.walled_deeds import DEEDS, NEVER, ROOT, XATTR, Deed

PACKAGE = Path(bg_charm_service.__file__).parent

deeds = pytest.mark.parametrize("deed", [pytest.param(deed, id=deed.name) for deed in DEEDS])


@pytest.fixture
def here() -> Iterator[Place]:
    """A place to try things in."""
    with place() as made:
        yield made


@pytest.fixture
def port() -> Iterator[int]:
    """A port at which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def need(*walls: Wall) -> None:
    """Skip where the machine lacks one of these."""
    for wall in walls:
        if wall in missing_walls():
            pytest.skip(f"no wall of {wall} here: {missing_walls()[wall]}")


def need_root() -> None:
    """Skip where the tests run as somebody else."""
    if os.getuid() != 0:
        pytest.skip("not run as root")


def own_status(_: Place | None = None) -> dict[str, str]:
    """What the kernel says of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines)


@deeds
def test_walls_refuse(deed: Deed, here: Place) -> None:
    """Behind the walls it is refused, as an error that the code can see."""
    need(deed.wall)

    result = attempt(deed.action, here, without=missing_walls())

    assert result.error in deed.errors, result


def test_attributes_are_not_supported(here: Place) -> None:
    """What asks for extended attributes is told what a file system without any says."""
    need(Wall.CALLS)

    result = attempt(lambda at: os.listxattr(at.file), here, without=missing_walls())

    assert f"[Errno {errno.EOPNOTSUPP}]" in result.text


@deeds
def test_walls_refuse_other_users(deed: Deed, here: Place) -> None:
    """The same holds for a service that does not run as root."""
    need(deed.wall)
    need_root()

    result = attempt(deed.action, here, without=missing_walls(), user=NOBODY)

    assert result.error in deed.errors, result


@deeds
def test_without_walls_it_can_be_done(deed: Deed, here: Place) -> None:
    """It is the walls that refuse it, and not something else of this machine."""
    if deed.needs == NEVER:
        pytest.skip("the process would be over")
    if deed.needs == ROOT:
        need_root()

    result = attempt(deed.action, here, without=list(Wall))

    if deed.needs == XATTR and "Errno 95" in result.text:
        pytest.skip("no attributes here")
    assert ("", 0) == (result.error, result.signal), result


def test_privileges_are_gone_by_themselves(here: Place) -> None:
    """Root without its capabilities, and no program that would give any back."""
    need(Wall.PRIVILEGES)

    status = attempt(own_status, here, without=set(Wall) - {Wall.PRIVILEGES}).value
    privileges = {name: int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")}

    assert {"CapEff": 0, "CapPrm": 0, "CapInh": 0, "CapAmb": 0} == privileges
    assert "1" == status["NoNewPrivs"]
    assert os.getuid() != 0 or int(status["CapBnd"], 16) == 0


def test_landlock_holds_signals_by_itself(here: Place) -> None:
    """Where there is no filter of system calls, no signal leaves the walls either."""
    if landlock.version() < landlock.SCOPES_VERSION:
        pytest.skip("no Landlock that knows of signals here")

    without = {Wall.CALLS, *missing_walls()}
    result = attempt(lambda _: os.kill(os.getppid(), 0), here, without=without)

    assert "PermissionError" == result.error, result


def test_only_allowed_ports_are_reached(here: Place, port: int) -> None:
    """A connection goes to the ports that were named, and to no other."""
    need(Wall.NETWORK)

    def connect(_: Place) -> None:
        socket.create_connection(("127.0.0.1", port)).close()

    assert "" == attempt(connect, here, ports=(53, port)).error
    assert "PermissionError" == attempt(connect, here, ports=(53, port + 1)).error
    assert "PermissionError" == attempt(connect, here).error


def test_ports_are_only_ever_taken_away(here: Place, port: int) -> None:
    """Code behind the walls can give up ports, and take none back."""
    need(Wall.NETWORK)

    def widen(_: Place) -> None:
        allow_ports((port,))
        socket.create_connection(("127.0.0.1", port)).close()

    assert "PermissionError" == attempt(widen, here, ports=(53,)).error


def test_threads_are_behind_the_walls_too(here: Place) -> None:
    """What a thread may do is what its process may do."""
    need(Wall.FILES, Wall.CALLS)

    def ask_a_thread(at: Place) -> str:
        with ThreadPoolExecutor() as threads:
            return type(threads.submit(at.file.read_text).exception()).__name__

    assert "PermissionError" == attempt(ask_a_thread, here, without=missing_walls()).value


def test_calls_of_other_kinds_end_the_process(here: Place) -> None:
    """A number that is none of this machine's own calls is the end, by a signal that says so."""
    need(Wall.CALLS)

    def call(_: Place) -> None:
        ctypes.CDLL(None).syscall(ctypes.c_long(0x7FFFFFFF))

    assert signal.SIGSYS == attempt(call, here, without=missing_walls()).signal


def test_calls_of_another_machine_end_the_process(here: Place) -> None:
    """Under the filter of another kind of machine every call is one of a stranger."""
    need(Wall.CALLS)
    (other,) = MACHINES.keys() - {MACHINE}

    def call(_: Place) -> None:
        give_up_gaining()
        Filter(other).install(os.getpid())
        os.getppid()

    assert signal.SIGSYS == attempt(call, here, without=list(Wall)).signal


def test_clone3_looks_unknown(here: Place) -> None:
    """The C library makes its threads by the older call then."""
    need(Wall.CALLS)

    result = attempt(lambda _: system_call("clone3", 0, 0), here, without=missing_walls())

    assert f"[Errno {errno.ENOSYS}]" in result.text


def test_a_wall_that_cannot_be_raised_is_an_error(here: Place) -> None:
    """It says which wall, and nothing goes on as if it stood."""
    need(Wall.CALLS)

    def raise_again(at: Place) -> None:
        raise_walls(str(at.scratch))

    result = attempt(raise_again, here, without=missing_walls())

    assert "SandboxError" == result.error
    assert "The wall of privileges cannot be raised" in result.text


def test_trying_changes_nothing() -> None:
    """Finding out which walls there are leaves the process as it was, and no child behind."""
    names = ("NoNewPrivs", "Seccomp", "CapEff", "CapBnd")
    before, children = own_status(), children_of(os.getpid())
    missing = probe()
    after = own_status()

    assert [before[name] for name in names] == [after[name] for name in names]
    assert missing_walls() == missing
    assert children == children_of(os.getpid())


def probe_without(error_number: int, *calls: str | int) -> Attempt:
    """Find out which walls there are where the kernel refuses these calls."""

    def ask(_: Place) -> dict[str, str]:
        numbers = [number(MACHINE, call) if isinstance(call, str) else call for call in calls]
        landlock.version.cache_clear()
        forbid(error_number, *(found for found in numbers if found is not None))
        return {str(wall): why for wall, why in probe().items()}

    return ask


def test_where_there_is_no_landlock(here: Place) -> None:
    """Two walls hang on it, and the reason says which Linux brings it."""
    need(*Wall)
    ask = probe_without(errno.ENOSYS, LANDLOCK_CREATE_RULESET)

    why = "this kernel has no Landlock, which came with Linux 5.13"
    assert {"file system": why, "network": why} == attempt(ask, here, without=list(Wall)).value


def test_where_landlock_is_forbidden(here: Place) -> None:
    """That the kernel has it is not enough: a service manager may refuse it."""
    need(*Wall)
    ask = probe_without(errno.EPERM, LANDLOCK_RESTRICT_SELF)

    why = "the kernel says: Operation not permitted"
    assert {"file system": why, "network": why} == attempt(ask, here, without=list(Wall)).value


def test_where_nothing_can_be_raised(here: Place) -> None:
    """Each wall is missing, with the reason, where privileges cannot be given up."""
    told = attempt(probe_without(errno.EPERM, "prctl"), here, without=list(Wall)).value

    assert dict.fromkeys(map(str, Wall), "the kernel says: Operation not permitted") == told


def test_where_no_process_can_be_made(here: Place) -> None:
    """Then nothing is known of any wall, so none is counted on."""
    need(Wall.CALLS)

    def ask(_: Place) -> dict[str, str]:
        return {str(wall): why for wall, why in probe().items()}

    told = attempt(ask, here, without=missing_walls()).value

    why = "no process could be made to try it: Operation not permitted"
    assert dict.fromkeys(map(str, Wall), why) == told


def test_a_data_directory_among_libraries_is_found() -> None:
    """What lies where charms may read is named with the folder, also before it exists."""
    assert PACKAGE.resolve() == folder_around(PACKAGE / "data" / "db")
    assert folder_around(Path(os.__file__).parent / "site-packages" / "data") is not None


def test_what_lies_around_libraries_is_not_readable() -> None:
    """Neither the folder that the package lies in, which may be a checkout, nor a home."""
    assert folder_around(PACKAGE.parent / "bg-charm-data") is None
    assert folder_around(Path("/")) is None
    assert folder_around(Path.home() / "Documents") is None


def test_no_scratch_directory_among_libraries() -> None:
    """Data among libraries could be read by every charm: no worker starts like that."""
    with pytest.raises(SandboxError, match="which charms may read"):
        raise_walls(str(PACKAGE / "scratch" / "1"))
