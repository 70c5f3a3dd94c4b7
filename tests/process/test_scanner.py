"""Scans with real scan processes: whatever an integration's code does, the service goes on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
from loguru import logger

from bg_charm_service.domain.errors import NotFound, ServiceStopping
from bg_charm_service.domain.identity import space_did
from bg_charm_service.domain.merkle import refer
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.scanning.integration import CellAddress
from bg_charm_service.scanning.protocol import CellWrite
from bg_charm_service.scanning.scan_client import MAX_LINES, ScanError
from bg_charm_service.scanning.scanner import ScanLimits, Scanner

FIXTURES = Path(__file__).parents[1] / "fixtures" / "integrations"
ROOT = Path(__file__).parents[2]

SPACE = space_did("demo")
REF = CharmRef(SPACE, refer({"charm": 1}))
OTHER = CharmRef(SPACE, refer({"charm": 2}))
MISSING = CharmRef(SPACE, refer({"charm": 3}))
LIST = [{"space": SPACE, "charmId": REF.charm_id}]
CELL = CellAddress.of("system", "mine-integration")

#: Long enough for whatever must end by itself, so that a failing test ends too.
PATIENCE_SECONDS = 30

T = TypeVar("T")

#: The scripted integration: a test gives the body of its fetch, and perhaps more methods.
SCRIPT = """
import os, subprocess, sys, threading
from bg_charm_service.integration import CellIntegration, IntegrationCellConfig, read_cell

LIST = {charms!r}
times = 0

class Mine(CellIntegration):
    id = "mine"
    name = "Mine"
    cell_cause_name = "mine-integration"

    {kind} fetch_charms(self):
        global times
        times += 1
{fetch}
{methods}
integration = Mine()
"""


class SettableClock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def now(self) -> float:
        return self.seconds

    def steady(self) -> float:
        return self.seconds

    def awake(self) -> float:
        return self.steady()


class Service:
    """What the scanner is given: stored cells and charms, a clock, a folder of integrations."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = SettableClock()
        self.cells: dict[tuple[str, str], bytes] = {}
        self.charms: dict[CharmRef, bytes] = {REF: b"{}", OTHER: b"{}"}
        self.limits = ScanLimits()

    def write(
        self, fetch: str, *, methods: str = "", kind: str = "def", name: str = "mine.py"
    ) -> None:
        """Put the scripted integration into the folder."""
        code = SCRIPT.format(
            charms=LIST,
            kind=kind,
            fetch=indented(fetch, 8),
            methods=indented(methods, 4),
        )
        (self.folder / name).write_text(code)

    def run(self, use: Callable[[Scanner], Awaitable[T]]) -> T:
        """Use a scanner in a loop of its own, and stop it."""

        async def whole() -> T:
            scanner = Scanner(
                read_cell=self.read_cell,
                read_charm=self.charms.get,
                clock=self.clock,
                integrations_dir=self.folder,
                manual_charms=[OTHER],
                limits=self.limits,
            )
            try:
                return await use(scanner)
            finally:
                await scanner.stop()

        return asyncio.run(whole())

    def read_cell(self, space: str, cell_id: str) -> bytes | None:
        return self.cells.get((space, cell_id))


def indented(code: str, by: int) -> str:
    """Shift lines of code to the right."""
    return "\n".join(" " * by + line for line in code.splitlines())


@pytest.fixture
def service(tmp_path: Path) -> Service:
    """Give a service without cells whose integrations are in a folder of the test."""
    return Service(tmp_path)


@pytest.fixture
def output() -> Iterator[list[str]]:
    """Collect what the service logs of an integration's output."""
    lines: list[str] = []

    def keep(message: Any) -> None:
        record = message.record
        assert ("INFO", "mine") == (record["level"].name, record["extra"]["integration"])
        lines.append(record["message"])

    sink = logger.add(
        keep, filter=lambda record: record["extra"].get("event") == "integration_output"
    )
    yield lines
    logger.remove(sink)


