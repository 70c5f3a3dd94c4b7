"""Where hostile charms are let loose: a service, neighbours, and things that nobody may touch.

A rig has a neighbour in the hostile charm's own space and a stranger in another one. Both are
polled all the time, and again in every cycle that a hostile charm runs in.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from tests.hostile.deeds import Deed, source_of
from tests.hostile.greeter import greeter
from tests.process.program import wait_until
from tests.process.running import ROOT, Line, Runner, RunningCharm, Service

#: Small limits, so that whoever runs into one does so soon, and leaves room for the tests.
FLAGS = (
    "--interval=1",
    "--listen=localhost:0",
    "--max-concurrent=4",
    "--max-retries=0",
    "--failures=100000",
    "--timeout=20",
    "--kill-grace=0.3",
    "--worker-memory=96M",
    "--open-files=64",
    "--threads=16",
    "--run-log=4K",
    "--state-size=1M",
    "--scratch-size=8M",
)

NEIGHBOUR = """\
import json

from bg_charm_service import Charm

class Neighbour(Charm):
    counter: int = 0
    note: str = ""
    secret: str = ""

    def bg_updater(self, event: dict) -> None:
        self.counter += 1
        self.note = json.loads('"as it was"')
"""


class Rig:
    """A service with neighbours, and what a hostile charm may neither read nor change."""

    def __init__(self, runner: Runner, sandbox: str, *flags: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hostile-"))
        self.home = self.folder / "home"
        self.secrets = {name: f"{name}-{secrets.token_hex(8)}" for name in ("pass", "file", "key")}
        self.secrets["state"] = f"state-{secrets.token_hex(8)}"
        # Apart from the tests, which a signal to its group must not reach.
        self._runner = replace(runner, identity={**runner.identity, "start_new_session": True})
        self._flags = (*FLAGS, f"--sandbox={sandbox}", *flags)
        self._uid = runner.identity.get("user", os.geteuid())
        self._stack = ExitStack()
        self._charms: dict[str, RunningCharm] = {}
        self.service: Service
        self.neighbour: RunningCharm
        self.stranger: RunningCharm

    def __enter__(self) -> Rig:
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, self.folder)
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _open(self, stack: ExitStack) -> None:
        self._make_folder("")
        for name in ("home", "home/.ssh", "home/empty", "data"):
            self._make_folder(name)
        self.key = self._write("home/.ssh/id_ed25519", self.secrets["key"])
        self.other = stack.enter_context(greeter())
        self.allowed = stack.enter_context(greeter())
        self.abstract = f"\0hostile-{secrets.token_hex(8)}"
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(self.abstract)
        listener.listen()
        self.service = stack.enter_context(
            Service(
                self.folder / "data",
                *self._flags,
                f"--charm-network=80,443,{self.allowed}",
                runner=self._runner,
                cwd=self.home,
                HOME=str(self.home),
                OPERATOR_PASS=self.secrets["pass"],
            )
        )
        self.secret = self._write("data/secret.txt", self.secrets["file"])
        url = str(self.service.wait_for("listening")["url"])
        self.port = int(url.rpartition(":")[2])
        self.neighbour = self.service.add(
            NEIGHBOUR, space="hostile", cause="neighbour", register=True
        )
        self.stranger = self.service.add(
            NEIGHBOUR,
            space="other",
            cause="stranger",
            register=True,
            values={"secret": self.secrets["state"]},
        )
        # Each is polled at once when it is registered; what follows is not to run among these.
        self._poll_neighbours()
        self._outside = self._seen_outside()
        # Without walls a charm can leave it stopped, and then it does not end with its service.
        stack.callback(_end, psutil.Process(self.service.zygote_pid()))

    def suffer(self, deed: Deed) -> Line:
        """Let a deed be done in a cycle with both neighbours, and assert what came of it."""
        run = self.cycle(deed)
        cause = run["cause"] or run["status"]
        assert (deed.cause, True) == (cause, deed.words in run["error"]), (cause, run["error"])
        self.check(self.hostile(deed.file))
        return run

    def cycle(self, deed: Deed) -> Line:
        """Let a deed be done while both neighbours are polled; gives the run.

        Both complete a run, whatever becomes of the others.
        """
        charm = self.hostile(deed.file)
        job = charm.send(deed=deed.name)
        self._poll_neighbours()
        charm.wait_until_settled(job)
        return next(run for run in charm.runs() if run["job_id"] == job)

    def hostile(self, file: str) -> RunningCharm:
        """Give the charm that does the deeds of a file; let it in first."""
        if file not in self._charms:
            values = {"target": self._target()}
            source = source_of(file)
            self._charms[file] = self.service.add(source, space="hostile", values=values)
        return self._charms[file]

    def check(self, hostile: RunningCharm) -> None:
        """Assert that nobody but the guilty noticed anything."""
        self._check_others()
        # Neither words nor state of the charm have what nobody may read.
        shown = json.dumps([hostile.runs(), hostile.get("loot")])
        assert [] == [name for name, text in self.secrets.items() if text in shown]

    def is_laid_waste(self) -> bool:
        """Whether a charm has hurt the others, so that no more can be learnt here."""
        try:
            self._poll_neighbours()
            self._check_others()
        except Exception:
            return True
        return False

    def _poll_neighbours(self) -> None:
        neighbours = (self.neighbour, self.stranger)
        polled = [self.service.later("POST", f"{each.path}/run") for each in neighbours]
        for answer in polled:
            run = answer.result()["run"]
            assert ("success", "") == (run["status"], run["error"])

    def _check_others(self) -> None:
        status = self.service.status()
        assert status["healthy"], status["problems"]
        assert self.service.pid == status["pid"]
        for charm in (self.neighbour, self.stranger):
            view = charm.view()
            assert (0, True) == (view["failures"], view["enabled"])
            assert "as it was" == charm.get("note")
        assert self._outside == self._seen_outside()
        assert wait_until(self._has_no_children_of_workers)

    def _target(self) -> dict[str, Any]:
        """What a hostile charm goes for: where things are, as somebody may have told it."""
        data_dir = self.service.data_dir
        return {
            "abstract": self.abstract,
            "allowed": ["127.0.0.1", self.allowed],
            "checkout": str(ROOT),
            "data_dir": str(data_dir),
            "database": str(next(data_dir.glob("*.db*"))),
            "empty": str(self.home / "empty"),
            "free_port": _free_port(),
            "group": os.getpgid(self.service.pid),
            "home": str(self.home),
            "key": str(self.key),
            "other": ["127.0.0.1", self.other],
            "port": self.port,
            "run_of_the_neighbour": self._last_run(self.neighbour),
            "run_of_the_stranger": self._last_run(self.stranger),
            "secret": str(self.secret),
            "service": self.service.pid,
            "socket": str(data_dir / "service.sock"),
            "stranger": self.stranger.ref,
            "unique": f"planted-{secrets.token_hex(8)}",
            "words": "state-",
        }

    def _last_run(self, charm: RunningCharm) -> str:
        runs = charm.runs()
        return str(runs[0]["run_id"]) if runs else "1.1"

    def _has_no_children_of_workers(self) -> bool:
        """Whether every process below the service is the zygote, one of its workers, or a scan."""
        parents = {self.service.pid, self.service.zygote_pid()}
        return all(
            _parent_of(process) in {*parents, None} for process in self.service.descendants()
        )

    def _seen_outside(self) -> dict[str, tuple[object, ...]]:
        """What is to be seen of the files that no charm may change."""
        paths = [self.home, *self.home.rglob("*"), self.service.data_dir / "secret.txt"]
        names = {path.name for path in self.service.data_dir.iterdir()} - {"scratch"}
        seen: dict[str, tuple[object, ...]] = {"names": tuple(sorted(names))}
        for path in paths:
            found = path.lstat()
            text = path.read_text() if path.is_file() else ""
            seen[str(path)] = (found.st_mode, found.st_uid, found.st_mtime_ns, text)
        return seen

    def _make_folder(self, name: str) -> None:
        path = self.folder / name
        path.mkdir(mode=0o700, exist_ok=True)
        os.chown(path, self._uid, -1)

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        os.chown(path, self._uid, -1)
        return path


class Rigs:
    """The rigs that are open: one for each user and each set of flags, opened when asked for."""

    def __init__(self, sandbox: str) -> None:
        self._sandbox = sandbox
        self._open: dict[tuple[str, ...], Rig] = {}

    def __enter__(self) -> Rigs:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, runner: Runner, *flags: str) -> Rig:
        """Give the rig of a user and flags."""
        key = (str(runner.identity), *flags)
        if key not in self._open:
            self._open[key] = Rig(runner, self._sandbox, *flags).__enter__()
        return self._open[key]

    def close(self) -> None:
        """Close all rigs."""
        for key in list(self._open):
            self._open.pop(key).__exit__()

    def close_those_laid_waste(self) -> None:
        """Close the rigs that a charm has laid waste: the next ones are as new."""
        for key, rig in list(self._open.items()):
            if rig.is_laid_waste():
                self._open.pop(key).__exit__()


def _parent_of(process: psutil.Process) -> int | None:
    """Give a process's parent; None for one that has ended meanwhile."""
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return None


def _end(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])
