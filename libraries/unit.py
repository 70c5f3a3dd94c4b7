"""Runs charms in the installed systemd unit, on a machine of its own in namespaces (as root)."""

from __future__ import annotations

import json
from collections.abc import Sequence

from libraries.catalogue import read_charm
from tests.systemd.machine import UNIT, CannotBoot, Machine, booted

__all__ = ["CannotBoot", "run_in_the_unit"]

_CHECKOUT = "/root/checkout"
_PIP = "/opt/bg-charm-service/bin/pip"

#: What pandas reads Parquet with is not among what its charms name.
_ALSO = ("pyarrow",)


def run_in_the_unit(names: Sequence[str]) -> list[str]:
    """Run each charm twice; gives those that failed, with why. Raises CannotBoot."""
    with booted() as machine:
        _install(machine, sorted({*(read_charm(name).library for name in names), *_ALSO}))
        return [problem for name in names if (problem := _run(machine, name))]


def _install(machine: Machine, libraries: Sequence[str]) -> None:
    machine.fetching("make", "-C", _CHECKOUT, "install-systemd", "PYTHON=/usr/bin/python3")
    pins = f"--constraint={_CHECKOUT}/libraries/requirements.txt"
    install = ("install", "--quiet", "--only-binary=:all:", pins)
    for library in libraries:
        # One by one: all together take longer than a command may.
        machine.fetching("sh", "-c", 'umask 022 && exec "$@"', "pip", _PIP, *install, library)
    machine.output(UNIT, "identity", "new", "/etc/credstore/bg-charm-service.pem")
    machine.output("systemctl", "start", UNIT)


def _run(machine: Machine, name: str) -> str:
    """Add a charm and run it twice; gives what went wrong."""
    source = f"{_CHECKOUT}/libraries/charms/{name}.py"
    added = machine.run(UNIT, "charm", "add", source, f"--space={name}", "--json")
    if added.returncode:
        return f"{name}: {added.stdout.strip()}"
    ref = json.loads(added.stdout)
    for _ in range(2):
        done = machine.run(UNIT, "charm", "run", f"{ref['space']}/{ref['charm_id']}")
        if done.returncode:
            return f"{name}: {done.stdout.strip()}"
    return ""
