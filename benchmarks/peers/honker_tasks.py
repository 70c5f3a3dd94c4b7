"""Tasks in a file of honker's: `honker_tasks.py fill FILE EXTENSION TOTAL`, or `work … BATCH`.

A program of the standard library alone, since it may be run by another Python than the bench. It
loads honker's extension into `sqlite3`, as its README has it for connections of one's own: those
that `honker.open` makes have `synchronous=NORMAL`, with which a commit does not wait for the disk.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time

QUEUE = "bench"
ENTRY_POINT = "sqlite3_honkerext_init"

#: The defaults of its queues: how long a claim holds, and how often a job is tried; in seconds and
#: times. Results are kept for an hour, the default of its tasks.
CLAIM_SECONDS, ATTEMPTS, RESULT_SECONDS = 300, 3, 3600


def connect(file: str, extension: str) -> sqlite3.Connection:
    """Open a file as durable as the others are."""
    connection = sqlite3.connect(file, isolation_level=None, timeout=60)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.enable_load_extension(True)
    connection.execute("SELECT load_extension(?, ?)", (extension, ENTRY_POINT))
    return connection


def fill(connection: sqlite3.Connection, total: int) -> None:
    """Queue so many tasks."""
    connection.execute("SELECT honker_bootstrap()")
    connection.execute("BEGIN IMMEDIATE")
    for number in range(total):
        payload = json.dumps({"counter": number})
        connection.execute(
            "SELECT honker_enqueue(?, ?, NULL, NULL, 0, ?, NULL)", (QUEUE, payload, ATTEMPTS)
        ).fetchone()
    connection.execute("COMMIT")


def work(connection: sqlite3.Connection, batch: int) -> None:
    """Claim, count, store results and ack, until somebody ends this process."""
    worker = f"worker-{os.getpid()}"
    while True:
        jobs = claim(connection, worker, batch)
        if not jobs:
            time.sleep(0.001)
            continue
        if batch == 1:
            # As its `run_task` does: two commits.
            save(connection, jobs[0])
            ack(connection, worker, jobs)
            continue
        connection.execute("BEGIN IMMEDIATE")
        for job in jobs:
            save(connection, job)
        ack(connection, worker, jobs)
        connection.execute("COMMIT")


def claim(connection: sqlite3.Connection, worker: str, batch: int) -> list[dict[str, object]]:
    """Take up to so many jobs: a commit."""
    (claimed,) = connection.execute(
        "SELECT honker_claim_batch(?, ?, ?, ?)", (QUEUE, worker, batch, CLAIM_SECONDS)
    ).fetchone()
    jobs: list[dict[str, object]] = json.loads(claimed)
    return jobs


def save(connection: sqlite3.Connection, job: dict[str, object]) -> None:
    """Do the task, and store its result."""
    result = json.dumps(json.loads(str(job["payload"]))["counter"] + 1)
    connection.execute("SELECT honker_result_save(?, ?, ?)", (job["id"], result, RESULT_SECONDS))


def ack(connection: sqlite3.Connection, worker: str, jobs: list[dict[str, object]]) -> None:
    """Tell that jobs are done."""
    ids = json.dumps([job["id"] for job in jobs])
    connection.execute("SELECT honker_ack_batch(?, ?)", (ids, worker)).fetchone()


if __name__ == "__main__":
    task, file, extension, number = sys.argv[1:]
    {"fill": fill, "work": work}[task](connect(file, extension), int(number))
