"""Runs the service as an operator does: a process of its own, real signals, its own socket.

Waiting is for something that happens (a line of its log, a run that begins, the end of a
process), never for time; a limit only keeps a broken test from waiting for ever.
"""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2
import psutil

from tests.process.loop_watch import SLOW_TURNS
from tests.process.program import wait_until

ROOT = Path(__file__).parents[2]
CHARMS = ROOT / "tests" / "fixtures" / "charms"
SCRIPTED = (CHARMS / "scripted.py").read_text()

#: The longest any test waits for one thing, in seconds.
PATIENCE_SECONDS = 60.0

#: Stands among a service's flags for listening where API_URL says.
DEFAULT_PORT = "--listen-at-api-url"

Line = dict[str, Any]


def slow_steps(lines: list[Line]) -> list[Line]:
    """Those lines of a log that tell of a slow step of the service's loop."""
    return [line for line in lines if line.get("event") == "slow_step"]


class Refused(Exception):
    """The service refused a request; the text is the one it gave."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Runner:
    """Who runs a service, and with which Python; by default whoever runs the tests, with theirs.

    `identity` is what a process is started with to be another user's; `program` what Python runs.
    """

    python: str = sys.executable
    identity: dict[str, Any] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    program: tuple[str, ...] = ("-m", "bg_charm_service")


class Gate:
    """Two fifos in a folder: runs that wait tell of their beginning, and are let go one by one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in ("began", "go"):
            os.mkfifo(folder / name)
        # Open for both directions, so that neither side ever waits for the other to open it.
        self._began = os.open(folder / "began", os.O_RDWR)
        self._go = os.open(folder / "go", os.O_RDWR)
        self._rest = b""

    def wait_for_run(self) -> Line:
        """Give what the next run said when it began."""
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._began], [], [], PATIENCE_SECONDS)
            assert ready, "no run began"
            self._rest += os.read(self._began, 65536)
        line, _, self._rest = self._rest.partition(b"\n")
        told: Line = json.loads(line)
        return told

    def let_go(self, runs: int = 1) -> None:
        """Let as many waiting or coming runs go on."""
        os.write(self._go, b"\n" * runs)

    def is_quiet(self) -> bool:
        """Whether no run has begun that nobody waited for."""
        return not self._rest and not select.select([self._began], [], [], 0)[0]


