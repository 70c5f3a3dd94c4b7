"""The task as dramatiq's documentation has it; `REDIS` says where the server is."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

_URL = os.environ["REDIS"]

broker = RedisBroker(url=f"{_URL}/0")
broker.add_middleware(Results(backend=RedisBackend(url=f"{_URL}/1")))
dramatiq.set_broker(broker)


def count_on(counter: int) -> int:
    """Count."""
    return counter + 1


count = dramatiq.actor(count_on, store_results=True)


def fill(total: int) -> None:
    """Queue so many tasks."""
    for number in range(total):
        count.send(number)
