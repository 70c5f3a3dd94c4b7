"""What programs do with Python's own library: it works and costs no worker, or says what to do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.process.running import Service

#: The body of a handler, by what it does; `self.note` has to be "done" then.
WORKS = {
    "database in a file": """
        import sqlite3
        with sqlite3.connect("mine.db") as database:
            database.execute("PRAGMA journal_mode = wal")
            database.execute("CREATE TABLE words (word)")
            database.execute("INSERT INTO words VALUES ('done')")
        self.note = database.execute("SELECT word FROM words").fetchone()[0]
        database.close()
    """,
    "log file": """
        import logging
        handler = logging.FileHandler("mine.log")
        logging.getLogger("mine").addHandler(handler)
        logging.getLogger("mine").warning("done")
        handler.close()
        self.note = open("mine.log").read().strip()
    """,
    "threads": """
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(4) as threads:
            self.note = "".join(threads.map(str, "done"))
    """,
    "loop of its own": """
        import asyncio
        self.note = asyncio.run(asyncio.sleep(0.001, "done"))
    """,
    "loop that is made": """
        import asyncio
        loop = asyncio.new_event_loop()
        self.note = loop.run_until_complete(asyncio.to_thread(str, "done"))
        loop.close()
    """,
    "copies": """
        import os, pathlib, shutil, tempfile
        with tempfile.TemporaryDirectory() as folder:
            first = pathlib.Path(folder, "first")
            first.write_text("done")
            first.chmod(0o600)
            for number, copy in enumerate((shutil.copy, shutil.copy2, shutil.copyfile)):
                copy(first, f"{folder}/{number}")
            shutil.move(f"{folder}/2", f"{folder}/moved")
            os.utime(f"{folder}/moved", (1, 1))
            self.note = pathlib.Path(folder, "moved").read_text()
    """,
    "archives": """
        import io, pathlib, tarfile, zipfile
        pathlib.Path("some").mkdir()
        pathlib.Path("some/word").write_text("done")
        with zipfile.ZipFile("some.zip", "w") as archive:
            archive.write("some/word")
        with zipfile.ZipFile("some.zip") as archive:
            archive.extractall("there")
        with tarfile.open("some.tar.gz", "w:gz") as archive:
            archive.add("there")
        with tarfile.open("some.tar.gz") as archive:
            archive.extractall("again", filter="data")
        self.note = pathlib.Path("again/there/some/word").read_text()
    """,
    "folders that stay": """
        import pathlib
        folder = pathlib.Path.home() / ".cache" / "mine"
        folder.mkdir(parents=True)
        (folder / "word").write_text("done")
        self.note = (folder / "word").read_text()
    """,
    "functions of C": """
        import ctypes
        compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        numbers = (ctypes.c_int * 2)(2, 1)
        value = lambda place: ctypes.c_int.from_address(place).value
        ctypes.CDLL(None).qsort(numbers, 2, 4, compare(lambda a, b: value(a) - value(b)))
        self.note = "done" if list(numbers) == [1, 2] else str(list(numbers))
    """,
    "the machine": """
        import psutil
        told = psutil.cpu_count(), psutil.virtual_memory().total, psutil.disk_usage("/").total
        psutil.cpu_percent()
        self.note = "done" if all(told) and len(psutil.getloadavg()) == 3 else str(told)
    """,
    "names and places": """
        import datetime, getpass, locale, uuid, zoneinfo
        uuid.uuid1(), uuid.uuid4(), getpass.getuser()
        locale.setlocale(locale.LC_ALL, "C")
        there = datetime.datetime(2026, 7, 1, tzinfo=zoneinfo.ZoneInfo("America/Lima"))
        self.note = "done" if there.tzname() == "-05" else str(there.tzname())
    """,
    "alarm": """
        import signal, time
        before = signal.signal(signal.SIGALRM, lambda *_: setattr(self, "note", "done"))
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        while not self.note:
            time.sleep(0.001)
        signal.signal(signal.SIGALRM, before)
    """,
    "values of all kinds": """
        import collections, datetime, decimal
        self.when = datetime.datetime(2026, 11, 30, tzinfo=datetime.UTC)
        self.price, self.names = decimal.Decimal("1.10"), {"b", "a"}
        self.counts = collections.defaultdict(int, {1: 2})
        self.note = "done"
    """,
}

#: What fails, by its cause and what its error says.
REFUSED = {
    "a program": (
        "import subprocess; subprocess.run(['git', 'log'])",
        *("forbidden", "starting programs is not possible here (git): use a library of Python"),
    ),
    "a program that is awaited": (
        "import asyncio; asyncio.run(asyncio.create_subprocess_exec('git'))",
        *("forbidden", "starting programs is not possible here (git): use a library of Python"),
    ),
    "a pool of threads of multiprocessing": (
        "from multiprocessing.pool import ThreadPool; ThreadPool(2)",
        *("forbidden", "multiprocessing needs /dev/shm"),
    ),
    "a pool of processes": (
        "from concurrent.futures import ProcessPoolExecutor; ProcessPoolExecutor(2).submit(str)",
        *("forbidden", "concurrent.futures.ThreadPoolExecutor"),
    ),
    "a pool of multiprocessing": (
        "import multiprocessing; multiprocessing.Pool(2)",
        *("forbidden", "concurrent.futures.ThreadPoolExecutor"),
    ),
    "a queue": (
        "import multiprocessing; multiprocessing.Queue()",
        *("forbidden", "multiprocessing needs /dev/shm"),
    ),
    "a server": (
        "import asyncio; asyncio.run(asyncio.start_server(print, '127.0.0.1', 0))",
        *("forbidden", "listening"),
    ),
    "a letter at a closed port": (
        "import smtplib; smtplib.SMTP('127.0.0.1', 587)",
        *("forbidden", "port 587 is not open to it"),
    ),
    "memory without a file": (
        "import mmap; mmap.mmap(-1, 4096)",
        *("forbidden", "memory that processes share is not possible here"),
    ),
    "memory with a name": (
        "from multiprocessing.shared_memory import SharedMemory; SharedMemory(create=True, size=9)",
        *("forbidden", "memory that processes share is not possible here"),
    ),
    "a queue of loguru": (
        "from loguru import logger; logger.add('some.log', enqueue=True)",
        *("forbidden", "multiprocessing needs /dev/shm"),
    ),
    "a variable": ("import os; os.environ['OPENAI_API_KEY']", "error", "KeyError"),
    "more memory": ("self.note = str(len(bytearray(600_000_000)))", "memory", "512M of memory"),
}

SOURCE = """
import datetime, decimal
from bg_charm_service import Charm

