"""A run has one processor unless its class asks for more, and libraries start as many threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.process.running import Refused, RunningCharm, Service

#: Tells what a library would find out, and tries to have more.
SOURCE = """
import os
from bg_charm_service import Charm

class Told(Charm):
    {asks}
    processors: int = 0
    threads: str = ""
    after: int = 0

    def bg_updater(self, event):
        allowed = os.sched_getaffinity(0)
        self.processors = len(allowed)
        self.threads = os.environ["OPENBLAS_NUM_THREADS"]
        os.sched_setaffinity(0, range(os.cpu_count()))
        self.after = len(os.sched_getaffinity(0))
"""

#: Maps much when it is loaded, touches none of it, and then uses what it may use.
RESERVING = """
import mmap
from bg_charm_service import Charm

PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
RESERVED = mmap.mmap(-1, 100 * 1024 * 1024, flags=PRIVATE)

class Reserving(Charm):
    limits = {"memory": "96M"}
    used: int = 0

    def bg_updater(self, event):
        self.used = len(bytes(event.get("bytes", 40 * 1024 * 1024)))
"""

#: Loads a library on a machine of sixteen processors, by what Python and the system say of it.
#: `alone` takes away first what a worker is told.
LOADING = """
import os
from bg_charm_service import Charm

{alone}
os.cpu_count = lambda: 16
os.sched_getaffinity = lambda pid: set(range(16))

def own_threads():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("Threads:"))

before = own_threads()
{library}
after = own_threads()

class Loading(Charm):
    started: int = 0

    def bg_updater(self, event):
        self.started = after - before
"""

#: Does as OpenBLAS does when it is loaded: takes 40 MB for each thread that it has, and starts all
#: but the one that there is.
LIKE_OPENBLAS = """
import mmap, threading
most = min(os.cpu_count(), len(os.sched_getaffinity(0)))
told = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or most
count = min(int(told), most)
private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
buffers = [mmap.mmap(-1, 40 * 1024 * 1024, flags=private) for _ in range(count)]
rest = threading.Event()
for _ in range(count - 1):
    threading.Thread(target=rest.wait, daemon=True).start()
"""

UNTOLD = """
for name in [name for name in os.environ if name.endswith("_NUM_THREADS")]:
    del os.environ[name]
"""

HAVE = len(os.sched_getaffinity(0))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that polls nothing by itself."""
    flags = ("--interval=3600", "--max-retries=0", "--processors=3", "--sandbox=auto")
    with Service(tmp_path_factory.mktemp("processors") / "data", *flags) as running:
        yield running


def told(charm: RunningCharm) -> tuple[int, str, int]:
    """Run a charm; gives its processors, the threads of a library, and processors afterwards."""
    assert "success" == charm.run()["status"]
    return charm.get("processors"), charm.get("threads"), charm.get("after")


def add(service: Service, asks: str = "pass") -> RunningCharm:
    """Add a charm that asks for something."""
    return service.add(source=SOURCE.replace("{asks}", asks))


def test_one_by_default(service: Service) -> None:
    """A charm that asks for none has one; what it sets itself is answered, and changes nothing."""
    assert (1, "1", 1) == told(add(service))


@pytest.mark.parametrize(("asked", "given"), [(2, 2), (3, 3), (1000, 3)])
def test_a_class_can_ask_for_more(service: Service, asked: int, given: int) -> None:
    """As many as the operator allows and this machine has."""
    charm = add(service, f'limits = {{"processors": {asked}}}')
    most = min(given, HAVE)
    assert (most, str(min(given, os.cpu_count() or 1)), most) == told(charm)
    unmet = charm.show()["limits"]["unmet"]
    assert [f"It asks for processors {asked}, and the operator allows 3"] * (asked > 3) == [
        sentence.partition(":")[0] for sentence in unmet
    ]


def test_who_asks_for_another_number_has_another_worker(service: Service) -> None:
    """Libraries look once how many threads to start: a worker keeps its number for good."""
    alone, two = add(service), add(service, 'limits = {"processors": 2}')
    by_turns = [charm.run()["worker"] for charm in (alone, two, alone, two)]
    assert not set(by_turns[0::2]) & set(by_turns[1::2])
    assert (1, min(2, HAVE)) == (alone.get("processors"), two.get("processors"))


@pytest.mark.parametrize(
    "library",
    [
        LIKE_OPENBLAS,
        pytest.param(
            "import numpy",
            marks=pytest.mark.skipif(find_spec("numpy") is None, reason="numpy is not here"),
        ),
    ],
    ids=["fake", "numpy"],
)
def test_library_starts_one_thread_on_many_processors(service: Service, library: str) -> None:
    """And is loaded within the memory that a charm has by default."""
    charm = service.add(source=LOADING.replace("{alone}", "").replace("{library}", library))
    assert ("success", 0) == (charm.run()["status"], charm.get("started"))


def test_library_that_is_told_nothing_starts_all_and_is_not_loaded(service: Service) -> None:
    """Sixteen times its buffers is more than a charm may map."""
    source = LOADING.replace("{alone}", UNTOLD).replace("{library}", LIKE_OPENBLAS)
    with pytest.raises(Refused, match="memory"):
        service.add(source=source)


def test_an_operator_can_set_it(service: Service) -> None:
    """The limit of a charm counts before that of the service."""
    charm = add(service, 'limits = {"processors": 2}')
    service.request("PUT", f"{charm.path}/limits", {"processors": 1})
    assert (1, "1", 1) == told(charm)
    shown = {
        each["name"]: each for each in service.request("GET", f"{charm.path}/limits")["limits"]
    }
    assert ("1", "charm") == (shown["processors"]["value"], shown["processors"]["set_by"])


def test_memory_that_is_never_touched_does_not_count(service: Service) -> None:
    """What a library maps when it is loaded leaves the charm what it may use."""
    charm = service.add(source=RESERVING)
    assert "success" == charm.perform()["status"]
    assert 40 * 1024 * 1024 == charm.get("used")
    run = charm.perform(bytes=400 * 1024 * 1024)
    assert ("failure", "memory") == (run["status"], run["cause"])