def test_catalogue_names_every_integration(service: Service) -> None:
    """Shipped, manual and the directory's own are there, with the cell of their list."""
    service.write("return LIST")
    catalogue = service.run(lambda scanner: scanner.describe())
    infos = {info.id: info for info in catalogue.integrations}
    assert {
        *("calendar", "discord", "gcal", "gmail", "mail", "manual", "mine", "opml", "rss")
    } == infos.keys()
    assert (CELL.space, CELL.cell_id) == (infos["mine"].space, infos["mine"].cell)
    assert () == catalogue.problems


def test_broken_sources_stop_nobody_else(service: Service) -> None:
    """One that raises, ends the process, hangs or takes another's id is reported, each once."""
    service.limits = ScanLimits(scan_seconds=3.0)
    (service.folder / "a_raises.py").write_text("1 / 0")
    (service.folder / "b_exits.py").write_text("import os; os._exit(3)")
    (service.folder / "c_hangs.py").write_text("import threading; threading.Event().wait()")
    (service.folder / "d_none.py").write_text("")
    service.write("return []", name="e_first.py")
    service.write("return []", name="f_second.py")
    service.write(
        "return []",
        methods="def get_integration_config(self): return {}\nid = 'odd'",
        name="g_odd.py",
    )
    catalogue = service.run(lambda scanner: scanner.describe())
    ids = [info.id for info in catalogue.integrations]
    assert ["calendar", "discord", "gcal", "gmail", "mail", "manual", "mine", "opml", "rss"] == ids
    reasons = {
        "a_raises.py": "ZeroDivisionError: division by zero (a_raises.py, line 1)",
        "b_exits.py": "its process exited with 3",
        "c_hangs.py": "its load took longer than 3 s",
        "d_none.py": "it has no `integration",
        "f_second.py": "has the id mine already",
        "g_odd.py": "must give an IntegrationCellConfig, not dict",
    }
    assert len(reasons) == len(catalogue.problems)
    for problem, (name, reason) in zip(catalogue.problems, reasons.items(), strict=True):
        assert name in problem
        assert reason in problem


def test_unknown_integration_names_the_known_ones(service: Service) -> None:
    """The error of a mistyped --integration lists what there is."""
    with pytest.raises(
        NotFound, match=r"Unknown integration: gmial\. Available: calendar, discord, gcal"
    ):
        service.run(lambda scanner: scanner.scan("gmial"))


def test_manual_integration_gives_the_command_lines_charms(service: Service) -> None:
    """It needs no process, no cell and no check."""
    result = service.run(lambda scanner: scanner.scan("manual"))
    assert ((OTHER,), True) == (result.charms, result.initialised)


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_fetch_may_be_sync_or_async(service: Service, kind: str) -> None:
    """Both list their charms, again and again, in the same process."""
    service.write("return LIST * times", kind=kind)

    async def twice(scanner: Scanner) -> list[tuple[CharmRef, ...]]:
        return [(await scanner.scan("mine")).charms for _ in range(2)]

    assert [(REF,), (REF,)] == service.run(twice)


def test_list_comes_from_the_integrations_cell(service: Service) -> None:
    """The process asks the service for the cell; without one it was never initialised."""
    service.write("return super().fetch_charms()")

    async def before_and_after(scanner: Scanner) -> tuple[bool, ...]:
        before = await scanner.scan("mine")
        assert ((), 1) == (before.charms, len(before.problems))
        service.cells[CELL.space, CELL.cell_id] = json.dumps({"charms": LIST}).encode()
        after = await scanner.scan("mine")
        assert ((REF,), ()) == (after.charms, after.problems)
        return before.initialised, after.initialised

    assert (False, True) == service.run(before_and_after)


def test_refused_cell_is_an_error_of_the_fetch(service: Service) -> None:
    """A cell that the service cannot read fails the fetch with the reason."""
    service.write("return super().fetch_charms()")

    def refuse(space: str, cell_id: str) -> bytes | None:
        raise OSError("disk on fire")

    service.read_cell = refuse  # type: ignore[method-assign]
    with pytest.raises(ScanError, match="disk on fire"):
        service.run(lambda scanner: scanner.scan("mine"))


def test_garbage_items_are_skipped(service: Service) -> None:
    """Each is reported, the good ones are used."""
    service.write("return [None, *LIST, {'space': 1}, object()]")
    result = service.run(lambda scanner: scanner.scan("mine"))
    assert (REF,) == result.charms
    assert ["Listed item 0", "Listed item 2", "Listed item 3"] == [
        problem.partition(":")[0] for problem in result.problems
    ]