class Some(Charm):
    note: str = ""
    when: datetime.datetime | None = None
    price: decimal.Decimal = decimal.Decimal(0)
    names: set[str] = set()
    counts: dict[int, int] = {}

    def bg_updater(self, event: dict) -> None:
        self.note = ""
        pass
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that polls nothing by itself."""
    flags = ("--interval=3600", "--max-retries=0", "--max-concurrent=1", "--sandbox=require")
    with Service(tmp_path_factory.mktemp("home") / "data", *flags) as running:
        yield running


@pytest.mark.parametrize("name", WORKS)
def test_it_works_and_keeps_its_worker(service: Service, name: str) -> None:
    """Twice in one worker: nothing of it is left that would cost that."""
    charm = service.add(SOURCE.replace("        pass\n", WORKS[name]))
    runs = [charm.run() for _ in range(2)]
    assert [("success", "", "")] * 2 == [
        (run["status"], run["error"], run["retired"]) for run in runs
    ]
    assert "done" == charm.get("note")
    assert 1 == len({run["worker"] for run in runs})


@pytest.mark.parametrize("name", REFUSED)
def test_it_says_what_to_do(service: Service, name: str) -> None:
    """The run fails by the cause that it should, and its error has the remedy."""
    deed, cause, words = REFUSED[name]
    run = service.add(SOURCE.replace("pass\n", f"{deed}\n")).run()
    assert cause == run["cause"]
    assert words in run["error"]
