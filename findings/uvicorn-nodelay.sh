#!/usr/bin/env bash
# uvicorn 0.54.0: with --workers, each answer but the first of a kept connection comes 40 ms late.
#
# asyncio sets TCP_NODELAY on a connection only if its socket says that its protocol is TCP
# (`sock.proto`). A socket made without naming it, `socket.socket(AF_INET, SOCK_STREAM)`, has proto 0,
# and so has what it accepts. uvicorn makes its socket so where it binds it itself, which is for
# several workers and reloading; with one process asyncio binds, and names the protocol. An answer is
# written in two pieces, head and body: without the option the second waits until the client
# acknowledges the first, which Linux does after 40 ms.
#
# Why it matters here: daemon/ports.py makes its sockets itself, and names the protocol.
#
# Seen with uvicorn 0.54.0, h11 0.16.0, Python 3.11, Linux:
#
#     one process: at once
#     --workers 2: over 30 ms
#     a socket of proto 0: at once is 0, of proto TCP: at once is 1
#
# Needs a network. Exits with 1 when anything else is seen.
set -euo pipefail

folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; wait; rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check uvicorn==0.54.0 h11==0.16.0

cat >"$folder/expected" <<'EXPECTED'
one process: at once
--workers 2: over 30 ms
a socket of proto 0: at once is 0, of proto TCP: at once is 1
EXPECTED

cd "$folder"
cat >hello.py <<'PROGRAM'
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"hello"})
PROGRAM

cat >ask.py <<'PROGRAM'
"""Ask twenty times over one connection, and say how long the median answer took."""
import http.client, statistics, sys, time

def ask(port):
    for _ in range(200):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.connect()
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    took = []
    for _ in range(20):
        began = time.monotonic()
        connection.request("GET", "/")
        connection.getresponse().read()
        took.append(time.monotonic() - began)
    return statistics.median(took)

print("over 30 ms" if ask(int(sys.argv[1])) > 0.03 else "at once")
PROGRAM

cat >option.py <<'PROGRAM'
"""Say what asyncio makes of what two kinds of sockets accept."""
import asyncio, socket

async def option(proto):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, proto) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        found = asyncio.get_running_loop().create_future()
        def met(reader, writer):
            connection = writer.get_extra_info("socket")
            found.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()
        async with await asyncio.start_server(met, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            answer = await found
            writer.close()
            return answer

async def main():
    print(f"a socket of proto 0: at once is {await option(0)}, of proto TCP: at once is {await option(socket.IPPROTO_TCP)}")

asyncio.run(main())
PROGRAM

free_port() { venv/bin/python -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

serve_and_ask() {
    local port
    port=$(free_port)
    venv/bin/uvicorn hello:app --http h11 --log-level critical --port "$port" "$@" &
    server=$!
    venv/bin/python ask.py "$port"
    kill "$server" && wait "$server" 2>/dev/null || true
    server=
}

{
    echo "one process: $(serve_and_ask)"
    echo "--workers 2: $(serve_and_ask --workers 2)"
    venv/bin/python option.py
} | tee seen
diff expected seen
