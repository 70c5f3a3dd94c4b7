"""Compares a data directory with what was promised: every check reads the file, none the service.

Works on a copy, so it may look at what a killed service left behind before the next start. Each
violation is one line. The rules are the invariants of the architecture, in SQL and in Python.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bg_charm_service.storage.data_directory import DATABASE_NAME
from tests.recorded_runs import recorded_runs
from tests.soak.ledger import Ledger, numbers_in
from tests.soak.receiver import SECRET

#: No row may be found by these; each is told with its first column.
FORBIDDEN = {
    "a charm has two polls that wait or run": """
        SELECT charm_key FROM ack_queue_jobs WHERE status IN (1, 2) AND origin <> 'send'
        AND origin <> 'batch' GROUP BY charm_key HAVING count(*) > 1""",
    "a charm has two claimed jobs": """
        SELECT charm_key FROM ack_queue_jobs WHERE status = 2 AND origin <> 'batch'
        GROUP BY charm_key HAVING count(*) > 1""",
    "a charm has two dead letters of polls": """
        SELECT charm_key FROM ack_queue_jobs WHERE status = 9 AND origin <> 'send'
        GROUP BY charm_key HAVING count(*) > 1""",
    "a charm has more dead letters of events than are kept": """
        SELECT charm_key FROM ack_queue_jobs WHERE status = 9 AND origin = 'send'
        GROUP BY charm_key HAVING count(*) > 1000""",
    "a job has a status that there is not": """
        SELECT _id FROM ack_queue_jobs WHERE status NOT IN (1, 2, 5, 9)""",
    "a run id has two ends": """
        SELECT run_id FROM recorded WHERE status IN ('success', 'failure')
        GROUP BY run_id HAVING count(*) > 1""",
    "a run is recorded twice": """
        SELECT run_key FROM recorded GROUP BY run_key HAVING count(*) > 1""",
    "executions are not successes and failures": """
        SELECT charm_key FROM health WHERE executions <> successes + failures""",
    "an enabled charm has no next poll": """
        SELECT charm_key FROM registrations JOIN health USING (charm_key)
        WHERE disabled_by IS NULL AND due_at IS NULL""",
    "a charm waits and is due sooner": """
        SELECT charm_key FROM waits JOIN health USING (charm_key)
        WHERE kind IN ('wait', 'down') AND due_at < until""",
    "a charm waits for a sign-in and is polled": """
        SELECT charm_key FROM waits JOIN health USING (charm_key)
        WHERE kind = 'sign_in' AND disabled_by IS NOT 'sign_in'""",
    "a charm waits for a sign-in, and nobody has to sign in": """
        SELECT charm_key FROM waits WHERE kind = 'sign_in'
        AND NOT EXISTS (SELECT 1 FROM sign_ins WHERE problem <> '')""",
    "a disabled charm has a poll that waits": """
        SELECT charm_key FROM health JOIN ack_queue_jobs AS job USING (charm_key)
        WHERE disabled_by IS NOT NULL AND job.status = 1 AND origin = 'poll'""",
    "a run has a number that its charm did not give": """
        SELECT run_key FROM recorded LEFT JOIN health ON health.charm_key = run_key >> 32
        WHERE runs_recorded IS NULL OR run_key & 0xffffffff NOT BETWEEN 1 AND runs_recorded""",
    "a collection does not count what it has": """
        SELECT collection_key FROM collections AS c WHERE (count, size_bytes) <>
        (SELECT count(*), coalesce(sum(length(CAST(key AS BLOB)) + length(value) + 100), 0)
            FROM items WHERE collection_key = c.collection_key)""",
    "a charm was switched off, and nobody was to be told": """
        SELECT charm_key FROM health JOIN charms USING (charm_key) WHERE removed_at IS NULL
        AND disabled_by IN ('failures', 'service', 'sign_in')
        AND EXISTS (SELECT 1 FROM notice_targets)
        AND CAST(charm_key AS TEXT) NOT IN
            (SELECT subject FROM incidents WHERE kind IN ('disabled', 'sign_in'))""",
    "a charm has said other things than it counts": """
        SELECT charm_key FROM cells WHERE field = 'said' AND CAST(value AS INTEGER) <>
        (SELECT coalesce(sum(count), 0) FROM notices
            WHERE kind = 'charm' AND notices.charm_key = cells.charm_key)
        AND (SELECT coalesce(min(notice_id), 1) FROM notices) = 1""",
    "a delivery says wrongly whether its event was given up": """
        SELECT job_id FROM deliveries JOIN ack_queue_jobs AS job ON job._id = job_id
        WHERE is_dead <> (job.status = 9)""",
    "rows lead nowhere": "PRAGMA foreign_key_check",
}

#: So many of its successes a charm has in its collection.
KEPT = 50

#: What a sign-in says that is over because an answer was lost.
LOST = "was lost with the service or on its way"

SIGN_INS = """SELECT charm_id, refresh_hash, asked_at, problem FROM sign_ins
    JOIN charms USING (charm_key)"""

#: The fields that can be read: tokens are encrypted.
OPEN_CELLS = """SELECT charm_key, field, value FROM cells
    WHERE is_sealed = 0 AND (charm_key, field) NOT IN (SELECT charm_key, field FROM sign_ins)"""

#: What the provider of the loop gives out: no page of the file, used or free, may show it.
TOKEN = re.compile(rb"(?:code|token|refresh)-[A-Za-z0-9_-]{32}|" + SECRET.encode())

#: What is polled no more though it was poked.
POKED = "SELECT charm_key FROM hooks WHERE is_poked = 1"

#: Rows of batches whose polls are all over: two hundred are kept, and those that end together.
BATCHES_OVER = "SELECT count(*) FROM ack_queue_jobs WHERE status = 5 AND origin = 'batch'"
MOST_BATCHES_OVER = 300

#: What no clean stop leaves behind.
CLAIMED = "SELECT _id FROM ack_queue_jobs WHERE status = 2"


@dataclass(frozen=True)
class RefreshToken:
    """What a provider says of a refresh token that it gave out."""

    #: How many it has given out since, in exchange for this one and its successors.
    renewals: int
    #: Whether it would take this one now.
    is_good: bool
    #: Whether the one after it may have been lost: with the service, or on its way.
    may_have_lost_next: bool


@dataclass(frozen=True)
class Expected:
    """What else has to hold: limits of the history, and who sends to whom through a link."""

    history_runs: int
    history_jobs: int
    links: dict[str, str] = field(default_factory=dict)
    #: After a clean stop nothing is claimed.
    is_stopped: bool = False
    #: After everything came to rest nothing waits either.
    is_at_rest: bool = False
    #: Those that the provider gave out, by their hash (SHA-256, hexadecimal).
    refresh_tokens: dict[str, RefreshToken] = field(default_factory=dict)
    #: How often each text of a notice came, and how often the service has died meanwhile.
    told: Mapping[str, int] = field(default_factory=dict)
    deaths: int = 0
    #: The addresses of hooks: no page of the file, used or free, may show one.
    addresses: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class CharmFacts:
    """What the file says of one charm."""

    charm_id: str
    fields: dict[str, Any]
    successes: int
    runs_recorded: int
    runs: dict[int, tuple[str, str]]
    waiting: list[int]
    #: The keys of its collections, in their order, by field.
    items: dict[str, list[str]]


def audit(data_dir: Path, ledger: Ledger, expected: Expected) -> list[str]:
    """Give every violation that a data directory shows; nobody may write it meanwhile."""
    with TemporaryDirectory() as folder:
        for file in data_dir.glob(f"{DATABASE_NAME}*"):
            shutil.copy(file, folder)
        path = Path(folder) / DATABASE_NAME
        files = {file.name: file.read_bytes() for file in Path(folder).iterdir()}
        shown = [
            f"a token can be read in {name}" for name, read in files.items() if TOKEN.search(read)
        ]
        shown += [
            f"an address of a hook can be read in {name}"
            for name, read in files.items()
            if any(address in read for address in expected.addresses)
        ]
        with closing(sqlite3.connect(path)) as connection:
            try:
                found = list(_violations(connection, ledger, expected))
            except sqlite3.DatabaseError as error:
                return [f"the file cannot be read: {error}"]
        return [*found, *shown]


def _violations(
    connection: sqlite3.Connection, ledger: Ledger, expected: Expected
) -> Iterator[str]:
    for (found,) in connection.execute("PRAGMA integrity_check"):
        if found != "ok":
            yield f"the file is damaged: {found}"
    _tell_runs(connection)
    for text, query in FORBIDDEN.items():
        for row in connection.execute(query):
            yield f"{text}: {row[0]}"
    if expected.is_stopped:
        for row in connection.execute(CLAIMED):
            yield f"a job is claimed after a clean stop: {row[0]}"
    if expected.is_at_rest:
        for row in connection.execute(POKED):
            yield f"charm {row[0]} was poked, and is not polled though everything is at rest"
    yield from _of_totals(connection)
    (done,) = connection.execute(
        "SELECT count(*) FROM ack_queue_jobs WHERE status = 5 AND origin <> 'batch'"
    ).fetchone()
    if done > expected.history_jobs:
        yield f"{done} finished jobs are kept, {expected.history_jobs} at most"
    (over,) = connection.execute(BATCHES_OVER).fetchone()
    if over > MOST_BATCHES_OVER:
        yield f"{over} batches that are over are kept, {MOST_BATCHES_OVER} at most"
    yield from _of_sign_ins(connection, expected)
    yield from _of_notices(connection, expected)
    facts = {charm.charm_id: charm for charm in _facts(connection)}
    for charm in facts.values():
        yield from _of_charm(charm, expected)
        yield from _of_told_runs(charm, ledger, expected)
    for sender, receiver in expected.links.items():
        yield from _of_link(facts[sender], facts[receiver])
    for charm in facts.values():
        if charm.charm_id not in expected.links.values():
            yield from _of_sends(charm, ledger)
        if expected.is_at_rest and charm.waiting:
            yield f"{charm.charm_id}: events wait though everything is at rest: {charm.waiting}"


def _tell_runs(connection: sqlite3.Connection) -> None:
    """Make a table of all runs that can be seen, however the file keeps them."""
    connection.execute("CREATE TEMP TABLE recorded (run_key INTEGER, run_id TEXT, status TEXT)")
    connection.executemany(
        "INSERT INTO recorded VALUES (?, ?, ?)",
        [
            (run.charm_key << 32 | run.number, run.run_id, run.status)
            for run in recorded_runs(connection.execute)
        ],
    )


def _facts(connection: sqlite3.Connection) -> Iterator[CharmFacts]:
    fields: dict[int, dict[str, Any]] = defaultdict(dict)
    for key, name, value in connection.execute(OPEN_CELLS):
        fields[key][name] = json.loads(value)
    runs: dict[int, dict[int, tuple[str, str]]] = defaultdict(dict)
    told = "SELECT run_key, run_id, status FROM recorded"
    for run_key, run_id, status in connection.execute(told):
        runs[run_key >> 32][run_key & 0xFFFFFFFF] = (run_id, status)
    waiting: dict[int, list[int]] = defaultdict(list)
    jobs = (
        "SELECT charm_key, data FROM ack_queue_jobs WHERE status IN (1, 2, 9) AND origin = 'send'"
    )
    for key, data in connection.execute(jobs):
        waiting[key].append(_number_of(json.loads(json.loads(data)["event"])))
    items: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    collected = """SELECT charm_key, field, key FROM collections JOIN items USING (collection_key)
        WHERE charm_key IS NOT NULL ORDER BY key"""
    for charm_key, name, item in connection.execute(collected):
        items[charm_key][name].append(item)
    query = """SELECT charm_key, charm_id, successes, runs_recorded FROM charms
        JOIN health USING (charm_key)
        WHERE removed_at IS NULL AND name IN ('Soaked', 'SignedIn', 'Hooked')"""
    for key, charm_id, successes, recorded in connection.execute(query):
        yield CharmFacts(
            charm_id, fields[key], successes, recorded, runs[key], waiting[key], items[key]
        )


def _of_notices(connection: sqlite3.Connection, expected: Expected) -> Iterator[str]:
    """Compare what was caused, what was put into messages, and what came."""
    (told, first) = connection.execute(
        "SELECT coalesce(sum(count), 0), coalesce(min(notice_id), 1) FROM notices"
        " WHERE taken_at IS NOT NULL"
    ).fetchone()
    rows = connection.execute(
        "SELECT message_id, counts, status, lines FROM notice_messages"
    ).fetchall()
    in_messages = sum(sum(json.loads(counts).values()) for _, counts, _, _ in rows)
    if first == 1 and rows and told != in_messages:
        yield f"{told} notices were put into messages, which have {in_messages}"
    for message_id, _, status, lines in rows:
        first_text = json.loads(lines)[0]["text"]
        if status == "sent" and not any(first_text in text for text in expected.told):
            yield f"message {message_id} counts as sent, and never came"
    twice = sum(count - 1 for count in expected.told.values() if count > 1)
    if twice > expected.deaths:
        yield f"{twice} messages came twice, and the service died {expected.deaths} times"


def _number_of(event: dict[str, Any]) -> int:
    """The number of an event; those of senders outside are in what they have sent."""
    body = event.get("body", event)
    number: int = body.get("event", body)["number"]
    return number


def _of_totals(connection: sqlite3.Connection) -> Iterator[str]:
    totals = dict(connection.execute("SELECT name, value FROM totals"))
    for name in ("executions", "successes", "failures"):
        (summed,) = connection.execute(f"SELECT coalesce(sum({name}), 0) FROM health").fetchone()  # noqa: S608 - a name of ours
        if summed != totals.get(name, 0):
            yield f"{name}: the total is {totals.get(name, 0):g}, the charms have {summed}"


def _of_sign_ins(connection: sqlite3.Connection, expected: Expected) -> Iterator[str]:
    """Name the sign-ins whose newest token is lost, and nobody is told, or wrongly."""
    for charm_id, known_as, asked_at, problem in connection.execute(SIGN_INS):
        name, token = f"{charm_id}: its sign-in", expected.refresh_tokens.get(known_as)
        if token is None:
            yield f"{name} has a refresh token that the provider never gave out"
        elif token.renewals > 1:
            yield f"{name} has a refresh token that was renewed {token.renewals} times since"
        elif problem and not token.renewals:
            yield f"{name} is over, and nothing of it was lost: {problem}"
        elif problem and not token.may_have_lost_next:
            yield f"{name} has lost a token in a life that went well: {problem}"
        elif problem and LOST not in problem:
            yield f"{name} has lost a token, and does not say so: {problem}"
        elif not problem and not asked_at and not token.is_good:
            yield f"{name} has lost its newest token, and nobody knows"


def _of_charm(charm: CharmFacts, expected: Expected) -> Iterator[str]:
    counter = charm.fields.get("counter", 0)
    if counter != charm.successes:
        yield f"{charm.charm_id}: counted {counter}, {charm.successes} successes are recorded"
    newest_kept = range(max(1, counter - KEPT + 1), counter + 1)
    if charm.items["kept"] != [f"{number:08}" for number in newest_kept]:
        yield f"{charm.charm_id}: counted {counter}, and has the items {charm.items['kept']}"
    if charm.fields.get("disorders", 0):
        yield f"{charm.charm_id}: {charm.fields['disorders']} events came twice or out of order"
    numbers = sorted(charm.runs)
    if len(numbers) > expected.history_runs:
        yield f"{charm.charm_id}: {len(numbers)} runs are kept, {expected.history_runs} at most"
    newest = list(range(charm.runs_recorded - len(numbers) + 1, charm.runs_recorded + 1))
    if numbers != newest:
        yield f"{charm.charm_id}: the history has gaps before run {charm.runs_recorded}"
    if len(numbers) == charm.runs_recorded:
        kept = sum(status == "success" for _, status in charm.runs.values())
        if kept != charm.successes:
            yield f"{charm.charm_id}: {charm.successes} successes, the whole history has {kept}"


def _of_told_runs(charm: CharmFacts, ledger: Ledger, expected: Expected) -> Iterator[str]:
    for told in ledger.told(charm.charm_id):
        found = charm.runs.get(told.number)
        is_pruned = told.number <= charm.runs_recorded - expected.history_runs
        if found != (told.run_id, told.status) and not (found is None and is_pruned):
            yield f"{charm.charm_id}: run {told.run_id} was told, but the file has {found}"


def _of_sends(charm: CharmFacts, ledger: Ledger) -> Iterator[str]:
    sends = ledger.sends(charm.charm_id)
    applied = numbers_in(charm.fields.get("spans", []))
    waiting = Counter(charm.waiting)
    for number, times in waiting.items():
        if times > 1 or number in applied:
            yield f"{charm.charm_id}: event {number} waits though it was applied, or waits twice"
    there = applied | set(waiting)
    for number in sorted(sends.accepted - there):
        yield f"{charm.charm_id}: event {number} was accepted and is lost"
    for number in sorted(there - sends.accepted - sends.unknown):
        yield f"{charm.charm_id}: event {number} was never accepted and is there"


def _of_link(sender: CharmFacts, receiver: CharmFacts) -> Iterator[str]:
    applied = numbers_in(receiver.fields.get("spans", []))
    there = sorted([*applied, *receiver.waiting])
    if there != list(range(1, sender.fields.get("sent", 0) + 1)):
        yield (
            f"{receiver.charm_id}: {sender.charm_id} sent 1 to {sender.fields.get('sent', 0)},"
            f" and {len(applied)} came, {len(receiver.waiting)} wait"
        )
    given, taken = receiver.items["given"], receiver.fields.get("taken", 0)
    if given != [f"{number:08}" for number in range(taken + 1, sender.fields.get("sent", 0) + 1)]:
        yield f"{receiver.charm_id}: took {taken} items of {sender.charm_id}, and has {given}"
