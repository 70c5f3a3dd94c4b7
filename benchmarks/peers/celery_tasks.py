"""The task as Celery's documentation has it; `REDIS` says where the server is."""

from __future__ import annotations

import os

from celery import Celery

_URL = os.environ["REDIS"]

app = Celery("bench", broker=f"{_URL}/0", backend=f"{_URL}/1")
app.conf.update(
    # A task whose worker dies is not lost.
    task_acks_late=True,
    # "If you have many tasks with a short duration … 64 or 128", says its guide to optimizing.
    worker_prefetch_multiplier=64,
)


def count_on(counter: int) -> int:
    """Count."""
    return counter + 1


count = app.task(name="count_on")(count_on)


def fill(total: int) -> None:
    """Queue so many tasks."""
    with app.producer_or_acquire() as producer:
        for number in range(total):
            count.apply_async((number,), producer=producer)
