"""The audit finds what it is there for: each damage planted in a good data directory is named."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from bg_charm_service.storage.data_directory import DATABASE_NAME
from tests.process.running import RunningCharm, Service
from tests.recorded_runs import unpack
from tests.soak.audit import LOST, Expected, RefreshToken, audit
from tests.soak.cast import SIGNED_IN, SOAKED
from tests.soak.ledger import Ledger, ToldRun, numbers_in
from tests.soak.provider import SoakProvider
from tests.soak.traffic import renew

HISTORY_RUNS = 6


@dataclass(frozen=True)
class Played:
    """A data directory of a stopped service, and what it promised while it ran."""

    data_dir: Path
    ledger: Ledger
    counter: str
    sender: str
    receiver: str
    refresh_tokens: dict[str, RefreshToken] = field(default_factory=dict)

    @property
    def expected(self) -> Expected:
        """What holds for it."""
        links = {self.sender: self.receiver}
        return Expected(
            HISTORY_RUNS,
            100,
            links,
            is_stopped=True,
            is_at_rest=True,
            refresh_tokens=self.refresh_tokens,
            addresses=(b"ADDRESS-ADDRESS-ADDRESS-ADDRESS-ADDRESS-ADD",),
        )

    def renewed(self, times: int) -> str:
        """Give the hash of the refresh token that was renewed so often since."""
        return next(
            known_as for known_as, token in self.refresh_tokens.items() if token.renewals == times
        )


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Ten events to one charm, two runs of another that sends to a third; then a clean stop.

    A fourth is signed in, and its token was renewed twice.
    """
    data_dir = tmp_path_factory.mktemp("audit") / "data"
    flags = ("--interval=3600", f"--history-runs={HISTORY_RUNS}", "--max-retries=0")
    ledger = Ledger()
    with SoakProvider(seed=1) as provider, Service(data_dir, *flags) as service:
        provider.begin_life()
        counter = service.add(SOAKED, register=True)
        receiver = service.add(SOAKED)
        links = {"out": f"{receiver.ref}/bgUpdater", "gifts": f"{receiver.ref}/given"}
        sender = service.add(SOAKED, links=links)
        for _ in range(10):
            send(counter, ledger)
        for _ in range(2):
            run = sender.run()
            told = ToldRun(run["number"], run["run_id"], run["status"])
            ledger.tell(sender.charm_id, told)
        receiver.wait_for("run.succeeded", times=4)
        failing = service.add(SOAKED, values={"mode": "fail"})
        failing.wait_until_settled(failing.send(number=0))
        assert failing.show()["dead_letters"]
        failing.remove()
        # A charm with a history that is whole, and a failure in it.
        failed = service.add(SOAKED, values={"mode": "fail"})
        assert "failure" == failed.run()["status"]
        provider.register_client(service)
        signed_in = service.add(SIGNED_IN, values={"resource": provider.resource})
        provider.sign_in(service, signed_in.ref)
        signed_in.wait_for("run.succeeded")
        for _ in range(2):
            renew(signed_in)
        assert 0 == service.stop()
        tokens = provider.refresh_tokens()
    charms = (counter.charm_id, sender.charm_id, receiver.charm_id)
    return Played(data_dir, ledger, *charms, refresh_tokens=tokens)


def send(charm: RunningCharm, ledger: Ledger) -> None:
    """Send a charm its next number, and wait until it has it."""
    number = ledger.next_number(charm.charm_id)
    job = charm.send(number=number)
    ledger.accept(charm.charm_id, number)
    charm.wait_until_settled(job)


@pytest.fixture
def copy(played: Played, tmp_path: Path) -> Played:
    """A copy to be damaged."""
    shutil.copytree(played.data_dir, tmp_path / "data", ignore=shutil.ignore_patterns("*.sock"))
    return replace(played, data_dir=tmp_path / "data")


def test_nothing_is_found_where_nothing_is_wrong(played: Played) -> None:
    """A data directory that was never damaged has no violation."""
    assert [] == audit(played.data_dir, played.ledger, played.expected)


JOB = """INSERT INTO ack_queue_jobs (data, timestamp, status, space_key, charm_key, origin,
    priority, run_at) SELECT data, timestamp, {status}, space_key, charm_key, '{origin}',
    priority, run_at FROM ack_queue_jobs WHERE charm_key = {charm} ORDER BY _id DESC LIMIT 1"""