class Service:
    """One service on one data directory; it may be stopped and started again.

    `runner` says whose process it is, and of which Python, if not ours.
    """

    def __init__(
        self,
        data_dir: Path,
        *flags: str,
        cwd: Path = ROOT,
        runner: Runner | None = None,
        **environ: str,
    ) -> None:
        self.data_dir = data_dir
        self._cwd = cwd
        self._runner = runner or Runner()
        self.lines: list[Line] = []
        self._flags = flags
        self._environ = environ
        self._news = threading.Condition()
        self._is_over = True
        self._is_closed = False
        self._process: subprocess.Popen[str] | None = None
        self._readers: list[threading.Thread] = []
        self._errors: list[str] = []
        self._pool = ThreadPoolExecutor()
        self._gates = count(1)

    def __enter__(self) -> Service:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def boot(self) -> Service:
        """Start the process; wait for nothing."""
        command = [
            *(self._runner.python, *self._program(), "--data-dir", str(self.data_dir)),
            *("--log-format=json", *_with_sandbox(_with_port(self._flags))),
        ]
        self.lines, self._errors, self._is_over, self._is_closed = [], [], False, False
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=self._cwd,
            env={**clean_environment(), **self._runner.environ, **self._environ},
            **self._runner.identity,
        )
        self._readers = [
            threading.Thread(target=self._read_log, args=(self._process,), daemon=True),
            threading.Thread(target=self._read_errors, args=(self._process,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        return self

    def _program(self) -> list[str]:
        """Arguments that run the program: with its loop watched, where it can import our tests."""
        if self._cwd == ROOT and self._runner == Runner():
            return SLOW_TURNS.command("bg_charm_service")
        return list(self._runner.program)

    def start(self) -> Service:
        """Start the process and wait until it takes requests."""
        self.boot().wait_for("started")
        return self

    def close(self) -> None:
        """End the process if it lives, and take in what it wrote; closing twice is fine."""
        if self._process is not None and not self._is_closed:
            if self._process.poll() is None:
                self.signal(signal.SIGKILL)
            self.wait()
        self._pool.shutdown()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process is over, asked or not."""
        assert self._process is not None
        return self._process.poll() is not None

    @property
    def errors(self) -> str:
        """What the process wrote to stderr so far."""
        return "".join(self._errors)

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Wait for the end of the process; gives its exit code."""
        assert self._process is not None
        code = self._process.wait(PATIENCE_SECONDS)
        for reader in self._readers:
            reader.join(PATIENCE_SECONDS)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()
        self._is_closed = True
        return code

    def stop(self) -> int:
        """Ask the process to end, as `systemctl stop` does."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End the process with no chance to do anything about it."""
        self.signal(signal.SIGKILL)
        self.wait()

    def wait_for(self, event: str, *, times: int = 1, **extra: object) -> Line:
        """Wait for a line of the log with these members; with `times`, for that many."""
        wanted = {"event": event, **extra}.items()
        matching = self.wait_until(
            lambda lines: [line for line in lines if wanted <= line.items()], times
        )
        assert len(matching) >= times, f"no {event} {extra} in {self.lines} {self.errors}"
        return matching[times - 1]

    def wait_until(self, find: Callable[[list[Line]], list[Line]], times: int) -> list[Line]:
        """Wait until this finds so many lines in the log, or the log is over; gives them."""
        with self._news:
            self._news.wait_for(
                lambda: self._is_over or len(find(self.lines)) >= times, PATIENCE_SECONDS
            )
            return find(self.lines)

    def count(self, event: str, **extra: object) -> int:
        """How many lines of the log have these members now."""
        wanted = {"event": event, **extra}.items()
        return sum(wanted <= line.items() for line in self.lines)

    def request(self, method: str, path: str, body: object = None) -> Any:
        """Send a request over the socket; gives the JSON it is answered with; raises Refused."""
        # Nothing is encrypted there, and to load certificates takes longer than the request.
        transport = httpx2.HTTPTransport(uds=str(self.data_dir / "service.sock"), verify=False)
        with httpx2.Client(transport=transport, timeout=PATIENCE_SECONDS) as client:
            answer = client.request(method, f"http://service{path}", json=body)
        if answer.is_error:
            raise Refused(answer.status_code, answer.json()["error"])
        return answer.json()

    def page(self, path: str) -> str:
        """A page as an operator sees it, over the socket of the data directory."""
        transport = httpx2.HTTPTransport(uds=str(self.data_dir / "service.sock"))
        with httpx2.Client(transport=transport, base_url="http://service") as client:
            return client.get(path).raise_for_status().text

    def submit(self, path: str, fields: dict[str, str]) -> str:
        """The page that a form of an operator's page leads to, over the same socket."""
        transport = httpx2.HTTPTransport(uds=str(self.data_dir / "service.sock"))
        with httpx2.Client(transport=transport, base_url="http://service") as client:
            answer = client.post(path, data=fields)
            assert not answer.is_error, answer.text
            return answer.text

    def later(self, method: str, path: str, body: object = None) -> Future[Any]:
        """Send a request whose answer is waited for later.

        It is on its way when this returns: the service takes it before any later one.
        """
        connection = http.client.HTTPConnection("service", timeout=PATIENCE_SECONDS)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(PATIENCE_SECONDS)
        try:
            connection.sock.connect(str(self.data_dir / "service.sock"))
            connection.request(method, path, json.dumps(body), {"content-type": "application/json"})
        except OSError:
            connection.close()
            raise
        return self._pool.submit(_answer_of, connection)

    def cli(self, *arguments: str, stdin: int | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of the command line on the same data directory."""
        command = self.open_cli(*arguments, stdin=stdin)
        try:
            out, errors = command.communicate(timeout=PATIENCE_SECONDS)
        except BaseException:
            command.kill()
            command.communicate()
            raise
        return subprocess.CompletedProcess(command.args, command.returncode, out, errors)

    def open_cli(self, *arguments: str, stdin: int | None = None) -> subprocess.Popen[str]:
        """Start such a command, for who looks at what it says while it runs."""
        command = (sys.executable, "-m", "bg_charm_service", "--data-dir", str(self.data_dir))
        return subprocess.Popen(
            [*command, *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self._cwd,
            env={**clean_environment(), **self._environ},
        )

    def status(self) -> dict[str, Any]:
        """The status as the service tells it."""
        status: dict[str, Any] = self.request("GET", "/api/status")
        return status

    def worker_pids(self) -> list[int]:
        """The processes of the workers, once none of them is being replaced."""
        pids: list[int] = wait_until(self._pids_of_steady_workers)
        return pids

    def _pids_of_steady_workers(self) -> list[int]:
        workers = self.status()["workers"]
        is_steady = all(worker["state"] in ("idle", "busy") for worker in workers)
        return [worker["pid"] for worker in workers] if is_steady else []

    def zygote_pid(self) -> int:
        """The process that forks the workers."""
        for child in psutil.Process(self.pid).children():
            # Others come and go, those that scan.
            with suppress(psutil.NoSuchProcess):
                if "bg_charm_service.workers.runtime.zygote" in " ".join(child.cmdline()):
                    return child.pid
        raise AssertionError("there is no process that forks workers")

    def descendants(self) -> list[psutil.Process]:
        """Every process that this one started, and theirs."""
        return psutil.Process(self.pid).children(recursive=True)

    def gate(self) -> Gate:
        """Make a folder through which runs are held and let go."""
        return Gate(self.data_dir.parent / f"{self.data_dir.name}-gate{next(self._gates)}")

    def add(self, source: str = SCRIPTED, **request: Any) -> RunningCharm:
        """Add a charm; `values` are its fields, the rest is what the request takes."""
        values = request.pop("values", {})
        cause = request.pop("cause", f"charm {next(self._gates)}")
        body = {
            "source": source,
            "space": "test",
            "cause": cause,
            "file": "scripted.py",
            "set": values,
        }
        added = self.request("POST", "/api/charms", {**body, **request})
        return RunningCharm(self, f"{added['space']}/{added['charm_id']}")

    def _read_log(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for text in process.stdout:
            line = json.loads(text)
            with self._news:
                self.lines.append(line)
                self._news.notify_all()
        with self._news:
            self._is_over = True
            self._news.notify_all()

    def _read_errors(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        self._errors.extend(process.stderr)


@dataclass(frozen=True)
class RunningCharm:
    """A charm of a running service."""

    service: Service
    ref: str

    @property
    def charm_id(self) -> str:
        return self.ref.partition("/")[2]

    @property
    def path(self) -> str:
        return f"/api/charms/{self.ref}"

    def run(self) -> dict[str, Any]:
        """Poll it now; gives the run's record."""
        run: dict[str, Any] = self.service.request("POST", f"{self.path}/run")["run"]
        return run

    def send(self, stream: str | None = None, **event: Any) -> int:
        """Send it an event; gives the number of the job."""
        body = {"stream": stream, "event": event}
        return int(self.service.request("POST", f"{self.path}/send", body)["job_id"])

    def perform(self, stream: str | None = None, **event: Any) -> dict[str, Any]:
        """Send it an event and wait until it was run for the first time; gives the run's record."""
        job_id = self.send(stream, **event)
        self.wait_until_settled(job_id)
        return next(run for run in self.runs() if run["job_id"] == job_id)

    def wait_until_settled(self, job_id: int, attempt: int = 1) -> Line:
        """Wait until the log tells of an attempt's end."""
        told = self.service.wait_until(lambda lines: _told(lines, job_id, attempt), 1)
        assert told, f"attempt {attempt} of job {job_id} did not end: {self.service.lines}"
        return told[0]

    def wait_for(self, event: str, *, times: int = 1, **extra: object) -> Line:
        """Wait for a line of the log about this charm."""
        return self.service.wait_for(event, times=times, charm=self.charm_id, **extra)

    def post(self, action: str) -> Any:
        """Enable, disable or requeue it."""
        return self.service.request("POST", f"{self.path}/{action}")

    def register(self, integration: str = "manual") -> None:
        """Have it polled."""
        space, _, charm_id = self.ref.partition("/")
        body = {"charmId": charm_id, "space": space, "integration": integration}
        self.service.request("POST", "/api/integrations/bg", body)

    def unregister(self) -> None:
        """Have it polled no more."""
        self.service.request("DELETE", f"/api/integrations/bg/{self.ref}")

    def remove(self) -> None:
        """Delete it."""
        self.service.request("DELETE", self.path)

    def update(self, source: str) -> dict[str, Any]:
        """Give it new source."""
        body = {"source": source, "file": "scripted.py"}
        report: dict[str, Any] = self.service.request("PUT", f"{self.path}/source", body)
        return report

    def set(self, field: str, value: object) -> None:
        """Set a field from outside."""
        self.service.request("PUT", f"{self.path}/state/{field}", value)

    def get(self, field: str) -> Any:
        """The value of a field."""
        return self.service.request("GET", f"{self.path}/state/{field}")

    def view(self) -> dict[str, Any]:
        """How the service shows it in lists."""
        view: dict[str, Any] = self.show()["charm"]
        return view

    def show(self) -> dict[str, Any]:
        """All that the service knows of it."""
        detail: dict[str, Any] = self.service.request("GET", self.path)
        return detail

    def runs(self) -> list[dict[str, Any]]:
        """Its recorded runs, newest first."""
        runs: list[dict[str, Any]] = self.service.request("GET", f"{self.path}/runs?limit=1000")
        return runs


def _answer_of(connection: http.client.HTTPConnection) -> Any:
    """Wait for the answer on a connection; raises Refused."""
    with closing(connection), connection.getresponse() as answer:
        told = json.loads(answer.read())
    if answer.status >= 400:
        raise Refused(answer.status, told["error"])
    return told


def _told(lines: list[Line], job_id: int, attempt: int) -> list[Line]:
    return [
        line
        for line in lines
        if line.get("event") in ("run.succeeded", "run.failed")
        and (line["job"], line["attempt"]) == (job_id, attempt)
    ]


@contextmanager
def watched(*pids: int) -> Iterator[list[int]]:
    """Hold on to processes, so that their numbers cannot be given to others meanwhile."""
    handles = [os.pidfd_open(pid) for pid in pids]
    try:
        yield handles
    finally:
        for handle in handles:
            os.close(handle)


@contextmanager
def watched_descendants(service: Service) -> Iterator[list[int]]:
    """Hold on to what a service started, but for what has ended by itself before that."""
    handles: list[int] = []
    try:
        for process in service.descendants():
            with suppress(ProcessLookupError):
                handles.append(os.pidfd_open(process.pid))
        yield handles
    finally:
        for handle in handles:
            os.close(handle)


def wait_until_ended(handles: list[int]) -> None:
    """Wait for the end of processes that are watched."""
    for handle in handles:
        ready, _, _ = select.select([handle], [], [], PATIENCE_SECONDS)
        assert ready, "a process did not end"


def clean_environment() -> dict[str, str]:
    """This environment without what would configure the service."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")
    here = {name: os.environ[name] for name in kept if name in os.environ}
    return {**here, "BG_CHARM_CONFIG": os.devnull}


def _with_port(flags: tuple[str, ...]) -> tuple[str, ...]:
    """Flags of a service that opens no port unless it is told to: several run at a time."""
    if DEFAULT_PORT in flags:
        return tuple(flag for flag in flags if flag != DEFAULT_PORT)
    told = any(flag.startswith("--listen") for flag in flags)
    return flags if told else ("--no-api", *flags)


def _with_sandbox(flags: tuple[str, ...]) -> tuple[str, ...]:
    """Flags of a service without walls unless it is told: scripted charms use fifos and children.

    What holds behind walls is the business of tests/hostile.
    """
    told = any(flag.startswith("--sandbox") for flag in flags)
    return flags if told else ("--sandbox=off", *flags)
