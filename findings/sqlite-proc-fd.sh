#!/usr/bin/env bash
# SQLite 3.51: a database cannot be opened through a descriptor of its folder (/proc/self/fd/N/x.db)
# where a parent of the folder is closed, though any file there can.
#
# Why it matters here: docs/decisions/0039-where-a-backup-goes.md. Root that has become the owner of a
# folder below systemd's /var/lib/private (root's alone) holds a descriptor of it, and needs no path.
#
# Expected was that SQLite opens what it is given, as open(2) does. But it first makes the path "full"
# by itself: it reads each link on the way, /proc/self/fd/N too, and opens the path that it says the
# folder has. That path is closed. So it takes a mount namespace in which the path is open.
#
# Seen with apsw 3.51.0.0 (its own SQLite 3.51.0) on Python 3.11, Linux 6.18:
#
#     by the descriptor: open(2) reads "some text"
#     by the descriptor: SQLite says CantOpenError
#     with the parent open: SQLite reads 1
#
# Needs a network. Exits with 1 when anything else is seen.
set -euo pipefail

folder=$(mktemp -d)
trap 'chmod -R u+rwx "$folder"; rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apsw==3.51.0.0

cat >"$folder/expected" <<'EXPECTED'
by the descriptor: open(2) reads "some text"
by the descriptor: SQLite says CantOpenError
with the parent open: SQLite reads 1
EXPECTED

cd "$folder"
venv/bin/python - <<'PROGRAM' | tee seen
import os

import apsw

os.makedirs("closed/data")
if os.geteuid() == 0:
    # Root passes everywhere: so it becomes nobody, whose folder this is, and comes back for the end.
    os.chmod(".", 0o755)
    for path in ("closed", "closed/data"):
        os.chown(path, 65534, 65534)
    os.seteuid(65534)
with open("closed/data/text", "w") as file:
    file.write("some text")
database = apsw.Connection("closed/data/some.db")
database.execute("CREATE TABLE numbers (number); INSERT INTO numbers VALUES (1)")
database.close()

data = f"/proc/self/fd/{os.open('closed/data', os.O_PATH | os.O_DIRECTORY)}"
os.chmod("closed", 0)
with open(f"{data}/text") as file:
    print(f'by the descriptor: open(2) reads "{file.read()}"')
try:
    apsw.Connection(f"{data}/some.db")
except apsw.Error as error:
    print(f"by the descriptor: SQLite says {type(error).__name__}")
os.chmod("closed", 0o700)
(number,) = apsw.Connection(f"{data}/some.db").execute("SELECT number FROM numbers").fetchone()
print(f"with the parent open: SQLite reads {number}")
PROGRAM
diff expected seen
