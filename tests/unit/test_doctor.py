"""The doctor: each kind of damage is found, told, and mended where that is safe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bg_charm_service.storage.disk_reserve import DiskReserve
from bg_charm_service.storage.records import Finding, Severity, Trouble
from bg_charm_service.storage.sql.store.registrations import Registrations
from bg_charm_service.storage.sqlite.checks.examination import Doctor
from bg_charm_service.storage.sqlite.checks.file_checks import file_troubles
from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.storage.sqlite.job_queue import JobQueue
from tests.unit.test_loop import Bench

#: Damage, what is found then, and whether it can be mended; charm 1 and job 1 are there.
DAMAGE = {
    "index": ("DROP INDEX jobs_dead", "schema", "Indexes and triggers that are missing: 1", True),
    "trigger": ("DROP TRIGGER audit_is_not_changed", "schema", "that are missing: 1", True),
    "table": ("DROP TABLE nonces", "schema", "Tables that are missing: 1 (nonces)", False),
    "column": (
        "ALTER TABLE totals ADD COLUMN more",
        "schema",
        "not as this version made them: 1 (totals)",
        False,
    ),
    "schema number": ("PRAGMA user_version = 1", "schema", "has schema 1", False),
    "batch": (
        "INSERT INTO ack_queue_jobs (data, timestamp, status, space_key, charm_key, origin,"
        """ priority, run_at) VALUES ('{"bgUpdater":[]}', 1, 2, 1, 0, 'batch', 50, 1)""",
        "claims",
        "Batches that are out, and whose polls are all over: 1",
        True,
    ),
    "collection": (
        "INSERT INTO collections VALUES (1, 1, 'f', 1, 2, 300)",
        "items",
        "Collections with totals that are not those of their items: 1 (1)",
        True,
    ),
    "collection of nobody": (
        "INSERT INTO collections VALUES (1, 77, 'f', 1, 0, 0)",
        "leftovers",
        "Charms that do not exist any more, and have rows in collections: 1",
        True,
    ),
    "orphaned job": (
        "UPDATE ack_queue_jobs SET charm_key = 77, unique_key = 77",
        "jobs",
        "Jobs of charms that do not exist any more, which can never run: 1 (1)",
        True,
    ),
    "orphaned dead letter": (
        "UPDATE ack_queue_jobs SET charm_key = 77, unique_key = 77, status = 9",
        "jobs",
        "Jobs of charms that do not exist any more",
        True,
    ),
    "unknown status": (
        "UPDATE ack_queue_jobs SET status = 4",
        "jobs",
        "Jobs with an unknown status",
        False,
    ),
    "far job": (
        "UPDATE ack_queue_jobs SET run_at = run_at + 1e6",
        "jobs",
        "Jobs that wait for a time that a wrong clock wrote: 1 (1)",
        True,
    ),
    "held poll": (
        "UPDATE ack_queue_jobs SET is_held = 1",
        "jobs",
        "Charms that are enabled, and whose jobs are held back for ever: 1 (did:key:here/charm0)",
        True,
    ),
    "held send": (
        "UPDATE ack_queue_jobs SET is_held = 1, origin = 'send', unique_key = NULL",
        "jobs",
        "Charms that are enabled, and whose jobs are held back for ever: 1",
        True,
    ),
    "two polls": (
        "INSERT INTO ack_queue_jobs (data, timestamp, status, space_key, charm_key, origin,"
        " priority, run_at) SELECT data, timestamp, status, space_key, charm_key, origin, priority,"
        " run_at FROM ack_queue_jobs",
        "polls",
        "Charms with two live polls",
        True,
    ),
    "unmarked poll": (
        "UPDATE ack_queue_jobs SET unique_key = NULL",
        "polls",
        "not marked as the only one: 1",
        True,
    ),
    "dead letters": (
        "INSERT INTO ack_queue_jobs (data, timestamp, status, space_key, charm_key, origin,"
        " priority, run_at) SELECT data, timestamp, 9, space_key, charm_key, origin, priority,"
        " run_at FROM ack_queue_jobs, (VALUES (1), (2))",
        "jobs",
        "Charms with more than one dead letter of a poll: 1",
        True,
    ),
    "no next run": (
        "UPDATE health SET due_at = NULL",
        "schedule",
        "Charms that are registered and enabled, and have no next run: 1 (did:key:here/charm0)",
        True,
    ),
    "no record": (
        "DELETE FROM health",
        "schedule",
        "Charms that are registered, and have no record of their runs: 1",
        True,
    ),
    "torn history": (
        "UPDATE health SET ring = x'00000001'",
        "history",
        "Charms whose newest runs cannot be read, and are forgotten when this is mended: 1",
        True,
    ),
    "no source": ("DELETE FROM sources", "charms", "Charms with no source", False),
    "no space": ("UPDATE charms SET space_key = 99", "charms", "Charms in no space: 1", False),
    "no owner": ("DELETE FROM space_owners", "spaces", "Spaces with no owner: 1", False),
    "no key": ("DELETE FROM data_keys", "secrets", "no key for secrets", False),
    "orphaned cell": (
        "INSERT INTO cells (charm_key, field, version, value) VALUES (77, 'x', 1, '1')",
        "leftovers",
        "that do not exist any more, and have rows in cells: 1 (charm number 77)",
        True,
    ),
    "orphaned link": (
        "INSERT INTO links VALUES (77, 'x', 1, '', 0)",
        "leftovers",
        "have rows in links",
        True,
    ),
    "orphaned registration": (
        "INSERT INTO registrations VALUES (77, 'manual', 0, 0)",
        "leftovers",
        "have rows in registrations",
        True,
    ),
    "orphaned text": (
        "INSERT INTO charm_texts (rowid, text) VALUES (77, 'gone')",
        "leftovers",
        "have rows in charm_texts",
        True,
    ),
    "pause of nobody": (
        "INSERT INTO pauses VALUES (1, 77, 0, 'me')",
        "leftovers",
        "have rows in pauses",
        True,
    ),
    "reminder of nobody": (
        "INSERT INTO reminders VALUES (1, 77, 'a', 's', '{}', 1e9, 0)",
        "leftovers",
        "have rows in reminders",
        True,
    ),
    "reminder without a time": (
        "INSERT INTO reminders VALUES (1, 1, 'a', 's', '{}', -1e300, 0)",
        "reminders",
        "Reminders whose time is none, which can never be sent: 1 (1)",
        True,
    ),
    "freshness of nobody": (
        "INSERT INTO freshness VALUES (77, 'a', 0)",
        "leftovers",
        "have rows in freshness",
        True,
    ),
    "orphaned source": (
        "INSERT INTO sources VALUES ('abc', 'pass')",
        "leftovers",
        "Sources that no charm has any more, which the next cleanup deletes: 1 (abc)",
        True,
    ),
    "uncounted run": (
        "UPDATE health SET executions = executions + 1",
        "counts",
        "Charms with executions that are neither successes nor failures: 1",
        False,
    ),
    "uncounted total": (
        "INSERT OR REPLACE INTO totals VALUES ('executions', 5)",
        "counts",
        "The service counts 5 executions, and 0 successes and failures",
        False,
    ),
}


class Memory:
    """What a running service holds, as a bench has it."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def in_flight(self) -> frozenset[int]:
        return frozenset(run.job_id for run in self._bench.pool.out)

    def is_polled(self, charm_key: int) -> bool:
        return self._bench.planner.is_polled(charm_key)

    def schedule(self, charm_key: int, space: str) -> None:
        self._bench.planner.poll_now(charm_key, space)

    def next_reminder(self) -> float | None:
        return self._bench.store.reminders.next_at()

    def remember_reminders(self) -> None:
        self._bench.store.reminders.take(())


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A sound database: one registered charm, due later, with a poll that waits."""
    made = Bench(tmp_path / "test.db")
    charm = made.charm()
    with made.database.transaction():
        registrations = Registrations(made.database)
        registrations.put(charm.charm_key, "manual", made.clock.now())
        made.store.health.set_due(charm.charm_key, made.clock.now() + 30)
        made.store.secrets.create("did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH")
    made.put(charm)
    yield made
    made.database.close()


@dataclass(frozen=True, slots=True)
class Visit:
    """The doctor at a database, at a moment, with a service at work or none."""

    doctor: Doctor
    now: float
    memory: Memory | None = None

    def troubles(self) -> Iterator[Trouble | None]:
        return self.doctor.examine(self.now, self.memory)

    def findings(self) -> list[Finding]:
        return [found.finding() for found in self.troubles() if found is not None]

    def repair(self) -> None:
        """Mend all that can be mended."""
        for trouble in [found for found in self.troubles() if found is not None]:
            if trouble.is_mendable:
                for _ in self.doctor.mend(trouble, self.now, self.memory):
                    pass


def stopped(bench: Bench) -> Visit:
    """Look at a database that no service works with."""
    return Visit(Doctor(bench.database, bench.queue), bench.clock.steady())


def running(bench: Bench) -> Visit:
    """Look at the database of a service."""
    return Visit(Doctor(bench.database, bench.queue), bench.clock.steady(), Memory(bench))


def damage(bench: Bench, sql: str) -> None:
    """Change the database as only a fault could."""
    bench.database.execute("PRAGMA foreign_keys = OFF")
    bench.database.execute(sql)
    bench.queue.recount()


def test_sound_database_has_no_findings(bench: Bench) -> None:
    """Nothing is found where nothing is wrong, with a service and without."""
    bench.planner.load()
    assert [] == stopped(bench).findings()
    assert [] == running(bench).findings()


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_and_mended(bench: Bench, kind: str) -> None:
    """Each kind of damage is told with what it concerns; what can be mended is gone then."""
    sql, check, text, is_mendable = DAMAGE[kind]
    damage(bench, sql)
    before = {one.text: one for one in stopped(bench).findings()}
    (found,) = [one for one in before.values() if text in one.text]
    assert (check, is_mendable) == (found.check, found.repairable)
    assert (kind == "orphaned source") == (found.severity is Severity.NOTE)
    stopped(bench).repair()
    after = [one.text for one in stopped(bench).findings()]
    assert is_mendable == (found.text not in after)
    assert [] == [one for one in after if one not in before]


@pytest.mark.parametrize("kind", ["two polls", "held poll", "far job", "unmarked poll"])
def test_mended_queue_goes_on_at_once(bench: Bench, kind: str) -> None:
    """After a repair the queue counts right, and its one poll is run by the service as it is."""
    damage(bench, DAMAGE[kind][0])
    running(bench).repair()
    assert 1 == bench.queue.pending
    bench.clock.seconds += 60
    assert ["charm0"] == bench.step()
    assert (0, 1) == (bench.queue.pending, bench.queue.claimed)


def test_claim_without_a_run_is_given_back(bench: Bench) -> None:
    """A claimed job is fine while its run is out; one that no run belongs to runs again."""
    bench.step()
    bench.planner.load()
    assert [] == running(bench).findings()
    lost = bench.pool.out.pop()
    (found,) = running(bench).findings()
    assert ("claims", Severity.ERROR, True) == (found.check, found.severity, found.repairable)
    running(bench).repair()
    assert [] == running(bench).findings()
    assert (1, 0) == (bench.queue.pending, bench.queue.claimed)
    bench.pool.unbound += 1
    bench.step()
    assert [lost.job_id] == [run.job_id for run in bench.pool.out]


def test_run_that_ends_between_two_slices_is_no_fault(bench: Bench) -> None:
    """The service goes on between slices: what was claimed in one may be settled in the next."""
    charm = bench.store.charms.get(1)
    assert charm is not None
    bench.step()
    bench.planner.load()
    found = []
    for trouble in running(bench).troubles():
        found += [trouble] if trouble is not None else []
        (run,) = bench.pool.out
        bench.pool.end(run)
        bench.step()
        bench.put(charm)
        bench.step()
    assert [] == found


def test_claims_of_a_killed_service_are_a_note(bench: Bench) -> None:
    """On a stopped directory a claimed job is no fault: the next start rescues it."""
    bench.step()
    (found,) = stopped(bench).findings()
    assert ("claims", Severity.NOTE, False) == (found.check, found.severity, found.repairable)


def test_forgotten_schedule_of_a_running_service_is_found(bench: Bench) -> None:
    """A charm that is due in the database and not in memory would not be polled: it is mended."""
    (found,) = running(bench).findings()
    assert "have no next run: 1" in found.text
    running(bench).repair()
    assert [] == running(bench).findings()
    assert bench.planner.is_polled(1)


def test_reminder_that_a_running_service_does_not_wait_for_is_found(bench: Bench) -> None:
    """It would never be sent; after the repair the service looks when it is due."""
    bench.planner.load()
    damage(bench, "INSERT INTO reminders VALUES (1, 1, 'a', 'bgUpdater', '{}', 1e9, 0)")
    assert [] == stopped(bench).findings()
    (finding,) = running(bench).findings()
    assert ("reminders", True) == (finding.check, finding.repairable)
    running(bench).repair()
    assert [] == running(bench).findings()
    assert 1e9 == bench.store.reminders.next_at()


def test_late_jobs_are_told_by_a_running_service_only(bench: Bench) -> None:
    """A job that is ready for long is a warning, unless nobody was there to run it."""
    bench.planner.load()
    bench.clock.seconds += 7200
    (found,) = running(bench).findings()
    assert ("jobs", Severity.WARNING) == (found.check, found.severity)
    assert [] == stopped(bench).findings()


def test_unreadable_table_ends_its_check_only(bench: Bench) -> None:
    """What cannot be read is an error of its own; the other checks are made all the same."""
    bench.database.execute("UPDATE health SET executions = executions + 1")
    (root,) = bench.database.row("SELECT rootpage FROM sqlite_master WHERE name = 'registrations'")
    path = Path(bench.database.row("PRAGMA database_list")[2])
    bench.database.close()
    with open(path, "r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(bytes(4096))
    damaged = Database.examine(path)
    found = Visit(Doctor(damaged, JobQueue(damaged)), bench.clock.steady()).findings()
    damaged.close()
    assert {"database", "counts"} == {one.check for one in found}
    assert {Severity.ERROR} == {one.severity for one in found}


def modes(data_dir: Path) -> list[str]:
    """Tell what is wrong with the files of a directory."""
    return [trouble.finding().text for trouble in file_troubles(data_dir)]


def test_files_that_others_may_read(tmp_path: Path) -> None:
    """A file or directory that is open to others is found, and closed by a repair."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    database = data / "bg-charm-service.db"
    database.touch(0o600)
    assert [] == modes(data)
    data.chmod(0o755)
    database.chmod(0o640)
    assert [
        f"{data} has mode 755: others than its owner may use it",
        f"{database} has mode 640: others than its owner may use it",
    ] == modes(data)
    for trouble in list(file_troubles(data)):
        assert trouble.amend is not None
        trouble.amend()
    assert [] == modes(data)
    database.chmod(0o400)
    assert [f"{database} has mode 400: its owner may not use it"] == modes(data)


def test_disk_without_room_for_the_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is nearly full is a warning, unless room was kept in time."""
    tmp_path.chmod(0o700)
    reserve = DiskReserve(tmp_path)
    assert reserve.hold()
    monkeypatch.setattr(DiskReserve, "_free_bytes", lambda _: 0)
    assert [] == modes(tmp_path)
    reserve.release()
    (trouble,) = file_troubles(tmp_path)
    assert ("room", Severity.WARNING) == (trouble.check, trouble.severity)
    assert "has less than 8M free" in trouble.text


def test_finding_names_few_of_many() -> None:
    """A finding about many things says how many, and names three."""
    found = Trouble("jobs", Severity.ERROR, "that are stuck", "Jobs", (1, 2, 3, 4, 5)).finding()
    expected = "Jobs that are stuck: 5 (1, 2, 3, …)"
    assert Finding("jobs", Severity.ERROR, expected, repairable=False) == found