#: Each damage, and the words that the audit has for it.
DAMAGES = {
    "counted 12, 11 successes": """
        UPDATE cells SET value = '12' WHERE field = 'counter' AND charm_key = :counter""",
    "counted 11, 10 successes": """
        UPDATE health SET successes = 10, failures = 1 WHERE charm_key = :counter""",
    "executions are not successes and failures": """
        UPDATE health SET executions = executions + 1 WHERE charm_key = :counter""",
    "successes: the total is": "UPDATE totals SET value = value + 1 WHERE name = 'successes'",
    "event 10 was accepted and is lost": """
        UPDATE cells SET value = '[[1,9]]' WHERE field = 'spans' AND charm_key = :counter""",
    "event 11 was never accepted": """
        UPDATE cells SET value = '[[1,11]]' WHERE field = 'spans' AND charm_key = :counter""",
    "event 10 waits though it was applied": JOB.format(status=1, charm=":counter", origin="send"),
    "events wait though everything is at rest": JOB.format(
        status=1, charm=":counter", origin="send"
    ),
    "1 events came twice or out of order": """
        UPDATE cells SET value = '1' WHERE field = 'disorders' AND charm_key = :counter""",
    "a run id has two ends": """
        UPDATE runs SET run_id = (SELECT min(run_id) FROM runs WHERE run_key >> 32 = :counter)
        WHERE run_key = (SELECT max(run_key) FROM runs WHERE run_key >> 32 = :counter)""",
    "the history has gaps": """
        DELETE FROM runs WHERE run_key = (SELECT max(run_key) - 1 FROM runs
        WHERE run_key >> 32 = :counter)""",
    "the history has gaps before": "UPDATE health SET ring = NULL WHERE charm_key = :counter",
    "a run is recorded twice": """
        INSERT INTO run_chunks SELECT charm_key << 32 | 1, 0, 0, substr(ring, 17) FROM health
        WHERE charm_key = :counter""",
    "was told, but the file has": """
        UPDATE runs SET status = 'failure' WHERE run_key >> 32 = :sender""",
    "the whole history has": """
        UPDATE runs SET status = 'stale' WHERE run_key >> 32 = :receiver""",
    "7 runs are kept, 6 at most": """
        CREATE TEMP TABLE spare AS SELECT * FROM runs
        WHERE run_key = (SELECT max(run_key) FROM runs WHERE run_key >> 32 = :counter);
        UPDATE spare SET run_key = run_key - 6, run_id = run_id || 'x';
        INSERT INTO runs SELECT * FROM spare""",
    "a run has a number that its charm did not give": """
        UPDATE runs SET run_key = run_key + 100 WHERE run_key = (SELECT max(run_key) FROM runs
        WHERE run_key >> 32 = :counter)""",
    "sent 1 to 4, and 3 came": """
        UPDATE cells SET value = '[[1,3]]' WHERE field = 'spans' AND charm_key = :receiver""",
    "a job is claimed after a clean stop": JOB.format(status=2, charm=":counter", origin="send"),
    "a charm has two claimed jobs": ";".join(
        [JOB.format(status=2, charm=":counter", origin="send")] * 2
    ),
    "a charm has two dead letters of polls": ";".join(
        [JOB.format(status=9, charm=":sender", origin="poll")] * 2
    ),
    "a charm has more dead letters of events than are kept": ";".join(
        [JOB.format(status=9, charm=":counter", origin="send")] * 1001
    ),
    "a charm waits and is due sooner": """
        INSERT INTO waits VALUES (:counter, 1, 'down', 9e9, 1, 1, 'example.org', '', '')""",
    "a charm waits for a sign-in and is polled": """
        INSERT INTO waits VALUES (:counter, 1, 'sign_in', 0, 1, 1, '', '', '')""",
    "a charm has two polls that wait or run": ";".join(
        [JOB.format(status=1, charm=":sender", origin="poll")] * 2
    ),
    "a job has a status that there is not": "UPDATE ack_queue_jobs SET status = 0",
    "a disabled charm has a poll that waits": ";".join(
        [
            JOB.format(status=1, charm=":sender", origin="poll"),
            "UPDATE health SET disabled_by = 'hand' WHERE charm_key = :sender",
        ]
    ),
    "an enabled charm has no next poll": """
        UPDATE health SET due_at = NULL WHERE charm_key = :counter""",
    "finished jobs are kept, 100 at most": ";".join(
        [JOB.format(status=5, charm=":counter", origin="send")] * 101
    ),
    "a collection does not count what it has": """
        UPDATE collections SET count = count + 1 WHERE charm_key = :counter""",
    "counted 11, and has the items": """
        UPDATE items SET key = '00000099' WHERE key = '00000010' AND collection_key =
        (SELECT collection_key FROM collections WHERE charm_key = :counter)""",
    "took 3 items of": """
        UPDATE cells SET value = '3' WHERE field = 'taken' AND charm_key = :receiver""",
    "a charm waits for a sign-in, and nobody has to": ";".join(
        [
            "INSERT INTO waits VALUES (:counter, 1, 'sign_in', 0, 1, 1, '', '', '')",
            "UPDATE health SET disabled_by = 'sign_in' WHERE charm_key = :counter",
        ]
    ),
    "the provider never gave out": "UPDATE sign_ins SET refresh_hash = 'other'",
    "has lost its newest token, and nobody knows": "UPDATE sign_ins SET refresh_hash = :renewed_1",
    "renewed 2 times since": "UPDATE sign_ins SET refresh_hash = :renewed_2, asked_at = 1",
    "is over, and nothing of it was lost": "UPDATE sign_ins SET problem = 'refused'",
    "has lost a token in a life that went well": """
        UPDATE sign_ins SET problem = 'refused', refresh_hash = :renewed_1""",
    "a token can be read in": """
        INSERT INTO cells (charm_key, field, version, value)
        VALUES (:counter, 'x', 1, '"refresh-0123456789abcdef0123456789abcdef"')""",
    "a delivery says wrongly whether its event was given up": """
        INSERT INTO deliveries (hook_key, delivery_hash, job_id, is_dead, received_at)
        SELECT 1, x'00', _id, 1, 1 FROM ack_queue_jobs WHERE status = 5 LIMIT 1""",
    "was poked, and is not polled": """
        INSERT INTO hooks (charm_key, stream, address_hash, sealed, made_at, is_poked)
        VALUES (:counter, 'bgUpdater', x'00', x'00', 1, 1)""",
    "an address of a hook can be read in": """
        INSERT INTO cells (charm_key, field, version, value)
        VALUES (:counter, 'x', 1, '"ADDRESS-ADDRESS-ADDRESS-ADDRESS-ADDRESS-ADD"')""",
    "rows lead nowhere": """
        INSERT INTO cells (charm_key, field, version, value) VALUES (999, 'x', 1, '1')""",
}


