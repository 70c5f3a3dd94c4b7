#!/usr/bin/env bash
# What Apprise counts as sent, and as not sent.
#
# apprise 2.3.0, requests 2.34.2, Python 3.11. A target on this machine, by json://.
#
# - It follows a redirect by default: the POST becomes a GET without a body, and that is SUCCESS.
#   With `http_redirects=False` it is FAILURE.
# - A target that answers after five seconds has taken the message, and the result is FAILURE: it
#   waits for four by default (`rto` in the address, `socket_read_timeout` of the target).
# - Of two targets of which one fails the result is PARTIAL.
#
# Seen:
#   redirected: SUCCESS, the body arrived 0 times
#   redirects refused: FAILURE
#   answered after 5 s: FAILURE, the body arrived 1 times
#   one of two: PARTIAL
#
# Rests on it: docs/decisions/0088-who-sends-notices.md
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apprise==2.3.0 requests==2.34.2
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import apprise

arrived = []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("/redirect"):
            self.send_response(302)
            self.send_header("Location", "/there")
            self.end_headers()
            return
        if self.path.startswith("/slow"):
            arrived.append(body)
            time.sleep(5)
        self.send_response(404 if self.path.startswith("/gone") else 200)
        self.end_headers()

    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()


def send(*paths, **asset):
    arrived.clear()
    sender = apprise.Apprise(asset=apprise.AppriseAsset(storage_mode="memory", **asset))
    for path in paths:
        assert sender.add(f"json://127.0.0.1:{server.server_port}/{path}")
    return sender.notify("a body", title="a title").status.name


seen = [
    f"redirected: {send('redirect')}, the body arrived {len(arrived)} times",
    f"redirects refused: {send('redirect', http_redirects=False)}",
    f"answered after 5 s: {send('slow')}, the body arrived {len(arrived)} times",
    f"one of two: {send('here', 'gone')}",
]
print(f"apprise {apprise.__version__}, Python {sys.version.split()[0]}", *seen, sep="\n")
assert seen == [
    "redirected: SUCCESS, the body arrived 0 times",
    "redirects refused: FAILURE",
    "answered after 5 s: FAILURE, the body arrived 1 times",
    "one of two: PARTIAL",
], "it is not as it was"
PYTHON
