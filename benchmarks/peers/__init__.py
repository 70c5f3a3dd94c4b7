"""Others that run tasks, each configured as its own documentation advises; all do the same task.

How many tasks each gets is more than it can do while it is measured.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.contender import Contender
from benchmarks.peers.celery_redis import CeleryRedis
from benchmarks.peers.dramatiq_redis import DramatiqRedis
from benchmarks.peers.honker_sqlite import honker_peers
from benchmarks.peers.huey_sqlite import HueySqlite
from benchmarks.peers.persist_queue_stock import PersistQueueStock
from benchmarks.peers.procrastinate_postgres import ProcrastinatePostgres
from benchmarks.peers.rq_redis import RqForking, RqInProcess
from benchmarks.peers.servers import find_postgres, provide_redis


def all_peers(say: Callable[[str], None], *, is_quick: bool) -> tuple[list[Contender], list[str]]:
    """Give those that can run here, and for the others why they are left out.

    What they need is fetched where that may be, and told.
    """
    part = 5 if is_quick else 1
    peers: list[Contender] = [HueySqlite(60_000 // part), PersistQueueStock()]
    honkers, problem = honker_peers(part)
    peers += honkers
    left_out = [problem] if problem else []
    no_redis = provide_redis(say)
    if not no_redis:
        peers += [
            CeleryRedis(25_000 // part),
            DramatiqRedis(50_000 // part),
            RqInProcess(12_000 // part),
            RqForking(4_000 // part),
        ]
    else:
        left_out.append(f"Celery, dramatiq and RQ are left out: {no_redis}.")
    if find_postgres():
        peers.append(ProcrastinatePostgres(20_000 // part))
    else:
        left_out.append("procrastinate is left out: there is no PostgreSQL server here.")
    return peers, left_out