def test_invalid_and_missing_charms_are_left_out(service: Service) -> None:
    """The check sees the stored state; one that raises costs its charm only; both are told."""
    refs = [REF, OTHER, MISSING, *(CharmRef(SPACE, refer({"more": n})) for n in range(500))]
    for ref in refs[3:]:
        service.charms[ref] = b'{"bgUpdater": {"$stream": true}}'
    service.charms[REF] = b'{"bgUpdater": {"$stream": true}}'
    service.charms[OTHER] = b'{"raise": true}'
    service.write(
        f"return {[{'space': ref.space, 'pieceId': ref.charm_id} for ref in refs]!r}",
        methods=(
            "async def is_valid_charm(self, charm):\n"
            "    if charm.key('raise').get(): raise KeyError('odd')\n"
            "    return charm.key('bgUpdater').key('$stream').get()"
        ),
    )
    result = service.run(lambda scanner: scanner.scan("mine"))
    assert [REF, *refs[3:]] == list(result.charms)
    assert any(f"{MISSING} is listed, but there is no such charm" in p for p in result.problems)
    assert any("is_valid_integration_charm: KeyError: 'odd'" in p for p in result.problems)


def test_raising_fetch_is_reported_with_its_place(service: Service) -> None:
    """Without an earlier list the scan fails, with the integration's own reason."""
    service.write("raise ValueError('no luck')")
    with pytest.raises(ScanError, match=r"ValueError: no luck \(mine.py, line \d+\)"):
        service.run(lambda scanner: scanner.scan("mine"))


@pytest.mark.parametrize(
    ("accident", "reason"),
    [
        ("raise ValueError('no luck')", "ValueError: no luck"),
        ("sys.exit(4)", "SystemExit: 4"),
        ("os._exit(7)", "its process exited with 7"),
        ("os.kill(os.getpid(), 11)", "its process was ended by SIGSEGV"),
        ("return 'not a list'", "must give a list"),
    ],
)
def test_earlier_list_stands_in_for_five_minutes(
    service: Service, accident: str, reason: str
) -> None:
    """After an accident the last list is used while young, and the next scan starts afresh."""
    mark = service.folder / "broken"
    service.write(f"if os.path.exists({str(mark)!r}): {accident}\nreturn LIST")

    async def accidents(scanner: Scanner) -> None:
        assert not (await scanner.scan("mine")).from_cache
        mark.touch()
        service.clock.seconds += 300
        standing_in = await scanner.scan("mine")
        assert ((REF,), True) == (standing_in.charms, standing_in.from_cache)
        assert reason in standing_in.problems[0]
        service.clock.seconds += 1
        with pytest.raises(ScanError, match=reason):
            await scanner.scan("mine")
        mark.unlink()
        afresh = await scanner.scan("mine")
        assert ((REF,), (), False) == (afresh.charms, afresh.problems, afresh.from_cache)

    service.run(accidents)


def test_blocking_fetch_never_blocks_the_service(service: Service) -> None:
    """While it blocks others are scanned; when it is late, the list of before stands in."""
    service.limits = ScanLimits(fetch_seconds=1.0)
    service.write("if times > 1: threading.Event().wait()\nreturn LIST")

    async def blocked(scanner: Scanner) -> None:
        await scanner.scan("mine")
        late = asyncio.create_task(scanner.scan("mine"))
        assert not (await scanner.scan("gmail")).initialised
        result = await late
        assert ((REF,), True) == (result.charms, result.from_cache)
        assert ("its fetch took longer than 1 s",) == result.problems
        assert not (await scanner.scan("mine")).from_cache

    service.run(blocked)


def test_late_fetch_without_an_earlier_list_may_finish(service: Service) -> None:
    """Where nothing can stand in, a late list is better than none."""
    service.limits = ScanLimits(fetch_seconds=0.0)
    service.write("return LIST")

    async def late(scanner: Scanner) -> tuple[bool, ...]:
        return tuple([(await scanner.scan("mine")).from_cache for _ in range(2)])

    assert (False, True) == service.run(late)


