"""Nothing that the service asks of its database reads a whole table that grows, or sorts one.

The statements are all those of simulated services at work, whose charms fail, are given up and
take the service down; people look at everything. What may read more is named here, and why.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
from collections import defaultdict
from itertools import product

import pytest
from loguru import logger

from bg_charm_service.domain.errors import ServiceError
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.service.bootstrap import Service
from bg_charm_service.service.commands import CharmQuery, Commands, JobQuery
from bg_charm_service.service.commands.letters import LetterChoice
from bg_charm_service.storage.records import CharmOrder, Standing
from bg_charm_service.storage.sqlite.database import Database
from tests.simulation.operators import Operators
from tests.simulation.plan import draw_plan
from tests.simulation.world import World

SEEDS = (1, 2, 3)

#: A part of a statement -> why it may read or sort more than it gives.
ALLOWED = {
    # Once, when the service starts.
    "SELECT name, value FROM totals": "a few counters, at the start",
    "SELECT status, count(*) FROM ack_queue_jobs": "counted at the start and after a repair",
    "SELECT DISTINCT run_at, space_key FROM ack_queue_jobs": "the hints, at the start",
    "UPDATE ack_queue_jobs SET run_at = ?1 WHERE status = 1": "after the clock moved, at the start",
    "coalesce(sum(size_bytes), 0) FROM collections": "kept in memory from the start on",
    "SELECT charm_key, integration FROM registrations": "kept in memory from the start on",
    "h.disabled_by, h.consecutive_failures FROM charms": "the schedule, at the start",
    "SELECT space_key, did FROM spaces": "with the schedule, at the start",
    "SELECT space_key, changes FROM space_limits": "kept in memory from the start on",
    "SELECT charm_key, changes FROM charm_limits": "kept in memory from the start on",
    "SELECT charm_key, words FROM charm_schedules": "kept in memory from the start on",
    "jobs_live WHERE status IN (1, 2) AND origin <> 'batch' AND status = 2": "an index, hourly",
    "FROM ack_queue_jobs WHERE origin = 'batch'": "once, when the queue is opened",
    "paused_by FROM pauses": "kept in memory from the start on",
    "space_key, lock_hash FROM charm_packages": "kept in memory from the start on",
    "SELECT lock_hash, size_bytes FROM package_locks": "kept in memory from the start on",
    "space_key, kind, until, since, tries, host, why, url FROM waits": "who waits, at the start",
    "FROM ack_queue_jobs WHERE status = 9 AND origin <> 'send'": "dead letters, at the start",
    "FROM hooks INDEXED BY hooks_poked": "an index of those poked during a run, at the start",
    # Few rows.
    "SELECT count(*) FROM (SELECT 1 FROM ack_queue_jobs": "stops at a thousand",
    "FROM deliveries ORDER BY delivery_number LIMIT 10": "the ten oldest",
    "FROM idempotency_keys ORDER BY key_number LIMIT 10": "the ten oldest",
    "UPDATE sqlite_sequence SET seq": "a row for each table that gives ids out",
    "SELECT 1 FROM data_keys LIMIT 1": "one row is enough",
    "SELECT 1 FROM spaces LIMIT 1": "one row is enough",
    "DELETE FROM sessions WHERE expires_at": "of people; when one begins",
    "FROM space_owners WHERE space_key = ?": "the owners of one space are few",
    "FROM spaces WHERE space_key > ? ORDER BY": "a page of spaces, or all that are asked for",
    "FROM tokens ORDER BY token_id": "all tokens are asked for, which people made",
    "INDEXED BY jobs_suspect": "jobs that several services died with",
    "FROM service_lives": "the last lives that ended in death, at the start",
    "DELETE FROM ack_queue_jobs WHERE status = 5": "an index of the few finished jobs",
    "FROM health INDEXED BY health_off": "an index of the disabled charms; stops at some",
    "FROM health INDEXED BY health_slow": "an index of the slow charms; stops at some",
    "SELECT charm_key FROM pauses WHERE charm_key > 0": "what people paused; stops at some charms",
    "count(DISTINCT charm_key) FROM freshness": "an index of the stale charms",
    "FROM reminders WHERE charm_key = ? ORDER BY": "sorts those of one charm, which are bounded",
    "AS given CROSS JOIN charms AS c ON": "sorts a bounded number of charms",
    "FROM sign_ins ORDER BY": "all sign-ins are asked for, which people made",
    "FROM oauth_clients ORDER BY": "the operator's clients, one a provider",
    "FROM notice_targets ORDER BY": "the operator's targets, which are few",
    "FROM notice_messages INDEXED BY notice_messages_open": "two open messages a target at most",
    "DELETE FROM notice_messages": "about a thousand are kept; when something is told",
    "FROM notices WHERE taken_at IS NULL LIMIT": "an index of what waits; stops at a thousand",
    "FROM notices WHERE kind = 'charm'": "an index of what one charm said; stops at ten",
    "FROM incidents": "kept in memory from the start on",
    # Lists, in the order of an index, or of one that would be written with every run.
    "FROM charms AS c NOT INDEXED": "stops at the end of the page, or at what a filter leaves",
    "FROM charms AS c INDEXED BY charms_by_name": "stops at the end of the page, as above",
    "FROM health AS h INDEXED BY health_by_failures": "stops at the end of the page, as above",
    "ORDER BY h.last_run DESC, h.charm_key DESC LIMIT ?": "one pass over health, no more",
    "ORDER BY h.last_ms DESC, h.charm_key DESC LIMIT ?": "one pass over health, no more",
    "FROM charms WHERE removed_at IS NULL AND NOT EXISTS": "an index; those not registered",
    # Maintenance.
    "DELETE FROM sources WHERE NOT EXISTS": "only after a source was replaced or a charm purged",
    "AS owned ORDER BY owned.k": "sorts one slice of a check",
    "AS live LEFT JOIN health": "sorts one slice of a check",
}

#: Steps that read no table of ours: keys that were given, a slice, tables of SQLite itself.
NO_TABLE = re.compile(
    r"SCAN (json_each|k|owned|live|CONSTANT ROW|pragma_|sqlite_master|charm_texts VIRTUAL TABLE"
    r" INDEX \d+:.)"
)

BOUNDS = {"SAVEPOINT", "RELEASE", "ROLLBACK", "BEGIN", "PRAGMA"}


async def look_around(world: World, service: Service) -> None:
    """Ask for every view once the service has worked for a while, and end its life."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(max(0.0, world.chaos_ends_at - loop.time()))
    commands = service.commands
    _list(commands)
    for member in world.members.values():
        if service.parts.store.charms.find(member.ref) is not None:
            await _show(commands, member.ref)
    await commands.system.examine()
    commands.queries.status()
    _scrape(world, commands)
    commands.queries.bulletin()
    commands.system.spaces()
    commands.queries.dead_letters(0, 10)
    commands.queries.paused(10)
    for member in world.members.values():
        if service.parts.store.charms.find(member.ref) is not None:
            await commands.jobs.list_jobs(JobQuery(member.ref))
            commands.reminders.of(member.ref)
    await commands.jobs.list_jobs(JobQuery())
    commands.queries.audit(None, 10)
    commands.tokens.take_nonce("did:key:somebody", "nonce", 1e10)
    text = commands.tokens.begin_session(None)
    commands.tokens.find_session(text)
    commands.tokens.end_session(text)
    commands.tokens.list_tokens()
    commands.tokens.find_token("none")
    assert any(b"cause" in piece for piece in commands.queries.export())
    world.is_over = True
    world.deploy.set()
    await asyncio.Event().wait()


