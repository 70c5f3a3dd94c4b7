"""A machine of its own with a real systemd in it, and the unit of the service there.

`machine.sh` boots it. What is done in it is done as its root would: by its commands, in its
namespaces, with nothing of the environment of the tests.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tenacity

from tests.process.running import ROOT

BOOT = Path(__file__).parent / "machine.sh"
UNIT = "bg-charm-service"
DATA = "/var/lib/bg-charm-service"
CONFIG = f"/etc/{UNIT}/config.toml"
VARIABLES = f"/etc/{UNIT}.env"
DROP_INS = f"/etc/systemd/system/{UNIT}.service.d"

#: Exit code of `machine.sh` where it cannot run.
CANNOT = 77

#: A command takes no longer on a slow machine, nor does what is waited for, in seconds.
PATIENCE_SECONDS = 300.0
WAIT_SECONDS = 120.0

_ENVIRONMENT = ("HOME=/root", "LANG=C.UTF-8", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")

#: What says how something is fetched here. The tests' own settings of the service must not count.
_FETCHING = re.compile(r"PIP_|SSL_CERT_|REQUESTS_CA_BUNDLE$|\w+_proxy$", re.IGNORECASE)


class CannotBoot(Exception):
    """This machine lacks what another one in namespaces needs; the text says what."""


class Machine:
    """A booted machine: commands run in it, files are put there."""

    def __init__(self, init: int) -> None:
        self._enter = ["nsenter", f"--target={init}"]
        self._enter += ["--mount", "--uts", "--ipc", "--pid", "--cgroup"]

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command as root; errors and output come together, in `stdout`."""
        given = [f"{name}={text}" for name, text in variables.items()]
        return self._run(
            [*self._enter, "--net", "--", "env", "-i", *_ENVIRONMENT, *given, *command]
        )

    def output(self, *command: str, **variables: str) -> str:
        """Give what a command prints that must succeed."""
        done = self.run(*command, **variables)
        assert 0 == done.returncode, f"{command} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout.rstrip("\n")

    def fetching(self, *command: str) -> str:
        """Give what a command prints that needs the network, and the settings of pip, of the tests.

        It must succeed.
        """
        given = [f"{name}={text}" for name, text in os.environ.items() if _FETCHING.match(name)]
        done = self._run([*self._enter, "--", "env", "-i", *_ENVIRONMENT, *given, *command])
        assert 0 == done.returncode, f"{command} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def put(self, path: str, *lines: str) -> None:
        """Write a file, and make its folder."""
        command = ["sh", "-c", 'mkdir -p "${1%/*}" && cat > "$1"', "put", path]
        text = "".join(f"{line}\n" for line in lines)
        done = self._run([*self._enter, "--net", "--", *command], text)
        assert 0 == done.returncode, done.stdout

    def exists(self, path: str) -> bool:
        """Tell whether there is a file, also where a link leads."""
        return self.run("test", "-e", path).returncode == 0

    def _run(self, command: list[str], given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )


class Unit:
    """The service as an installed unit of a machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def program(self, *arguments: str, **variables: str) -> str:
        """Give what a command prints that root calls, and that must succeed.

        Nothing but /etc/bg-charm-service/config.toml leads it to the service.
        """
        return self.machine.output(UNIT, *arguments, **variables)

    def value(self, *arguments: str) -> Any:
        """Give the JSON that a command prints."""
        return json.loads(self.program(*arguments, "--json"))

    def status(self, *names: str) -> Any:
        """Give the values of the status with these names, or the one."""
        found = self.value("status")
        return [found[name] for name in names] if len(names) > 1 else found[names[0]]

    def systemctl(self, verb: str, *options: str) -> None:
        """Do something with the unit that must succeed."""
        done = self.machine.run("systemctl", verb, *options, UNIT)
        assert 0 == done.returncode, f"{verb}: {done.stdout}\n{self.journal('--lines=5')}"

    def show(self, name: str) -> str:
        """Give a property of the unit."""
        return self.machine.output("systemctl", "show", "--value", f"--property={name}", UNIT)

    def journal(self, *options: str) -> str:
        """Give lines of the journal that are the unit's."""
        command = ("journalctl", f"--unit={UNIT}", "--output=cat", "--no-pager", "--quiet")
        # It ends with 1 where a pattern is found nowhere.
        return self.machine.run(*command, *options).stdout

    def processes(self) -> set[str]:
        """Give the numbers of all processes of the unit, each with the time at which it began."""
        group = f"/sys/fs/cgroup/system.slice/{UNIT}.service"
        script = (
            f"for pid in $(cat {group}/cgroup.procs); do cut -d' ' -f1,22 /proc/$pid/stat; done"
        )
        return set(self.machine.output("sh", "-c", script).splitlines())

    def set(self, *settings: str) -> None:
        """Give it these variables, from its next start on, beside those of every test."""
        usual = ("CYCLE_INTERVAL_MS=1000", "CHARM_EXECUTION_TIMEOUT_MS=600000")
        self.machine.put(VARIABLES, *usual, *settings)

    def edit(self, *lines: str) -> None:
        """Change the unit, from its next start on, as `systemctl edit` does."""
        self.machine.put(f"{DROP_INS}/moment.conf", "[Service]", *lines)
        self.machine.output("systemctl", "daemon-reload")

    @contextmanager
    def changed(self) -> Iterator[None]:
        """Have the usual settings, and a running service, after what is done inside."""
        try:
            yield
        finally:
            self.set()
            self.edit()
            self.machine.run("systemctl", "restart", UNIT)


@contextmanager
def booted() -> Iterator[Machine]:
    """Boot a machine, and end it; raises CannotBoot."""
    with subprocess.Popen(
        [str(BOOT), str(ROOT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as script:
        assert script.stdout is not None
        assert script.stdin is not None
        told = ""
        for line in script.stdout:
            told = line.strip()
            if told.startswith("ready "):
                break
        if not told.startswith("ready "):
            code = script.wait()
            assert CANNOT == code, f"the machine did not boot ({code}): {told}"
            raise CannotBoot(told)
        try:
            yield Machine(int(told.removeprefix("ready ")))
        finally:
            # At the end of its input it ends the machine.
            script.stdin.close()
            script.wait()


def wait_until(condition: Any) -> Any:
    """Wait until a condition gives something true, and give that."""
    return tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda found: not found),
        wait=tenacity.wait_fixed(0.1),
        stop=tenacity.stop_after_delay(WAIT_SECONDS),
    )(condition)
