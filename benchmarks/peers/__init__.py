"""Others that run tasks, each configured as its own documentation advises; all do the same task.

How many tasks each gets is more than it can do while it is measured.
"""

from __future__ import annotations

from benchmarks.contender import Contender
from benchmarks.peers.celery_redis import CeleryRedis
from benchmarks.peers.dramatiq_redis import DramatiqRedis
from benchmarks.peers.huey_sqlite import HueySqlite
from benchmarks.peers.persist_queue_stock import PersistQueueStock
from benchmarks.peers.procrastinate_postgres import ProcrastinatePostgres
from benchmarks.peers.rq_redis import RqForking, RqInProcess
from benchmarks.peers.servers import find_postgres, find_redis


def all_peers(*, is_quick: bool) -> tuple[list[Contender], list[str]]:
    """Give those that can run here, and for the others why they are left out."""
    part = 5 if is_quick else 1
    peers: list[Contender] = [HueySqlite(60_000 // part), PersistQueueStock()]
    left_out = []
    if find_redis():
        peers += [
            CeleryRedis(25_000 // part),
            DramatiqRedis(50_000 // part),
            RqInProcess(12_000 // part),
            RqForking(4_000 // part),
        ]
    else:
        left_out.append("Celery, dramatiq and RQ are left out: there is no redis-server here.")
    if find_postgres():
        peers.append(ProcrastinatePostgres(20_000 // part))
    else:
        left_out.append("procrastinate is left out: there is no PostgreSQL server here.")
    return peers, left_out