def test_scan_ends_at_its_limit(service: Service) -> None:
    """With nothing to fall back on, a blocked fetch fails the scan."""
    service.limits = ScanLimits(scan_seconds=3.0)
    service.write("threading.Event().wait()")
    with pytest.raises(ScanError, match="its scan took longer than 3 s"):
        service.run(lambda scanner: scanner.scan("mine"))


def test_output_is_logged_and_never_taken_for_an_answer(
    service: Service, output: list[str]
) -> None:
    """Print, standard error and logging become lines of the log; noise does no harm."""
    service.write(
        "import logging\n"
        "print('plain')\n"
        "print('error', file=sys.stderr)\n"
        "logging.getLogger('x').warning('{careful}')\n"
        "os.write(1, bytes(range(256)) + b'\\n')\n"
        "print('unfinished', end='')\n"
        "return LIST"
    )

    async def told(scanner: Scanner) -> tuple[CharmRef, ...]:
        charms = (await scanner.scan("mine")).charms
        await scanner.stop()
        return charms

    assert (REF,) == service.run(told)
    for line in ("plain", "error", "WARNING {careful}", "unfinished"):
        assert line in output


def test_flood_of_output_is_capped(service: Service, output: list[str]) -> None:
    """Of too many lines the number is told, and an endless one is cut."""
    service.write(
        "for line in range(100_000): print('line', line)\nprint('x' * 10_000_000)\nreturn LIST"
    )
    result = service.run(lambda scanner: scanner.scan("mine"))
    assert (REF,) == result.charms
    assert len(output) <= 3 * MAX_LINES
    assert any("more lines of output" in line for line in output)
    assert max(map(len, output)) <= 2_000


