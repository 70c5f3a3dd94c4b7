#!/usr/bin/env bash
# pip-audit 2.10.1: "No known vulnerabilities found", with 0, also where nothing was looked up.
#
# Why it matters here: .ci/audit. A release must not pass since a mirror has no advisories, or since
# an answer could not be read; so it asks about a known hole first, and counts what was looked up.
#
# Seen with pip-audit 2.10.1 on Python 3.11:
#
#     a version that PyPI does not have: 0, No known vulnerabilities found
#     the same, --strict: 1
#     a server that knows no advisories: 0, No known vulnerabilities found
#     an advisory of a newer schema: 0, No known vulnerabilities found
#
# Needs a network. Exits with 1 when anything else is seen.
set -euo pipefail

folder=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
server=
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pip-audit==2.10.1

cat >"$folder/expected" <<'EXPECTED'
a version that PyPI does not have: 0, No known vulnerabilities found
the same, --strict: 1
a server that knows no advisories: 0, No known vulnerabilities found
an advisory of a newer schema: 0, No known vulnerabilities found
EXPECTED

cd "$folder"
echo 'jinja2==3.1.5' >has-a-hole.txt
echo 'jinja2==3.1.999' >unknown.txt

# An OSV server that answers jinja2 with nothing at /none, and with its hole in a schema to come at /newer.
cat >osv.py <<'PROGRAM'
import json
from http.server import BaseHTTPRequestHandler, HTTPServer

PACKAGE = {"name": "jinja2", "ecosystem": "PyPI"}
HOLE = {"id": "GHSA-cpwx-vrp4-4pq7", "schema_version": "2.0.0", "affected": [{"package": PACKAGE}]}


class Answers(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        answer = json.dumps({"vulns": [HOLE]} if self.path == "/newer" else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


with HTTPServer(("127.0.0.1", 0), Answers) as server:
    with open("port", "w") as port:
        print(server.server_port, file=port)
    server.serve_forever()
PROGRAM
mkfifo port
venv/bin/python osv.py &
server=$!
read -r port <port

audit() {
    local told code=0
    told=$(venv/bin/pip-audit --no-deps --disable-pip --progress-spinner off "$@" 2>&1) || code=$?
    echo "$code$(grep -o '^No known vulnerabilities found' <<<"$told" | sed 's/^/, /' || true)"
}

{
    echo "a version that PyPI does not have: $(audit -r unknown.txt)"
    echo "the same, --strict: $(audit -r unknown.txt --strict)"
    echo "a server that knows no advisories: $(audit -r has-a-hole.txt -s osv --osv-url "http://127.0.0.1:$port/none")"
    echo "an advisory of a newer schema: $(audit -r has-a-hole.txt -s osv --osv-url "http://127.0.0.1:$port/newer")"
} | tee seen
diff expected seen
