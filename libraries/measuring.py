"""Runs charms in a real service, with all walls up, and notes how each did."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.service_process import Failed, ServiceProcess
from libraries.catalogue import ADD, PYTHON, LibraryCharm

#: How often each charm runs; one that is to be refused runs once.
RUNS = 5


@dataclass(frozen=True)
class Measured:
    """How a charm did; durations in milliseconds. Without a `problem` it did as it should.

    `retired` says why its worker was replaced after its runs, empty where it was not; `told` what
    the error of one says that was to be refused.
    """

    charm: LibraryCharm
    version: str
    problem: str = ""
    first_ms: float = 0.0
    later_ms: float = 0.0
    memory_mb: float = 0.0
    retired: str = ""
    told: str = ""


def flags_for(addresses: Mapping[str, str]) -> tuple[str, ...]:
    """What a service is started with that polls nothing by itself, and lets charms talk to these.

    All other limits are the usual ones.
    """
    ports = ",".join(("53", "80", "443", *_ports(addresses)))
    return "--interval=3600", "--max-retries=0", f"--charm-network={ports}"


def _ports(addresses: Mapping[str, str]) -> list[str]:
    return [str(urlsplit(address).port) for address in addresses.values()]


def measure_all(
    charms: Sequence[LibraryCharm], addresses: Mapping[str, str], folder: Path, program: Path
) -> Iterator[Measured]:
    """Run charms one after the other, each in a space and a worker of its own."""
    with ServiceProcess(folder / "data", *flags_for(addresses), program=program) as service:
        for charm in charms:
            try:
                yield _measure(service, charm, addresses)
            except Failed as error:
                yield Measured(charm, _installed(charm), str(error))


def add(service: ServiceProcess, charm: LibraryCharm, addresses: Mapping[str, str]) -> str:
    """Add a charm to a space of its own; gives the path of it. Raises Failed."""
    given = {
        name: address for name, address in addresses.items() if f"    {name}: str" in charm.source
    }
    body = {
        "source": charm.source,
        "space": charm.name,
        "cause": charm.name,
        "file": f"{charm.name}.py",
        "set": given,
    }
    added = service.ask("POST", "/api/charms", body)
    return f"/api/charms/{added['space']}/{added['charm_id']}"


def run(service: ServiceProcess, path: str) -> dict[str, Any]:
    """Run a charm once; gives the record of it."""
    record: dict[str, Any] = service.ask("POST", f"{path}/run")["run"]
    return record


def why_not(record: Mapping[str, Any]) -> str:
    """Say why a run has failed; empty where it has not."""
    return "" if record["status"] == "success" else f"{record['cause']}: {record['error']}"


def status_mb(pid: int, name: str) -> float:
    """Read a size of a process, by its name in its status; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def _measure(
    service: ServiceProcess, charm: LibraryCharm, addresses: Mapping[str, str]
) -> Measured:
    try:
        path = add(service, charm, addresses)
    except Failed as error:
        if charm.refused is None or charm.refused[0] != ADD:
            raise
        told = str(error).partition('"error":"')[2].partition('","kind')[0] or str(error)
        told = told.replace("\\'", "'")
        missing = "" if charm.refused[1] in told else f"it was to say {charm.refused[1]!r}: {told}"
        return Measured(charm, _installed(charm), missing, told=told)
    have = _installed(charm, service.ask("GET", path)["packages"])
    if charm.refused is not None:
        record = run(service, path)
        told = record["error"]
        for port in _ports(addresses):
            # Of all that it may connect to, these are there for this measurement only.
            told = told.replace(f",{port}", "")
        return Measured(charm, have, _not_refused(record, *charm.refused), told=told)
    runs: list[dict[str, Any]] = []
    for _ in range(RUNS):
        runs.append(run(service, path))
        if problem := why_not(runs[-1]):
            return Measured(charm, have, problem)
    later = sorted(record["duration_ms"] for record in runs[1:])
    # Of all but the newest: what shows only later stands in their records by now.
    records = service.ask("GET", f"{path}/runs?limit={RUNS}")[1:]
    retired = next((record["retired"] for record in records if record["retired"]), "")
    problem = ""
    if charm.costs_a_worker and not retired:
        problem = "its worker stays by now: the catalogue says that each run costs one"
    elif retired and not charm.costs_a_worker:
        problem = f"its worker was replaced: {retired}"
    return Measured(
        charm,
        have,
        problem,
        first_ms=runs[0]["duration_ms"],
        later_ms=later[len(later) // 2],
        memory_mb=status_mb(runs[-1]["worker"], "RssAnon"),
        retired=retired,
    )


def _not_refused(record: Mapping[str, Any], cause: str, words: str) -> str:
    """Say what is wrong where a run did not fail by this cause, with these words."""
    if record["status"] == "success":
        return "it succeeded, and was to be refused"
    if record["cause"] != cause or words not in record["error"]:
        return f"it was to say {words!r} ({cause}), and said {why_not(record)}"
    return ""


def _installed(charm: LibraryCharm, own: Sequence[str] = ()) -> str:
    """Give the version of a library: of the charm's own packages, else of what is installed."""
    if charm.library == PYTHON:
        return platform.python_version()
    for name, _, number in (package.partition(" ") for package in own):
        if name == charm.library:
            return number
    try:
        return version(charm.library)
    except PackageNotFoundError:
        return "-"