def test_operators_keys_are_withheld(
    service: Service, output: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passphrase and key path do not reach the process; other variables do."""
    monkeypatch.setenv("OPERATOR_PASS", "hush")
    monkeypatch.setenv("IDENTITY", "/hush.pem")
    monkeypatch.setenv("GMAIL_REGION", "eu")
    names = ("OPERATOR_PASS", "IDENTITY", "GMAIL_REGION")
    service.write(f"raise ValueError([os.environ.get(name) for name in {names}] + [os.getcwd()])")
    with pytest.raises(ScanError, match=r"\[None, None, 'eu', '/'\]"):
        service.run(lambda scanner: scanner.scan("mine"))
    assert [] == output


def test_initializing_gives_what_is_to_be_written(service: Service) -> None:
    """The default writes the empty list, bound to what was stored; a list there stays."""
    service.write("return []")

    async def initialize(scanner: Scanner) -> list[tuple[CellWrite, ...]]:
        first = await scanner.initialize("mine")
        service.cells[CELL.space, CELL.cell_id] = b'{"charms": [1]}'
        return [first, await scanner.initialize("mine"), await scanner.initialize("manual")]

    write = CellWrite(CELL.space, CELL.cell_id, b'{"charms":[]}', expected=None)
    assert [(write,), (), ()] == service.run(initialize)


def test_own_initialize_runs_and_its_cell_is_there_afterwards(service: Service) -> None:
    """An author's override may do what it likes; the cell is prepared all the same."""
    mark = service.folder / "prepared"
    service.cells[CELL.space, CELL.cell_id] = b'{"note": 1}'
    service.write(
        "return []", methods=f"async def initialize(self):\n    open({str(mark)!r}, 'w').close()"
    )
    (written,) = service.run(lambda scanner: scanner.initialize("mine"))
    assert mark.exists()
    assert (b'{"note":1,"charms":[]}', b'{"note": 1}') == (written.value, written.expected)


def test_failing_initialize_is_an_error(service: Service) -> None:
    """Its reason reaches the person who asked for it."""
    service.write("return []", methods="def initialize(self): raise OSError('no network')")
    with pytest.raises(ScanError, match="OSError: no network"):
        service.run(lambda scanner: scanner.initialize("mine"))


def test_examples_of_the_documents_are_discovered() -> None:
    """Both examples, put into a directory, are found, initialised and scanned."""
    service = Service(FIXTURES)

    async def whole(scanner: Scanner) -> None:
        assert () == (await scanner.describe()).problems
        for name in ("my-integration-id", "myservice"):
            assert 1 == len(await scanner.initialize(name))
            result = await scanner.scan(name)
            assert ((), (), True) == (result.charms, result.problems, result.initialised)

    service.run(whole)


def test_stopping_twice_is_fine_and_ends_everything(service: Service) -> None:
    """A scan under way fails, later ones are refused, and no process is left, nor its children."""
    told = service.folder / "pids"
    service.write(hang_with_child(told))

    async def stop_amid(scanner: Scanner) -> None:
        scan = asyncio.create_task(scanner.scan("mine"))
        await asyncio.to_thread(wait_for_file, told)
        await scanner.stop()
        with pytest.raises(ScanError, match="SIGKILL"):
            await scan
        await scanner.stop()
        with pytest.raises(ServiceStopping):
            await scanner.scan("mine")

    service.run(stop_amid)
    assert_gone(told)


def test_cancelled_scan_kills_its_process(service: Service) -> None:
    """Giving up on a scan leaves no process behind that still works on it."""
    told = service.folder / "pids"
    service.write(hang_with_child(told))

    async def cancel(scanner: Scanner) -> None:
        scan = asyncio.create_task(scanner.scan("mine"))
        await asyncio.to_thread(wait_for_file, told)
        scan.cancel()
        with pytest.raises(asyncio.CancelledError):
            await scan
        await asyncio.to_thread(assert_gone, told)

    service.run(cancel)


@pytest.mark.parametrize(
    "last",
    [
        "threading.Event().wait()",
        # A mutex locked twice by a call that keeps the interpreter to itself.
        "import ctypes; libc = ctypes.PyDLL(None); mutex = ctypes.create_string_buffer(64)\n"
        "while True: libc.pthread_mutex_lock(mutex)",
    ],
    ids=["blocked", "holding the interpreter"],
)
def test_process_ends_with_the_service(service: Service, last: str) -> None:
    """After kill -9 of the service its scan process is gone, whatever it was doing."""
    told = service.folder / "pids"
    service.write(telling(told, "os.getpid()") + last)
    kill_service_amid_scan(service.folder, told)
    assert_gone(told)


def test_children_end_with_the_service(service: Service) -> None:
    """After kill -9 of the service what the integration had started is gone too."""
    told = service.folder / "pids"
    service.write(hang_with_child(told))
    kill_service_amid_scan(service.folder, told)
    assert_gone(told)


def kill_service_amid_scan(folder: Path, told: Path) -> None:
    """Run a service in a process of its own, and kill it once its fetch has begun."""
    code = f"""
import asyncio
from pathlib import Path
from bg_charm_service.domain.clock import SystemClock
from bg_charm_service.scanning.scanner import Scanner

async def main():
    scanner = Scanner(
        read_cell=lambda space, cell: None, read_charm=lambda ref: None,
        clock=SystemClock(), integrations_dir=Path({str(folder)!r}),
    )
    await scanner.scan("mine")

asyncio.run(main())
"""
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    try:
        wait_for_file(told)
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()


def hang_with_child(told: Path) -> str:
    """Give a fetch that starts a child, tells both process ids, and blocks for ever."""
    return (
        "child = subprocess.Popen(['sleep', '1000'])\n"
        + telling(told, "os.getpid(), child.pid")
        + "threading.Event().wait()"
    )


def telling(told: Path, pids: str) -> str:
    """Give the code that writes process ids into a file, whole at once."""
    return (
        f"with open({str(told) + '.part'!r}, 'w') as file: print({pids}, file=file)\n"
        f"os.rename({str(told) + '.part'!r}, {str(told)!r})\n"
    )


def wait_for_file(file: Path) -> None:
    """Wait until a file is there."""
    waiter = (
        "import os, sys\nfor _ in iter(lambda: os.path.exists(sys.argv[1]), True): os.sched_yield()"
    )
    subprocess.run([sys.executable, "-c", waiter, str(file)], check=True, timeout=PATIENCE_SECONDS)


def assert_gone(told: Path) -> None:
    """Wait until the processes named in a file are gone, zombies of nobody included."""
    for pid in map(int, told.read_text().split()):
        try:
            psutil.Process(pid).wait(timeout=PATIENCE_SECONDS)
        except psutil.NoSuchProcess:
            continue
