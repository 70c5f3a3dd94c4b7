#!/usr/bin/env bash
# SQLite 3.40 to 3.51: a COMMIT in WAL mode that failed in its sync is made after a crash, until another
# one takes its place in the log.
#
# Why it matters here: docs/decisions/0035-in-doubt.md. The connection that was told of the error sees
# the transaction undone; a process that opens the file after a kill sees it made.
#
# Seen with apsw 3.51.0.0 (its own SQLite 3.51.0) on Python 3.11, Linux 6.18:
#
#     COMMIT: IOError, then the connection sees [1]
#     after a crash: [1, 2]
#     after another commit: the connection sees [1, 3]
#     after a crash: [1, 3]
#
# Needs a network. Exits with 1 when anything else is seen.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apsw==3.51.0.0

cat >"$folder/expected" <<'EXPECTED'
COMMIT: IOError, then the connection sees [1]
after a crash: [1, 2]
after another commit: the connection sees [1, 3]
after a crash: [1, 3]
EXPECTED

cd "$folder"
venv/bin/python - <<'PROGRAM' | tee seen
import os
import shutil

import apsw

is_failing = False


class Disk(apsw.VFS):
    """The system's files, whose log cannot be synced for a while."""

    def __init__(self):
        super().__init__("disk", base="")

    def xOpen(self, name, flags):
        return File(name, flags)


class File(apsw.VFSFile):
    def __init__(self, name, flags):
        super().__init__("", name, flags)
        self.is_log = bool(flags[0] & apsw.SQLITE_OPEN_WAL)

    def xSync(self, flags):
        if self.is_log and is_failing:
            raise apsw.IOError("the disk failed")
        super().xSync(flags)


def rows(connection):
    return [row[0] for row in connection.execute("SELECT a FROM t")]


def rows_after_a_crash():
    """Open a copy of the files, as a process finds them after the last one was killed."""
    shutil.rmtree("copy", ignore_errors=True)
    shutil.copytree("data", "copy")
    return rows(apsw.Connection("copy/some.db"))


disk = Disk()
os.mkdir("data")
connection = apsw.Connection("data/some.db", vfs="disk")
for setting in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
    connection.execute(f"PRAGMA {setting}").fetchall()
connection.execute("CREATE TABLE t (a)")
connection.execute("INSERT INTO t VALUES (1)")
is_failing = True
connection.execute("BEGIN IMMEDIATE")
connection.execute("INSERT INTO t VALUES (2)")
try:
    connection.execute("COMMIT")
except apsw.IOError as error:
    print(f"COMMIT: {type(error).__name__}, then the connection sees {rows(connection)}")
print("after a crash:", rows_after_a_crash())
is_failing = False
connection.execute("INSERT INTO t VALUES (3)")
print("after another commit: the connection sees", rows(connection))
print("after a crash:", rows_after_a_crash())
PROGRAM
diff expected seen
