"""What the service does for its storage: copies, room that is given back, and the doctor."""

from __future__ import annotations

import random
import threading

import pytest

from bg_charm_service.domain.errors import BackupError, ServiceStopping
from bg_charm_service.domain.model import Origin
from bg_charm_service.storage.records import Severity
from tests.contract.engine import Engine
from tests.contract.test_store import add_charm
from tests.contract.test_transactions import SPACE, add, names

NOW = 1000.0
OWNER = "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH"


def go_on() -> bool:
    """Let a copy go on to its end."""
    return False


def test_copy_is_opened_like_any_other(engine: Engine) -> None:
    """All that is committed is in it, and nothing that is written afterwards."""
    with engine.transaction():
        add(engine, "a")
    target = engine.directory / "copy"
    engine.database.copy_to(target, go_on)
    add(engine, "b")
    copy = engine.open_copy(target)
    assert b"1" == copy.store.spaces.document(SPACE, "a")
    assert copy.store.spaces.document(SPACE, "b") is None
    copy.close()
    assert ["a", "b"] == names(engine)


def test_copy_is_made_from_a_thread(engine: Engine) -> None:
    """The loop goes on with its transactions meanwhile; each is in the copy as a whole or not."""
    with engine.transaction():
        for number in range(40):
            add(engine, f"filling {number}", b'"%s"' % (b"x" * 50_000))
    target, begun, written = engine.directory / "copy", threading.Event(), threading.Event()

    def wait_for_a_write() -> bool:
        begun.set()
        return not written.wait(60)

    copying = threading.Thread(target=engine.database.copy_to, args=(target, wait_for_a_write))
    copying.start()
    assert begun.wait(60)
    with engine.transaction():
        add(engine, "a")
        add(engine, "b")
    written.set()
    copying.join()
    copy = engine.open_copy(target)
    found = [copy.store.spaces.document(SPACE, name) for name in "ab"]
    copy.close()
    assert found in ([b"1", b"1"], [None, None])


def test_copy_that_is_given_up_leaves_no_file(engine: Engine) -> None:
    """Nothing lies about that is not whole."""
    with engine.transaction():
        for number in range(40):
            add(engine, f"filling {number}", b'"%s"' % (b"x" * 50_000))
    target = engine.directory / "copy"
    with pytest.raises(ServiceStopping):
        engine.database.copy_to(target, lambda: True)
    assert [] == list(engine.directory.iterdir())


def test_copy_replaces_no_file(engine: Engine) -> None:
    """A file that is there stays what it is."""
    target = engine.directory / "copy"
    target.write_text("mine")
    with pytest.raises(BackupError):
        engine.database.copy_to(target, go_on)
    assert "mine" == target.read_text()


def test_room_is_given_back(engine: Engine) -> None:
    """What was deleted leaves the disk, as many pages at a time as are asked for."""
    with engine.transaction():
        charms = [
            add_charm(engine.store, str(number), source=str(number) + "x" * 4000)
            for number in range(100)
        ]
        for charm in charms:
            engine.store.charms.mark_removed(charm.charm_key, NOW)
    with engine.transaction():
        assert 100 == engine.store.charms.purge_removed(NOW + 1, limit=100)
    free = engine.database.free_pages
    assert free >= 100 if engine.gives_back else free == 0

    engine.database.give_back(60)

    # The engine's own map of pages may take one of them.
    given_back = free - engine.database.free_pages
    assert 60 <= given_back <= 61 if engine.gives_back else given_back == 0
    with engine.transaction(), pytest.raises(RuntimeError):
        engine.database.give_back(1)


class Memory:
    """A service with nothing under way, that polls nobody."""

    def __init__(self) -> None:
        self.scheduled: list[tuple[int, str]] = []

    def in_flight(self) -> frozenset[int]:
        return frozenset()

    def is_polled(self, charm_key: int) -> bool:
        return charm_key in [key for key, _ in self.scheduled]

    def schedule(self, charm_key: int, space: str) -> None:
        self.scheduled.append((charm_key, space))

    def next_reminder(self) -> float | None:
        return None

    def remember_reminders(self) -> None: ...


def test_doctor_finds_nothing_in_sound_data(engine: Engine) -> None:
    """Whether a service runs or none; pauses are told by None."""
    found = list(engine.storage.doctor.examine(NOW, None))
    assert [None] * len(found) == found
    assert [None] * len(found) == list(engine.storage.doctor.examine(NOW, Memory()))[: len(found)]


def test_doctor_mends_what_is_safe_to_mend(engine: Engine) -> None:
    """A claim whose run nobody makes is given back, a charm that nobody polls gets its turn.

    What was read of them before counts as changed.
    """
    doctor, memory = engine.storage.doctor, Memory()
    with engine.transaction():
        engine.store.secrets.create(OWNER)
        charm = add_charm(engine.store, "counter")
        engine.store.registrations.put(charm.charm_key, "manual", NOW)
        engine.store.health.set_due(charm.charm_key, NOW)
        engine.queue.put_poll(
            charm.space_key,
            charm.charm_key,
            charm.ref,
            "bgUpdater",
            b"{}",
            origin=Origin.POLL,
            run_at=NOW,
            now=NOW,
        )
    with engine.transaction():
        (claim,) = engine.queue.claim(charm.space_key, 1, NOW)
    (note,) = [found for found in doctor.examine(NOW, None) if found is not None]
    assert (Severity.NOTE, False) == (note.severity, note.is_mendable)
    mark = engine.database.sole_writer.changes.since(charm.charm_key)
    for trouble in [found for found in doctor.examine(NOW, memory) if found is not None]:
        assert trouble.is_mendable
        list(doctor.mend(trouble, NOW, memory))
    assert [] == [found for found in doctor.examine(NOW, memory) if found is not None]
    assert [(charm.charm_key, charm.ref.space)] == memory.scheduled
    assert (1, 0, False) == (
        engine.queue.pending,
        engine.queue.claimed,
        engine.queue.holds(claim.job),
    )
    assert mark != engine.database.sole_writer.changes.since(charm.charm_key)


def test_room_on_disk_is_told(engine: Engine) -> None:
    """It grows with what is stored, whether that lies in the data or in the log of it."""
    before = engine.database.disk_usage
    with engine.transaction():
        add(engine, "x", b'"%s"' % random.Random(1).randbytes(250_000).hex().encode())
    after = engine.database.disk_usage
    assert after.data_bytes + after.log_bytes >= before.data_bytes + before.log_bytes + 500_000


def test_schema_is_told(engine: Engine) -> None:
    """An engine that was opened has the schema of this program."""
    database = engine.database
    assert database.schema_version == database.newest_schema > 0
