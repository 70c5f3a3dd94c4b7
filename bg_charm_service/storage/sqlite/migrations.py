"""The schema, as numbered steps that are never edited once released, and who applies them.

`PRAGMA user_version` holds the number of the last step that was applied. Called by the
database when it is opened.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from bg_charm_service.domain.errors import SchemaTooNew

#: Statuses are persist-queue's (`AckStatus`): 1 ready, 2 claimed, 5 done, 9 failed (a dead letter).
#: The first four columns are persist-queue's too, so that its own class can open and count.
_FIRST = """
CREATE TABLE spaces (
    space_key INTEGER PRIMARY KEY,
    did TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL DEFAULT '',
    created_at REAL NOT NULL
);
CREATE TABLE space_owners (
    space_key INTEGER NOT NULL REFERENCES spaces,
    did TEXT NOT NULL,
    granted_by TEXT NOT NULL,
    granted_at REAL NOT NULL,
    PRIMARY KEY (space_key, did)
) WITHOUT ROWID;
CREATE TABLE data_keys (
    did TEXT PRIMARY KEY,
    sealed_key BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE sources (
    source_hash TEXT PRIMARY KEY,
    source TEXT NOT NULL
);
CREATE TABLE charms (
    charm_key INTEGER PRIMARY KEY AUTOINCREMENT,
    space_key INTEGER NOT NULL REFERENCES spaces,
    space TEXT NOT NULL,
    charm_id TEXT NOT NULL,
    cause TEXT NOT NULL,
    file_name TEXT NOT NULL,
    source_hash TEXT NOT NULL REFERENCES sources,
    schema BLOB NOT NULL,
    name TEXT NOT NULL,
    updater TEXT,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    removed_at REAL,
    UNIQUE (space, charm_id)
);
CREATE UNIQUE INDEX charms_by_cause ON charms (space_key, cause) WHERE removed_at IS NULL;
CREATE INDEX charms_by_source ON charms (source_hash);
CREATE INDEX charms_removed ON charms (removed_at) WHERE removed_at IS NOT NULL;

CREATE TABLE cells (
    cell_key INTEGER PRIMARY KEY AUTOINCREMENT,
    charm_key INTEGER NOT NULL REFERENCES charms,
    field TEXT NOT NULL,
    version INTEGER NOT NULL,
    is_sealed INTEGER NOT NULL DEFAULT 0,
    value BLOB NOT NULL,
    UNIQUE (charm_key, field)
);
CREATE TABLE links (
    charm_key INTEGER NOT NULL REFERENCES charms,
    field TEXT NOT NULL,
    target_key INTEGER NOT NULL REFERENCES charms,
    path TEXT NOT NULL,
    is_writable INTEGER NOT NULL,
    PRIMARY KEY (charm_key, field)
) WITHOUT ROWID;
CREATE INDEX links_by_target ON links (target_key);
CREATE TABLE documents (
    space TEXT NOT NULL,
    cell_id TEXT NOT NULL,
    value BLOB NOT NULL,
    updated_at REAL NOT NULL,
    PRIMARY KEY (space, cell_id)
);

CREATE TABLE registrations (
    charm_key INTEGER PRIMARY KEY REFERENCES charms,
    integration TEXT NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL
);
CREATE TABLE health (
    charm_key INTEGER PRIMARY KEY REFERENCES charms,
    due_at REAL,
    interval_seconds REAL,
    status TEXT NOT NULL DEFAULT '',
    disabled_at REAL NOT NULL DEFAULT 0,
    disabled_by TEXT,
    last_run REAL NOT NULL DEFAULT 0,
    last_success REAL NOT NULL DEFAULT 0,
    consecutive_failures INTEGER NOT NULL DEFAULT 0,
    last_error TEXT NOT NULL DEFAULT '',
    last_error_cause TEXT,
    last_error_at REAL NOT NULL DEFAULT 0,
    executions INTEGER NOT NULL DEFAULT 0,
    successes INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    stale_streak INTEGER NOT NULL DEFAULT 0,
    skipped_polls INTEGER NOT NULL DEFAULT 0,
    runs_recorded INTEGER NOT NULL DEFAULT 0,
    total_ms REAL NOT NULL DEFAULT 0,
    min_ms REAL NOT NULL DEFAULT 0,
    max_ms REAL NOT NULL DEFAULT 0,
    last_ms REAL NOT NULL DEFAULT 0
);
CREATE INDEX health_disabled ON health (disabled_at) WHERE disabled_by = 'failures';
CREATE INDEX health_failing ON health (consecutive_failures) WHERE consecutive_failures > 0;

CREATE TABLE runs (
    run_key INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL,
    job_id INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    stream TEXT NOT NULL,
    origin TEXT NOT NULL,
    status TEXT NOT NULL,
    cause TEXT,
    error TEXT NOT NULL,
    traceback TEXT NOT NULL,
    finished_at REAL NOT NULL,
    duration_ms REAL NOT NULL,
    lag_ms REAL NOT NULL,
    worker INTEGER NOT NULL,
    writes TEXT NOT NULL,
    log TEXT NOT NULL
);
CREATE INDEX runs_by_age ON runs (finished_at);

CREATE TABLE totals (
    name TEXT PRIMARY KEY,
    value REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE ack_queue_jobs (
    _id INTEGER PRIMARY KEY AUTOINCREMENT,
    data BLOB,
    timestamp FLOAT,
    status INTEGER,
    space_key INTEGER NOT NULL,
    charm_key INTEGER NOT NULL,
    origin TEXT NOT NULL,
    priority INTEGER NOT NULL,
    run_at REAL NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 1,
    deliveries INTEGER NOT NULL DEFAULT 0,
    fence INTEGER NOT NULL DEFAULT 0,
    is_held INTEGER NOT NULL DEFAULT 0,
    unique_key INTEGER
);
CREATE UNIQUE INDEX jobs_unique ON ack_queue_jobs (unique_key)
    WHERE unique_key IS NOT NULL AND status IN (1, 2);
CREATE INDEX jobs_ready ON ack_queue_jobs (space_key, priority DESC, _id)
    WHERE status = 1 AND is_held = 0;
CREATE INDEX jobs_live ON ack_queue_jobs (charm_key, status) WHERE status IN (1, 2);
CREATE INDEX jobs_dead ON ack_queue_jobs (charm_key) WHERE status = 9;
CREATE INDEX jobs_suspect ON ack_queue_jobs (_id) WHERE status = 1 AND deliveries >= 3;
CREATE INDEX jobs_claimed ON ack_queue_jobs (_id) WHERE status = 2;
CREATE INDEX jobs_done ON ack_queue_jobs (_id) WHERE status = 5;
"""

#: What lists of many charms are found by: each order, each filter, and the text of names.
_LISTS = """
CREATE INDEX charms_by_name ON charms (name COLLATE NOCASE);
CREATE INDEX charms_by_id ON charms (charm_id);
CREATE INDEX charms_by_tail ON charms (substr(charm_id, -4));
CREATE INDEX health_by_run ON health (last_run);
CREATE INDEX health_by_duration ON health (last_ms);
CREATE INDEX health_by_failures ON health (consecutive_failures);
CREATE INDEX health_off ON health (charm_key) WHERE disabled_by IS NOT NULL;
CREATE INDEX registrations_by_integration ON registrations (integration);
CREATE VIRTUAL TABLE charm_texts USING fts5 (text, tokenize = 'trigram', detail = 'full');
INSERT INTO charm_texts (rowid, text)
    SELECT charm_key, name || char(10) || cause FROM charms WHERE removed_at IS NULL
"""

#: Who may reach the service over the network, and what was changed by whom. Of tokens and of
#: sessions only hashes are kept. Entries of the log are never changed, and dropped only when a
#: hundred thousand others are newer.
_ACCESS = """
CREATE TABLE tokens (
    token_id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    space TEXT,
    is_read_only INTEGER NOT NULL,
    made_by TEXT NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL,
    last_used_at REAL NOT NULL DEFAULT 0,
    revoked_at REAL
);
CREATE UNIQUE INDEX tokens_by_name ON tokens (name) WHERE revoked_at IS NULL;
CREATE TABLE sessions (
    hash BLOB PRIMARY KEY,
    token_id INTEGER REFERENCES tokens,
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE nonces (
    did TEXT NOT NULL,
    nonce TEXT NOT NULL,
    expires_at REAL NOT NULL,
    PRIMARY KEY (did, nonce)
) WITHOUT ROWID;
CREATE INDEX nonces_by_expiry ON nonces (expires_at);
CREATE INDEX space_owners_by_did ON space_owners (did);
CREATE TABLE audit (
    entry_id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    caller TEXT NOT NULL,
    action TEXT NOT NULL,
    space TEXT NOT NULL,
    charm_id TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
CREATE TRIGGER audit_is_not_dropped BEFORE DELETE ON audit
WHEN OLD.entry_id > (SELECT MAX(entry_id) FROM audit) - 100000 BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
"""

#: Limits that the operator set for a space or a charm: JSON with those that are set.
_LIMITS = """
CREATE TABLE space_limits (
    space_key INTEGER PRIMARY KEY REFERENCES spaces,
    changes BLOB NOT NULL
);
CREATE TABLE charm_limits (
    charm_key INTEGER PRIMARY KEY REFERENCES charms,
    changes BLOB NOT NULL
)
"""

#: Whose a job's charm is, where a cap asks for it; else null, and the index costs nothing.
_INTEGRATIONS = """
ALTER TABLE ack_queue_jobs ADD COLUMN integration TEXT;
CREATE INDEX jobs_of_integration ON ack_queue_jobs (space_key, integration, priority DESC, _id)
    WHERE status = 1 AND is_held = 0 AND integration IS NOT NULL
"""

#: An index of what changes with every run is written with every run, and so is one of live jobs
#: that asks for their status. Lists ordered by last run or duration read the records instead;
#: a job that is over has no unique key any more.
_LEAN = """
DROP INDEX health_by_run;
DROP INDEX health_by_duration;
DROP INDEX health_failing;
CREATE INDEX health_slow ON health (charm_key) WHERE last_ms >= 1000;
DROP INDEX jobs_claimed;
DROP INDEX jobs_unique;
UPDATE ack_queue_jobs SET unique_key = NULL WHERE status NOT IN (1, 2);
CREATE UNIQUE INDEX jobs_unique ON ack_queue_jobs (unique_key) WHERE unique_key IS NOT NULL
"""

#: What is remembered of lives of the service that ended in death, and of charms that ended one.
_LIVES = """
CREATE TABLE service_lives (
    life INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    target_seconds REAL NOT NULL,
    lived_seconds REAL NOT NULL
);
ALTER TABLE health ADD COLUMN service_deaths INTEGER NOT NULL DEFAULT 0
"""

#: When charms run: what the operator says of one, JSON; for when a poll was due, also of the last
#: one that succeeded, by the wall clock.
_SCHEDULES = """
CREATE TABLE charm_schedules (
    charm_key INTEGER PRIMARY KEY REFERENCES charms,
    words BLOB NOT NULL
);
ALTER TABLE ack_queue_jobs ADD COLUMN scheduled_at REAL;
ALTER TABLE health ADD COLUMN last_scheduled REAL NOT NULL DEFAULT 0
"""

#: What is paused (a zero stands for all of them), what charms want to be reminded of, and until
#: when the state of those that say how often it should change counts as fresh.
_WAITING = """
CREATE TABLE pauses (
    space_key INTEGER NOT NULL,
    charm_key INTEGER NOT NULL,
    paused_at REAL NOT NULL,
    paused_by TEXT NOT NULL,
    PRIMARY KEY (space_key, charm_key)
) WITHOUT ROWID;
CREATE TABLE reminders (
    reminder_id INTEGER PRIMARY KEY AUTOINCREMENT,
    charm_key INTEGER NOT NULL REFERENCES charms,
    name TEXT,
    stream TEXT NOT NULL,
    event BLOB NOT NULL,
    remind_at REAL NOT NULL,
    created_at REAL NOT NULL
);
CREATE UNIQUE INDEX reminders_by_name ON reminders (charm_key, name);
CREATE INDEX reminders_by_time ON reminders (remind_at);
CREATE TABLE freshness (
    charm_key INTEGER NOT NULL REFERENCES charms,
    field TEXT NOT NULL,
    stale_at REAL NOT NULL,
    PRIMARY KEY (charm_key, field)
) WITHOUT ROWID;
CREATE INDEX freshness_by_time ON freshness (stale_at)
"""

#: What charms wait for: a row only for those that do. Runs that ended neither well nor badly are
#: counted apart.
_WAITS = """
CREATE TABLE waits (
    charm_key INTEGER PRIMARY KEY REFERENCES charms,
    space_key INTEGER NOT NULL REFERENCES spaces,
    kind TEXT NOT NULL,
    until REAL NOT NULL,
    since REAL NOT NULL,
    tries INTEGER NOT NULL,
    host TEXT NOT NULL,
    why TEXT NOT NULL,
    url TEXT NOT NULL
);
CREATE INDEX waits_by_kind ON waits (kind);
CREATE INDEX waits_by_host ON waits (space_key, host, until) WHERE kind = 'down';
ALTER TABLE health ADD COLUMN waits INTEGER NOT NULL DEFAULT 0;
ALTER TABLE health ADD COLUMN downs INTEGER NOT NULL DEFAULT 0
"""

#: For what a run did its worker was replaced; of nearly all runs empty, which takes no room.
_RETIRED = """
ALTER TABLE runs ADD COLUMN retired TEXT NOT NULL DEFAULT ''
"""

#: The locks of packages, each by the hash of what it says, and which charm has which: few have one.
_PACKAGES = """
CREATE TABLE package_locks (
    lock_hash TEXT PRIMARY KEY,
    lock BLOB NOT NULL,
    size_bytes INTEGER NOT NULL,
    created_at REAL NOT NULL
);
CREATE TABLE charm_packages (
    charm_key INTEGER PRIMARY KEY REFERENCES charms,
    space_key INTEGER NOT NULL REFERENCES spaces,
    lock_hash TEXT NOT NULL REFERENCES package_locks
);
CREATE INDEX charm_packages_by_lock ON charm_packages (lock_hash)
"""

#: A poll that is plain has no row of its own: the row of its batch names it, and its charm's record
#: says which was the last that ended. Ids of jobs are given out without rows, too.
_PLAIN_POLLS = """
ALTER TABLE health ADD COLUMN last_poll INTEGER NOT NULL DEFAULT 0;
INSERT INTO sqlite_sequence (name, seq) SELECT 'ack_queue_jobs', 0
    WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'ack_queue_jobs')
"""

#: Collections of charms: one that is dropped has no charm any more, until its items are deleted.
#: A charm's collection has a row once something was written to it.
_ITEMS = """
CREATE TABLE collections (
    collection_key INTEGER PRIMARY KEY AUTOINCREMENT,
    charm_key INTEGER REFERENCES charms,
    field TEXT NOT NULL,
    version INTEGER NOT NULL DEFAULT 0,
    count INTEGER NOT NULL DEFAULT 0,
    size_bytes INTEGER NOT NULL DEFAULT 0,
    UNIQUE (charm_key, field)
);
CREATE TABLE items (
    collection_key INTEGER NOT NULL REFERENCES collections,
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    value BLOB NOT NULL,
    UNIQUE (collection_key, key)
)
"""

#: Clients that the operator has registered at providers, sealed, with the description of one that
#: is not shipped. Of sign-ins, whose tokens are cells: when a token ends, when it was obtained,
#: since when a provider is asked for another one, and what it said if that was the last word.
_SIGN_INS = """
CREATE TABLE oauth_clients (
    provider TEXT PRIMARY KEY,
    description BLOB NOT NULL,
    sealed BLOB NOT NULL,
    updated_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE sign_ins (
    charm_key INTEGER NOT NULL REFERENCES charms,
    field TEXT NOT NULL,
    provider TEXT NOT NULL,
    expires_at REAL NOT NULL,
    obtained_at REAL NOT NULL,
    refresh_hash TEXT NOT NULL,
    asked_at REAL NOT NULL DEFAULT 0,
    problem TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (charm_key, field)
) WITHOUT ROWID
"""

#: The newest plain runs of a charm are packed in its record, those before them eight to a row.
_PACKED_RUNS = """
ALTER TABLE health ADD COLUMN ring BLOB;
CREATE TABLE run_chunks (
    chunk_key INTEGER PRIMARY KEY,
    oldest REAL NOT NULL,
    newest REAL NOT NULL,
    packed BLOB NOT NULL
);
CREATE INDEX run_chunks_by_age ON run_chunks (oldest);
CREATE INDEX run_chunks_by_end ON run_chunks (newest)
"""

#: What somebody is to be told, by kind and subject; what was told and is not over; where it goes,
#: sealed; and what was sent. Without a target none of them has a row.
_NOTICES = """
CREATE TABLE notices (
    notice_id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    text TEXT NOT NULL,
    space_key INTEGER NOT NULL,
    charm_key INTEGER NOT NULL,
    is_for_space INTEGER NOT NULL,
    after_seconds REAL NOT NULL,
    count INTEGER NOT NULL,
    happened_at REAL NOT NULL,
    noted_at REAL NOT NULL,
    due_at REAL NOT NULL,
    taken_at REAL
);
CREATE INDEX notices_waiting ON notices (due_at) WHERE taken_at IS NULL;
CREATE INDEX notices_by_subject ON notices (kind, subject, taken_at);
CREATE INDEX notices_taken ON notices (taken_at) WHERE taken_at IS NOT NULL;
CREATE INDEX notices_of_charm ON notices (charm_key, noted_at) WHERE kind = 'charm';
CREATE TABLE incidents (
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    since REAL NOT NULL,
    space_key INTEGER NOT NULL,
    charm_key INTEGER NOT NULL,
    after_seconds REAL NOT NULL,
    PRIMARY KEY (kind, subject)
) WITHOUT ROWID;
CREATE TABLE notice_targets (
    target_id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    shown TEXT NOT NULL,
    space_key INTEGER NOT NULL,
    kinds TEXT NOT NULL,
    down_after_seconds REAL NOT NULL,
    is_given INTEGER NOT NULL,
    created_at REAL NOT NULL,
    sealed BLOB NOT NULL
);
CREATE TABLE notice_messages (
    message_id INTEGER PRIMARY KEY AUTOINCREMENT,
    target_id INTEGER NOT NULL,
    target_name TEXT NOT NULL,
    shown TEXT NOT NULL,
    lines BLOB NOT NULL,
    counts BLOB NOT NULL,
    created_at REAL NOT NULL,
    status TEXT NOT NULL,
    tries INTEGER NOT NULL,
    next_at REAL NOT NULL,
    tried_at REAL NOT NULL,
    problem TEXT NOT NULL
);
CREATE INDEX notice_messages_open ON notice_messages (message_id)
    WHERE status IN ('waiting', 'sending')
"""

#: What dead letters failed with. Keys that senders gave with their events, and addresses by which
#: events come from outside, with the ids of what was delivered there: of all these only hashes, and
#: each address encrypted besides, for its owner.
_EVENTS = """
ALTER TABLE ack_queue_jobs ADD COLUMN error TEXT;
ALTER TABLE ack_queue_jobs ADD COLUMN cause TEXT;
CREATE TABLE idempotency_keys (
    key_number INTEGER PRIMARY KEY AUTOINCREMENT,
    charm_key INTEGER NOT NULL REFERENCES charms,
    key_hash BLOB NOT NULL,
    request_hash BLOB NOT NULL,
    job_id INTEGER NOT NULL,
    created_at REAL NOT NULL,
    UNIQUE (charm_key, key_hash)
);
CREATE INDEX idempotency_keys_of_charm ON idempotency_keys (charm_key);
CREATE TABLE hooks (
    hook_key INTEGER PRIMARY KEY AUTOINCREMENT,
    charm_key INTEGER NOT NULL REFERENCES charms,
    stream TEXT NOT NULL,
    address_hash BLOB NOT NULL UNIQUE,
    sealed BLOB NOT NULL,
    made_at REAL NOT NULL,
    leased_until REAL NOT NULL DEFAULT 0,
    is_poked INTEGER NOT NULL DEFAULT 0,
    UNIQUE (charm_key, stream)
);
CREATE INDEX hooks_poked ON hooks (charm_key) WHERE is_poked = 1;
CREATE TABLE deliveries (
    delivery_number INTEGER PRIMARY KEY AUTOINCREMENT,
    hook_key INTEGER NOT NULL,
    delivery_hash BLOB NOT NULL,
    job_id INTEGER NOT NULL,
    is_dead INTEGER NOT NULL DEFAULT 0,
    received_at REAL NOT NULL,
    UNIQUE (hook_key, delivery_hash)
);
CREATE INDEX deliveries_of_hook ON deliveries (hook_key);
CREATE INDEX deliveries_by_job ON deliveries (job_id)
"""

#: The rows of batches are found without an index: each one cost a lone poll a page to write.
_BATCHES_APART = """
DROP INDEX jobs_live;
DROP INDEX jobs_done;
CREATE INDEX jobs_live ON ack_queue_jobs (charm_key, status)
    WHERE status IN (1, 2) AND origin <> 'batch';
CREATE INDEX jobs_done ON ack_queue_jobs (_id) WHERE status = 5 AND origin <> 'batch'
"""

#: Each step as SQL; a step's number is its place, from 1.
STEPS: tuple[str, ...] = (
    _FIRST,
    _LISTS,
    _ACCESS,
    _LIMITS,
    _INTEGRATIONS,
    _LEAN,
    _LIVES,
    _SCHEDULES,
    _WAITING,
    _WAITS,
    _RETIRED,
    _PACKAGES,
    _PLAIN_POLLS,
    _ITEMS,
    _SIGN_INS,
    _PACKED_RUNS,
    _NOTICES,
    _EVENTS,
    _BATCHES_APART,
)


def migrate(connection: sqlite3.Connection) -> None:
    """Apply the steps that are missing, in one transaction; raises SchemaTooNew untouched."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    check_version(version)
    if version == len(STEPS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in STEPS[version:]:
            for statement in _statements(step):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(STEPS)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def check_version(version: int, what: str = "The database") -> None:
    """Raise SchemaTooNew for a schema that a later version of the service made."""
    if version > len(STEPS):
        raise SchemaTooNew(
            f"{what} has schema {version}, this version of the service knows up to "
            f"{len(STEPS)}. Install the version that wrote it, or a later one; nothing was changed."
        )


def _statements(sql: str) -> Iterator[str]:
    """Take SQL apart; `executescript` would commit the transaction. A trigger holds semicolons."""
    statement = ""
    for piece in sql.split(";"):
        statement += piece
        if sqlite3.complete_statement(f"{statement};"):
            if statement.strip():
                yield statement
            statement = ""
        else:
            statement += ";"
    if statement.strip(" ;\n"):
        yield statement