@pytest.mark.parametrize("words", DAMAGES)
def test_each_damage_is_found(copy: Played, words: str) -> None:
    """A damage is found, and told in words that fit it."""
    with closing(sqlite3.connect(copy.data_dir / DATABASE_NAME)) as database:
        keys = dict(database.execute("SELECT charm_id, charm_key FROM charms"))
        names = {name: keys[getattr(copy, name)] for name in ("counter", "sender", "receiver")}
        names |= {f"renewed_{times}": copy.renewed(times) for times in (1, 2)}
        if "runs " in DAMAGES[words]:
            unpack(database)
        for statement in DAMAGES[words].split(";"):
            used = {name: value for name, value in names.items() if f":{name}" in statement}
            assert database.execute(statement, used).rowcount, "nothing was damaged"
        database.commit()

    found = audit(copy.data_dir, copy.ledger, copy.expected)

    assert [violation for violation in found if words in violation], found


@pytest.mark.parametrize(
    ("renewals", "asked_at", "problem", "words"),
    [
        (0, 1, "", []),
        (1, 1, "", []),
        (1, 0, f"refused; what it had answered {LOST}", []),
        (1, 0, "refused", ["does not say so"]),
    ],
    ids=["under way", "renewed and not yet stored", "lost and said", "lost and not said"],
)
def test_a_token_may_be_lost_with_the_service(
    copy: Played, renewals: int, asked_at: int, problem: str, words: list[str]
) -> None:
    """In a life that was killed; as long as the row says that it is not known, or what happened."""
    tokens = {
        known_as: replace(token, may_have_lost_next=True)
        for known_as, token in copy.refresh_tokens.items()
    }
    with closing(sqlite3.connect(copy.data_dir / DATABASE_NAME)) as database:
        database.execute(
            "UPDATE sign_ins SET refresh_hash = ?, asked_at = ?, problem = ?",
            (copy.renewed(renewals), asked_at, problem),
        )
        database.commit()

    found = audit(copy.data_dir, copy.ledger, replace(copy.expected, refresh_tokens=tokens))

    assert len(words) == len(found), found
    assert all(word in violation for word, violation in zip(words, found, strict=True))


def test_a_damaged_file_is_found(copy: Played) -> None:
    """Overwritten pages of the file are told, not raised."""
    path = copy.data_dir / DATABASE_NAME
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4096] = b"\xff" * 4096
    path.write_bytes(content)

    assert audit(copy.data_dir, copy.ledger, copy.expected)


@pytest.mark.parametrize(
    ("promise", "words"),
    [
        (lambda ledger, charm: ledger.tell(charm, ToldRun(3, "0.0", "success")), []),
        (lambda ledger, charm: ledger.tell(charm, ToldRun(10, "0.0", "success")), ["was told"]),
        (lambda ledger, charm: ledger.tell(charm, ToldRun(99, "0.0", "success")), ["was told"]),
        (lambda ledger, charm: ledger.next_number(charm), []),
    ],
    ids=["run long pruned", "other run", "run never recorded", "event of unknown fate"],
)
def test_promises_are_compared(
    played: Played, promise: Callable[[Ledger, str], object], words: list[str]
) -> None:
    """A run that was told has to be on disk or pruned; an event of unknown fate may be missing."""
    ledger = Ledger()
    for _ in range(10):
        ledger.accept(played.counter, ledger.next_number(played.counter))
    promise(ledger, played.counter)

    found = audit(played.data_dir, ledger, played.expected)

    assert len(words) == len(found)
    assert all(word in violation for word, violation in zip(words, found, strict=True))


def test_numbers_are_written_out() -> None:
    """Runs of numbers are both ends and all between."""
    assert {1, 2, 3, 7} == numbers_in([[1, 3], [7, 7]])
