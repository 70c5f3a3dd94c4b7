"""Signals that are sent to all processes of the service at once, as `systemctl kill` does."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import psutil
import pytest

from tests.process.running import Service

#: Those that the main process minds or ignores.
TO_ALL = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)

#: Those that end the main process as KILL does, and nobody else.
TO_OTHERS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGALRM,
    signal.SIGPROF,
    signal.SIGRTMIN,
    signal.SIGRTMAX,
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A running service."""
    with Service(tmp_path_factory.mktemp("signals") / "data", "--interval=3600") as found:
        yield found


def send_to_all(service: Service, number: signal.Signals, *, also_main: bool) -> None:
    """Send a signal to the processes of the service: its zygote, its workers, its scans."""
    others = psutil.Process(service.pid).children(recursive=True)
    for pid in [*([service.pid] if also_main else []), *(other.pid for other in others)]:
        os.kill(pid, number)


@pytest.mark.parametrize("number", [*TO_ALL, *TO_OTHERS])
def test_a_signal_to_all_ends_nobody(service: Service, number: signal.Signals) -> None:
    """A run that is under way ends as it would have, in the same worker, and is not blamed."""
    gate = service.gate()
    charm = service.add(values={"folder": str(gate.folder)})
    zygote, workers = service.zygote_pid(), service.worker_pids()
    job = charm.send(mode="wait")
    gate.wait_for_run()
    send_to_all(service, number, also_main=number in TO_ALL)
    gate.let_go()
    charm.wait_until_settled(job)
    (run,) = charm.runs()
    assert ("success", 1) == (run["status"], run["attempt"])
    assert zygote == service.zygote_pid()
    assert set(workers) <= set(service.worker_pids())
    assert (0, 0) == (service.status()["failures"], service.status()["workers_crashed"])


def test_term_to_all_lets_work_finish(service: Service) -> None:
    """The main process stops as if it alone had got the signal."""
    gate = service.gate()
    charm = service.add(values={"folder": str(gate.folder)})
    job = charm.send(mode="wait")
    gate.wait_for_run()
    send_to_all(service, signal.SIGTERM, also_main=True)
    service.wait_for("stopping")
    gate.let_go()
    assert 0 == service.wait()
    charm.wait_until_settled(job)
    assert not [line for line in service.lines if line.get("event") == "run.failed"]
