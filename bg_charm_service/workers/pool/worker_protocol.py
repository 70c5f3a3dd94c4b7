"""What a worker may say, and when; anything else is a breach, and the run under way pays for it.

Pure. Used by the pool for every message that comes from a worker.
"""

from __future__ import annotations

from bg_charm_service.workers.pool.worker_process import WorkerProcess, WorkerState
from bg_charm_service.workers.protocol.messages import (
    Answer,
    FetchField,
    FromWorker,
    Inspected,
    Ready,
)


def breach_of(worker: WorkerProcess, message: FromWorker) -> str:
    """Say what is wrong with a message; empty when it is in its place."""
    if isinstance(message, Ready):
        # Said again, by code that it loads, it would free a worker that is not free.
        return "" if worker.state is WorkerState.STARTING else "it said again that it is ready"
    if isinstance(message, Inspected):
        is_asked = worker.request_id is not None and worker.request_id == message.request_id
        return "" if is_asked else "it described a source that it was not given"
    if worker.run is None or message.run_id != worker.run.run_id:
        what = "an answer to" if isinstance(message, Answer) else "a message of"
        return f"{what} a run it was not given"
    if worker.channel.has_unsent and not (worker.behind or worker.was_relieved):
        return "it answers what it has not read"
    if isinstance(message, FetchField):
        if message.field not in worker.run.large:
            return "it asks for a field that is not to be fetched"
        if message.field in worker.fetched:
            return "it asks twice for one field"
    return ""