def _scrape(world: World, commands: Commands) -> None:
    """A scrape asks the database for nothing but the number of its schema."""
    before, asked = world.disk.rewrite, []

    def note(sql: str) -> str:
        asked.append(sql)
        return sql

    world.disk.rewrite = note
    text, _ = commands.monitoring.metrics("")
    world.disk.rewrite = before
    assert b"bg_charm_runs_total" in text
    assert ["PRAGMA user_version"] == asked


def _list(commands: Commands) -> None:
    filters = [
        *({"standing": one} for one in (None, *Standing)),
        *({"text": one} for one in ("C", "counter", "#abcd", "x" * 59)),
        {"space": "space 0"},
        {"integration": "manual"},
    ]
    for order, wanted in product(CharmOrder, filters):
        _, cursor = commands.queries.list_charms(CharmQuery(order=order, limit=1, **wanted))
        commands.queries.list_charms(
            CharmQuery(order=order, limit=1, cursor=cursor or "", **wanted)
        )


async def _show(commands: Commands, ref: CharmRef) -> None:
    assert ref.charm_id == commands.queries.show_charm(ref).charm.charm_id
    commands.queries.state(ref)
    commands.queries.source(ref)
    commands.limits.of_charm(ref)
    commands.queries.recent_outcomes(ref, 10)
    with contextlib.suppress(ServiceError):
        await commands.letters.requeue(LetterChoice(ref=ref))
        await commands.letters.drop(LetterChoice(ref=ref))
    await commands.sending.send(ref, None, b"{}", key="once")
    for run in commands.queries.runs(ref, None, 3):
        commands.queries.run(ref, run.number)
    commands.limits.set_for_charm(ref, {"timeout": 9.0})
    commands.limits.reset_for_charm(ref)


