#!/usr/bin/env bash
# What becomes of tasks whose worker is killed and started again: huey, RQ, Celery and dramatiq.
#
# One worker has two tasks: it is in the middle of the first, the second waits. All of its processes
# get KILL, and a new worker starts at once. 50 seconds later
#
#   - huey has lost the first: what a worker takes is out of its file before it runs.
#   - RQ has neither run nor failed the first: that one counts as under way until its heartbeat is old
#     (seen: it fails with AbandonedJobError two minutes and a half after the kill; it is not run again).
#   - Celery, told to acknowledge late, has run neither: the second had been fetched ahead, though it
#     never began. Both come back after the visibility timeout of Redis, which is an hour.
#   - dramatiq has run neither, for the same reason. A worker that is quiet for 60 s counts as dead, and
#     its tasks come back with a chance of one in a thousand for each command after that: an idle queue
#     may take long (seen: neither after 150 s).
#
# Why it matters here: docs/benchmarks/README.md compares their speed. Here, tasks of a worker or a
# service that was killed are given back at once, or at the next start.
#
# (packaging is named because kombu, of Celery, loads it for Redis and does not ask for it.)
#
# Seen with huey 3.5.4, rq 3.0.0, celery 5.7.0, dramatiq 2.2.1, redis 8.1.0, Python 3.11, and the
# redis-server 7.0.15 of Debian 12:
#
#     huey: the first was begun 1 times, ended 0 times; the second ended 1 times
#     rq: the first was begun 1 times, ended 0 times; the second ended 1 times
#     celery: the first was begun 1 times, ended 0 times; the second ended 0 times
#     dramatiq: the first was begun 1 times, ended 0 times; the second ended 0 times
#
# Needs a network, and redis-server in the path. Exits with 1 when anything else is seen.
set -euo pipefail

folder=$(mktemp -d)
redis=
trap '[ -z "$redis" ] || kill "$redis" 2>/dev/null || true; wait; rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check huey==3.5.4 rq==3.0.0 celery==5.7.0 dramatiq==2.2.1 redis==8.1.0 packaging==26.3

cat >"$folder/expected" <<'EXPECTED'
huey: the first was begun 1 times, ended 0 times; the second ended 1 times
rq: the first was begun 1 times, ended 0 times; the second ended 1 times
celery: the first was begun 1 times, ended 0 times; the second ended 0 times
dramatiq: the first was begun 1 times, ended 0 times; the second ended 0 times
EXPECTED

cd "$folder"
cat >told.py <<'PROGRAM'
"""What each task does: it tells that it begins, and three seconds later that it ends."""
import os, time

def work_of(name):
    def work(number):
        for word, seconds in (("begun", 3), ("ended", 0)):
            with open(f"{name}.log", "a") as log:
                log.write(f"{word} {number} {os.getpid()}\n")
            time.sleep(seconds)
    return work
PROGRAM
cat >with_huey.py <<'PROGRAM'
from huey import SqliteHuey
from told import work_of
huey = SqliteHuey("finding", filename="huey.db", fsync=True)
put = huey.task(name="work")(work_of("huey"))
PROGRAM
cat >with_rq.py <<'PROGRAM'
import os
from redis import Redis
from rq import Queue
from told import work_of
work = work_of("rq")
work.__module__, work.__qualname__ = "with_rq", "work"
def put(number):
    Queue(connection=Redis.from_url(os.environ["REDIS"] + "/1")).enqueue(work, number)
PROGRAM
cat >with_celery.py <<'PROGRAM'
import os
from celery import Celery
from told import work_of
app = Celery("finding", broker=os.environ["REDIS"] + "/2")
app.conf.update(task_acks_late=True, broker_connection_retry_on_startup=True)
put = app.task(name="work")(work_of("celery")).delay
PROGRAM
cat >with_dramatiq.py <<'PROGRAM'
import os
import dramatiq
from dramatiq.brokers.redis import RedisBroker
from told import work_of
dramatiq.set_broker(RedisBroker(url=os.environ["REDIS"] + "/3"))
put = dramatiq.actor(work_of("dramatiq"), actor_name="work").send
PROGRAM
cat >kill.py <<'PROGRAM'
"""Have each worker killed in the middle of its first task, and look 50 seconds later."""
import importlib, os, signal, subprocess, threading, time

WORKERS = {
    "huey": ["huey_consumer", "with_huey.huey", "-k", "process", "-w", "1", "-q"],
    "rq": ["rq", "worker", "-q", "--url", os.environ["REDIS"] + "/1"],
    "celery": ["celery", "--app=with_celery", "worker", "--concurrency=1", "--loglevel=ERROR"],
    "dramatiq": ["dramatiq", "with_dramatiq", "--processes=1", "--threads=1"],
}
told = {}

def lines(name):
    return open(f"{name}.log").read().splitlines() if os.path.exists(f"{name}.log") else []

def start(name):
    return subprocess.Popen(
        ["venv/bin/" + WORKERS[name][0], *WORKERS[name][1:]],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )

def end(name, worker):
    pids = {int(line.split()[2]) for line in lines(name)}
    os.killpg(worker.pid, signal.SIGKILL)
    for pid in pids:  # RQ gives its child a group of its own
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    worker.wait()

def look_at(name):
    worker = start(name)
    while not lines(name):
        time.sleep(0.1)
    end(name, worker)
    worker = start(name)
    time.sleep(50)
    counts = [sum(line.startswith(words) for line in lines(name)) for words in ("begun 1", "ended 1", "ended 2")]
    told[name] = "the first was begun {} times, ended {} times; the second ended {} times".format(*counts)
    end(name, worker)

for name in WORKERS:
    module = importlib.import_module(f"with_{name}")
    for number in (1, 2):
        module.put(number)
threads = [threading.Thread(target=look_at, args=[name]) for name in WORKERS]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for name in WORKERS:
    print(f"{name}: {told[name]}")
PROGRAM

port=$(venv/bin/python -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
redis-server --bind 127.0.0.1 --port "$port" --dir "$folder" --appendonly yes --appendfsync always --save '' >/dev/null &
redis=$!
export REDIS="redis://127.0.0.1:$port" PYTHONPATH="$folder" C_FORCE_ROOT=1
until venv/bin/python -c 'import os, redis; redis.Redis.from_url(os.environ["REDIS"]).ping()' 2>/dev/null; do sleep 0.2; done
venv/bin/python kill.py | tee seen
diff expected seen
