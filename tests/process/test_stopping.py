"""Signals to the service: how it stops, reopens its log, tells its status."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.process.running import Refused, Service, wait_until_ended, watched, watched_descendants


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """An empty data directory."""
    return tmp_path / "data"


def test_stop_lets_work_finish(data_dir: Path) -> None:
    """TERM with a run under way: the run ends and is settled, then the service exits with 0."""
    with Service(data_dir, "--interval=3600") as service:
        gate = service.gate()
        charm = service.add(values={"folder": str(gate.folder)})
        job = charm.send(mode="wait", number=1)
        charm.send(number=2)
        gate.wait_for_run()
        with watched_descendants(service) as handles:
            service.signal(signal.SIGTERM)
            service.wait_for("stopping")
            gate.let_go()
            assert 0 == service.wait()
            wait_until_ended(handles)
        charm.wait_until_settled(job)
        assert 1 == service.count("run.succeeded")
        assert "" == service.errors
        service.start()
        charm.wait_for("run.succeeded")
        assert [1, 2] == charm.get("numbers")
        assert [1, 1] == [run["attempt"] for run in charm.runs()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_stops_at_once(data_dir: Path, number: signal.Signals) -> None:
    """TERM or INT twice: runs are given back at no cost, and run again after the next start."""
    with Service(data_dir, "--interval=3600") as service:
        gate = service.gate()
        charm = service.add(values={"folder": str(gate.folder)})
        job = charm.send(mode="wait")
        begun = gate.wait_for_run()
        with watched(begun["pid"]) as handles:
            service.signal(number)
            service.wait_for("stopping")
            service.signal(number)
            assert 0 == service.wait()
            wait_until_ended(handles)
        service.start()
        assert begun["run_id"] == gate.wait_for_run()["run_id"]
        gate.let_go()
        charm.wait_until_settled(job)
        assert (1, 1, 0) == (charm.get("counter"), *_counts(charm.view()))


def test_stop_past_the_deadline(data_dir: Path) -> None:
    """A run that outlasts the drain is stopped and given back; the exit code is 0 all the same."""
    with Service(data_dir, "--interval=3600", "--drain-timeout=0.2") as service:
        gate = service.gate()
        charm = service.add(values={"folder": str(gate.folder)})
        job = charm.send(mode="wait")
        begun = gate.wait_for_run()
        with watched(begun["pid"]) as handles:
            assert 0 == service.stop()
            wait_until_ended(handles)
        service.wait_for("drain_over")
        service.start()
        assert begun["run_id"] == gate.wait_for_run()["run_id"]
        gate.let_go()
        charm.wait_until_settled(job)
        assert (1, 1, 0) == (charm.get("counter"), *_counts(charm.view()))


def test_new_work_is_refused_while_stopping(data_dir: Path) -> None:
    """A service that drains takes no new work, and says so."""
    with Service(data_dir, "--interval=3600") as service:
        gate = service.gate()
        charm = service.add(values={"folder": str(gate.folder)})
        other = service.add()
        charm.send(mode="wait")
        gate.wait_for_run()
        service.signal(signal.SIGTERM)
        service.wait_for("stopping")
        with pytest.raises(Refused, match="stopping"):
            other.send()
        gate.let_go()
        assert 0 == service.wait()


def test_waiting_client_is_told_of_the_stop(data_dir: Path) -> None:
    """Somebody who waits for a run when the service stops gets an answer, not silence."""
    with Service(data_dir, "--interval=3600", "--drain-timeout=0.2") as service:
        gate = service.gate()
        charm = service.add(values={"mode": "wait", "folder": str(gate.folder)})
        answer = service.later("POST", f"{charm.path}/run")
        gate.wait_for_run()
        assert 0 == service.stop()
        with pytest.raises(Refused, match="stopped before the run ended"):
            answer.result()


def test_hangup_reopens_the_log(data_dir: Path) -> None:
    """After HUP the log goes to a new file of the same name: a rotation has moved the old."""
    log, moved = data_dir.parent / "service.log", data_dir.parent / "service.log.1"
    with Service(data_dir, "--interval=3600", f"--log-file={log}") as service:
        first, second = service.add(), service.add()
        first.perform()
        log.rename(moved)
        service.signal(signal.SIGHUP)
        # The status comes after the hangup: signals are served in the order of their numbers.
        service.signal(signal.SIGUSR1)
        service.wait_for("status.processes")
        second.perform()
        assert first.charm_id in moved.read_text()
        assert second.charm_id not in moved.read_text()
        assert second.charm_id in log.read_text()


def test_usr1_logs_the_status(data_dir: Path) -> None:
    """USR1 writes the status to the log at once, and changes nothing else."""
    with Service(data_dir, "--interval=3600") as service:
        charm = service.add()
        charm.perform()
        service.signal(signal.SIGUSR1)
        told = service.wait_for("status.service")
        service.wait_for("status.processes")
        assert "1 execution, success rate 100.0%" in told["message"]
        assert 0 == service.stop()


def test_status_is_logged_at_the_end(data_dir: Path) -> None:
    """A service that stops writes its status before it goes."""
    with Service(data_dir, "--interval=3600") as service:
        service.add().perform()
        assert 0 == service.stop()
        assert "1 execution" in service.wait_for("status.service")["message"]
        service.wait_for("stopped")


def test_second_service_is_refused(data_dir: Path) -> None:
    """A second service on the same data directory exits with 1 and one clear line."""
    with Service(data_dir, "--interval=3600") as service:
        charm = service.add()
        second = Service(data_dir, "--interval=3600").boot()
        assert 1 == second.wait()
        text = second.errors + "".join(str(line["message"]) for line in second.lines)
        assert 1 == len(text.strip().splitlines())
        assert f"in use by process {service.pid}" in text
        assert "success" == charm.run()["status"]


def _counts(view: dict[str, int]) -> tuple[int, int]:
    return view["executions"], view["failures"]