@pytest.fixture(scope="module")
def statements(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Every statement that services made in their lives, once."""
    seen: dict[str, None] = {}

    def note(sql: str) -> str:
        seen[" ".join(sql.split())] = None
        return sql

    logger.disable("bg_charm_service")
    for seed in SEEDS:
        world = World(draw_plan(seed), tmp_path_factory.mktemp("world"))
        operators = Operators(world)
        if world.plan.hooked:
            # Few commands are given, and these are to be among them.
            world.wanted_commands += ["poke", "deliver", "deliver", "send"]
        while not world.is_over:
            world.disk.rewrite = note
            world.live_once([operators.work, look_around])
    logger.enable("bg_charm_service")
    return [sql for sql in seen if sql.split()[0] not in BOUNDS]


def plan_of(connection: sqlite3.Connection, sql: str) -> list[str]:
    """What SQLite does for a statement, step by step."""
    values: object = defaultdict(lambda: "a%") if re.search(r"[ (=,]:[a-z]", sql) else ()
    while True:
        try:
            rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)  # type: ignore[arg-type]
        except sqlite3.ProgrammingError as error:
            values = ("a%",) * int(re.findall(r"uses (\d+)", str(error))[0])
        else:
            return [row[3] for row in rows]


def is_long(step: str) -> bool:
    """Whether a step reads a table or an index from end to end, or sorts."""
    return "TEMP B-TREE" in step or ("SCAN" in step and NO_TABLE.search(step) is None)


def test_no_statement_reads_what_grows(statements: list[str]) -> None:
    """Each statement goes through an index to the rows that it needs, but for those named above."""
    database = Database.open(":memory:")
    plans = {sql: plan_of(database.connection, sql) for sql in statements}
    database.close()
    long = {sql: plan for sql, plan in plans.items() if any(map(is_long, plan))}
    unnamed = {s: plan for s, plan in long.items() if not any(part in s for part in ALLOWED)}
    assert {} == unnamed
    assert [] == [part for part in ALLOWED if not any(part in sql for sql in long)]


def test_services_at_work_ask_for_much(statements: list[str]) -> None:
    """What is looked at is the work: claims, answers, retries, dead letters, cleanup, checks."""
    wanted = (
        "INSERT INTO ack_queue_jobs",
        "SET status = 2, fence = fence + 1",
        "SET status = 1, run_at = ?",
        "SELECT :new, data, :now, 1, space_key",
        "INSERT INTO runs",
        "FROM runs INDEXED BY runs_by_age",
        "UPDATE cells",
        "UPDATE health SET",
        "DELETE FROM charms WHERE charm_key = ?",
        "charm_texts WHERE text MATCH",
        "FROM ack_queue_jobs AS job LEFT JOIN charms",
    )
    assert [] == [part for part in wanted if not any(part in sql for sql in statements)]
    assert len(statements) > 150
