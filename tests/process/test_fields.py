"""Large fields, fetched only when a run touches them; and secrets, kept out of every place."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.process.running import CHARMS, Service

SECRETIVE = (CHARMS / "secretive.py").read_text()

#: More than the 64 kB that are sent with a run.
LARGE = 300_000

TOKEN = "tok-3d1f8a5c77e94b"
RENEWED = TOKEN[::-1]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that polls nothing by itself, with an identity that is not the default."""
    flags = ("--interval=3600", "--max-retries=0", "--max-concurrent=2")
    data_dir = tmp_path_factory.mktemp("fields") / "data"
    with Service(data_dir, *flags, OPERATOR_PASS="not the default") as running:
        yield running


def test_large_field_reaches_a_run(service: Service) -> None:
    """A field over 64 kB is there when a run touches it, and can be written back larger."""
    charm = service.add(values={"text": "a" * LARGE})
    charm.perform(mode="measure")
    assert f"{LARGE} of a" == charm.get("note")
    charm.set("text", "b" * 2 * LARGE)
    charm.perform("sync", mode="measure")
    assert f"{2 * LARGE} of b" == charm.get("note")


def test_large_field_that_moves_before_it_is_touched(service: Service) -> None:
    """A large field that was changed before the run touched it makes the run start again."""
    gate = service.gate()
    charm = service.add(values={"folder": str(gate.folder), "text": "a" * LARGE})
    job = charm.send(mode="wait", then="measure")
    gate.wait_for_run()
    charm.set("text", "b" * LARGE)
    gate.let_go(2)
    charm.wait_until_settled(job)
    assert f"{LARGE} of b" == charm.get("note")
    assert ["success", "stale"] == [run["status"] for run in charm.runs()]


def test_large_field_that_nobody_touches_may_change(service: Service) -> None:
    """A large field that a run does not touch may change under it."""
    gate = service.gate()
    charm = service.add(values={"folder": str(gate.folder), "text": "a" * LARGE})
    job = charm.send(mode="wait")
    gate.wait_for_run()
    charm.set("text", "b" * LARGE)
    gate.let_go()
    charm.wait_until_settled(job)
    assert ["success"] == [run["status"] for run in charm.runs()]
    assert "b" * LARGE == charm.get("text")


def test_secret_reaches_a_run_and_nobody_else(service: Service) -> None:
    """A run has the secret in the clear; state, history, log, traceback and files do not."""
    charm = service.add(SECRETIVE, values={"token": TOKEN})
    charm.perform()
    assert len(TOKEN) == charm.get("length")
    failed = charm.perform(fail=True)
    assert "failure" == failed["status"]
    assert "ValueError" in failed["error"]
    charm.perform(renew=True)
    charm.perform()
    shown = [
        str(charm.get("token")),
        str(charm.show()),
        str(charm.runs()),
        str(service.lines),
        service.cli("charm", "get", charm.ref, "--json").stdout,
        service.cli("charm", "logs", charm.ref).stdout,
        service.cli("charm", "export").stdout,
    ]
    assert all(text for text in shown)
    assert 0 == service.stop()
    files = [file for file in service.data_dir.rglob("*") if file.is_file()]
    shown += [file.read_bytes().decode("latin-1") for file in files]
    assert [] == [text for text in shown if TOKEN in text or RENEWED in text]
    service.start()
    charm.perform()
    assert len(RENEWED) == charm.get("length")


def test_secret_survives_a_kill(service: Service) -> None:
    """A secret is readable after KILL and a new start, and not in the files in between."""
    charm = service.add(SECRETIVE, values={"token": TOKEN})
    service.kill()
    files = [file for file in service.data_dir.glob("*") if file.is_file()]
    assert [] == [file for file in files if TOKEN.encode() in file.read_bytes()]
    service.start()
    charm.perform()
    assert len(TOKEN) == charm.get("length")


def test_another_identity_is_turned_away(service: Service) -> None:
    """A service with another identity ends with 1, and names who owns the store and what to do."""
    service.stop()
    stranger = Service(service.data_dir, OPERATOR_PASS="a stranger").boot()
    assert 1 == stranger.wait()
    assert "add-admin-charm --grant" in stranger.errors
    service.start()
