"""Asks workers to load and describe sources: for `charm add`, `charm update` and `charm set`.

Charm code is loaded in workers only, so whoever wants to know a source's fields asks here.
Used by the commands; the supervisor brings the answers.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

from bg_charm_service.errors import CompilerError, InvalidInput, ServiceError
from bg_charm_service.limit_names import check_changes
from bg_charm_service.limits import Limits
from bg_charm_service.pool_contract import WorkerPool
from bg_charm_service.pool_events import InspectFinished
from bg_charm_service.run_limits import RunLimits
from bg_charm_service.wire import Inspect, Inspected


class Inspections:
    """Requests under way, by their number."""

    def __init__(self, pool: WorkerPool, limits: RunLimits) -> None:
        self._pool = pool
        self._limits = limits
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[str, asyncio.Future[Inspected]]] = {}
        self._ended_by: ServiceError | None = None

    async def inspect(
        self,
        source: str,
        file_name: str,
        class_name: str | None = None,
        values: Sequence[dict[str, bytes]] = (),
        *,
        limits: Limits | None = None,
    ) -> Inspected:
        """Describe a source, and check sets of values against its fields; raises CompilerError.

        Values that do not fit are in the answer's `problems`, one dict a set. Without `limits` of
        a charm, those of the service count.
        """
        if self._ended_by is not None:
            raise self._ended_by
        number = next(self._numbers)
        future: asyncio.Future[Inspected] = asyncio.get_running_loop().create_future()
        self._waiting[number] = (file_name, future)
        within = limits or self._limits.allowed()
        request = Inspect(number, source, file_name, class_name, tuple(values), within)
        self._pool.inspect(request)
        try:
            inspected = await future
        finally:
            self._waiting.pop(number, None)
        if inspected.schema is None:
            raise CompilerError(inspected.error)
        if not len(values) == len(inspected.values) == len(inspected.problems):
            raise CompilerError(f"{file_name}: loading it broke the protocol of its worker.")
        try:
            check_changes(inspected.schema.asks)
        except InvalidInput as error:
            raise CompilerError(f"{file_name}: it asks for what cannot be: {error}") from None
        return inspected

    def finish(self, event: InspectFinished) -> None:
        """Hand an answer to whoever waits for it."""
        file_name, future = self._waiting.pop(event.request_id, ("", None))
        if future is None or future.done():
            return
        if event.inspected is not None:
            future.set_result(event.inspected)
        else:
            future.set_exception(
                CompilerError(f"{file_name}: loading it ended the worker or took too long.")
            )

    def stop(self, error: ServiceError) -> None:
        """Let whoever still waits go, and whoever comes later, with this error."""
        self._ended_by = error
        for _, future in self._waiting.values():
            if not future.done():
                future.set_exception(error)
        self._waiting.clear()
