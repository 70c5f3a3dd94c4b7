#!/usr/bin/env bash
# asyncio and uvicorn 0.54.0: where a process may open no more files, one connection that waits is
# logged once for every connection that the listener may have waiting, each second, and all the time.
#
# Why it matters here: docs/decisions/0032-connections.md. The service takes its connections by
# itself, a few at a turn, and not at all while few descriptors are left.
#
# Expected was one line a second: "accept() out of system resource", then a pause of a second
# (ACCEPT_RETRY_DELAY). But the loop over `backlog` goes on after the error, and each turn of it logs,
# and asks for a retry of its own. uvicorn's backlog is 2,048 unless --backlog says otherwise.
# Known to those who make it: https://github.com/python/cpython/issues/151615
#
# Seen with uvicorn 0.54.0 on Python 3.11.7:
#
#     lines in the first second: as many as the backlog
#
# Needs a network. Exits with 1 when anything else is seen.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check uvicorn==0.54.0

cat >"$folder/expected" <<'EXPECTED'
lines in the first second: as many as the backlog
EXPECTED

cd "$folder"
venv/bin/python - <<'PROGRAM' | tee seen
import asyncio
import logging
import os
import resource
import socket

import uvicorn

BACKLOG = 300


class Count(logging.Handler):
    lines = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += "out of system resource" in record.getMessage()


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def main() -> None:
    count = Count()
    logging.getLogger("asyncio").addHandler(count)
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    config = uvicorn.Config(app, backlog=BACKLOG, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    client = socket.socket()
    client.setblocking(False)
    lowest = os.dup(0)
    os.close(lowest)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        client.connect(listener.getsockname())
    except BlockingIOError:
        pass
    await asyncio.sleep(0.5)
    many = "as many as the backlog" if count.lines == BACKLOG else str(count.lines)
    print(f"lines in the first second: {many}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    client.close()
    server.should_exit = True
    await serving


asyncio.run(main())
PROGRAM
diff expected seen
