"""What a run sets in its process and leaves open there is no concern of whoever runs next."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.process.running import Service

#: Changes what belongs to its process, by the name of a deed, or tells what it finds there.
MEDDLER = """\
import decimal
import gc
import os
import resource
import signal
import socket
import sys
import threading
import time

from bg_charm_service import Charm

KEPT = []

class Meddler(Charm):
    found: dict[str, str] = {}

    def bg_updater(self, event: dict) -> None:
        globals()[event["deed"]](self)

def look(charm):
    charm.found = {
        "folder": os.getcwd(),
        "umask": oct(os.umask(0o077)),
        "environ": str(sorted(os.environ.items())),
        "blocked": str(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "timeout": str(socket.getdefaulttimeout()),
        "recursion": str(sys.getrecursionlimit()),
        "pipe": str(signal.getsignal(signal.SIGPIPE)),
        "children": str(signal.getsignal(signal.SIGCHLD)),
        "zone": str(time.tzname),
        "stack": str(threading.stack_size()),
        "precision": str(decimal.getcontext().prec),
        "collector": str(gc.isenabled()),
        "watchers": str((sys.gettrace(), sys.getprofile())),
    }
    print("printed", flush=True)
    print("complained", file=sys.stderr)

def set_all(charm):
    os.chdir("/usr")
    os.umask(0)
    os.environ["LANG"] = "xx"
    os.environ["PLANTED"] = "yes"
    del os.environ["PATH"]
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    socket.setdefaulttimeout(0.001)
    sys.setrecursionlimit(150)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.environ["TZ"] = "XYZ-5"
    time.tzset()
    threading.stack_size()
    decimal.getcontext().prec = 3
    gc.disable()
    sys.settrace(lambda *_: None)
    sys.setprofile(lambda *_: None)
    sys.stdout.close()
    sys.stdout = sys.stderr = None

def set_a_clock(charm):
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.02)

def work(charm):
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass

def lower_a_limit(charm):
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

def lower_its_memory(charm):
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most - 1, most - 1))

def close_a_standard_stream(charm):
    os.close(2)

def leave_files_open(charm):
    KEPT.extend(os.open("/dev/null", os.O_RDONLY) for _ in range(20))
"""


#: Leaves something on the loop that its handler runs on, or tells what it finds there.
ENTANGLER = """\
import asyncio
import gc
import os

from bg_charm_service import Charm

class Entangler(Charm):
    async def bg_updater(self, event: dict) -> None:
        await globals()[event["deed"]]()

async def work():
    gc.collect()
    await asyncio.to_thread(int)
    await asyncio.sleep(0.05)

async def leave_a_timer():
    asyncio.get_running_loop().call_later(0.01, os._exit, 3)

async def leave_a_reader():
    told, tell = os.pipe()
    os.close(tell)
    asyncio.get_running_loop().add_reader(told, os._exit, 3)

async def end_the_threads():
    await asyncio.get_running_loop().shutdown_default_executor()

async def leave_a_failure():
    future = asyncio.get_running_loop().create_future()
    try:
        raise ValueError
    except ValueError as error:
        future.set_exception(error)
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with one worker, so that all charms come after each other in it."""
    flags = ("--interval=3600", "--max-concurrent=1", "--open-files=32")
    with Service(tmp_path_factory.mktemp("cleanup") / "data", *flags) as running:
        yield running


def test_settings_are_put_back(service: Service) -> None:
    """The next run in the same worker finds everything as the first one did."""
    meddler, victim = service.add(MEDDLER), service.add(MEDDLER)
    before = victim.perform(deed="look")
    found = victim.get("found")
    meddled = meddler.perform(deed="set_all")
    after = victim.perform(deed="look")
    assert {"success"} == {run["status"] for run in (before, meddled, after)}
    assert before["worker"] == meddled["worker"] == after["worker"]
    assert found == victim.get("found")
    assert "printed\ncomplained\n" == after["log"]


def test_a_clock_does_not_strike_in_the_next_run(service: Service) -> None:
    """What a run had set to end its process with later is off when it is over."""
    meddler, victim = service.add(MEDDLER), service.add(MEDDLER)
    meddled = meddler.perform(deed="set_a_clock")
    run = victim.perform(deed="work")
    assert ("success", "") == (run["status"], run["error"])
    assert meddled["worker"] == run["worker"]


@pytest.mark.parametrize(
    "deed",
    ["lower_a_limit", "lower_its_memory", "leave_files_open", "close_a_standard_stream"],
)
def test_a_worker_that_has_less_to_give_is_replaced(service: Service, deed: str) -> None:
    """After lowered limits, many open files or closed streams, the next run has a new worker."""
    meddler, victim = service.add(MEDDLER), service.add(MEDDLER)
    meddled = meddler.perform(deed=deed)
    run = victim.perform(deed="look")
    assert ("success", "success") == (meddled["status"], run["status"])
    assert meddled["worker"] != run["worker"]


@pytest.mark.parametrize(
    "deed", ["leave_a_timer", "leave_a_reader", "end_the_threads", "leave_a_failure"]
)
def test_nothing_waits_on_the_loop_for_the_next_run(service: Service, deed: str) -> None:
    """What a run leaves to be called later is called never, and costs nobody a worker."""
    entangler, victim = service.add(ENTANGLER), service.add(ENTANGLER)
    entangled = entangler.perform(deed=deed)
    run = victim.perform(deed="work")
    assert ("success", "success", "") == (entangled["status"], run["status"], run["error"])
    assert entangled["worker"] == run["worker"]
