"""The task as huey's documentation has it: a module with the instance, which the consumer loads.

`HUEY_FILE` says where the queue is.
"""

from __future__ import annotations

import os

from huey import SqliteHuey

huey = SqliteHuey("bench", filename=os.environ["HUEY_FILE"], fsync=True)


def count_on(counter: int) -> int:
    """Count."""
    return counter + 1


#: Called by its name, not as a decorator, which would lose the types.
count = huey.task()(count_on)
