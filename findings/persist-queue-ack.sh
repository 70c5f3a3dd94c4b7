#!/usr/bin/env bash
# persist-queue 1.1.0: `ack` ends any job by its number, claimed or not, and is a commit of its own.
#
# Why it matters here: docs/decisions/0030-persist-queue.md. A claim must be ended only by whoever
# has the newest one, in the same transaction as what the run wrote.
#
# Seen with persist-queue 1.1.0 on Python 3.11, SQLite 3.40.1:
#
#     ack of a job that nobody took: accepted, 1 acked
#     a second connection sees it at once: status 5
#
# Needs a network. Exits with 1 when anything else is seen.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check persist-queue==1.1.0

cat >"$folder/expected" <<'EXPECTED'
ack of a job that nobody took: accepted, 1 acked
a second connection sees it at once: status 5
EXPECTED

cd "$folder"
venv/bin/python - <<'PROGRAM' | tee seen
import sqlite3

from persistqueue import SQLiteAckQueue

queue = SQLiteAckQueue("jobs", auto_resume=False)
job = queue.put({"n": 1})
answer = "accepted" if queue.ack(id=job) == job else "refused"
print(f"ack of a job that nobody took: {answer}, {queue.acked_count()} acked")
other = sqlite3.connect("jobs/data.db")
(status,) = other.execute("SELECT status FROM ack_queue_default").fetchone()
print(f"a second connection sees it at once: status {status}")
PROGRAM
diff expected seen
